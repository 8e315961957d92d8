"""What datasets with 3D boxes offer besides."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .base import LidarDataset


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """Labelled boxes of one frame, upright in the LiDAR frame.

    Attributes:
        names: of the classes, as the dataset's benchmark calls them.
        rows: (N, 7) float64: x, y, z of the centre, length, width, height in metres, yaw in
            radians from x, counter-clockwise as seen from above.
        points: (N,) int64, LiDAR points in every box by the labels; None where they do not say.
    """

    names: tuple[str, ...]
    rows: NDArray[np.float64]
    points: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, mask: NDArray[np.bool_]) -> "LabelledBoxes":
        """Boxes of a mask (N,)."""
        names = tuple(name for name, one in zip(self.names, mask, strict=True) if one)
        return LabelledBoxes(
            names, self.rows[mask], None if self.points is None else self.points[mask]
        )


class BoxDataset(LidarDataset, Protocol):
    """A dataset whose frames have boxes."""

    def boxes(self, index: int) -> LabelledBoxes:
        """Boxes of a frame, in the order of its labels; raises FrameError naming the file at
        fault."""
        ...
