"""Base of the datasets that keep a sweep, and its labels, in a flat file each."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ....cache.frame import Frame
from ....errors import FrameError
from ...settings.shared.choices import ClassMean
from .sweep_files import count_points, read_labels, read_sweep


class SweepDataset:
    """Sweeps of little-endian float32 rows that begin with x, y, z, intensity, and labels of one
    little-endian uint32 a point, whose lower 16 bits name the class.

    A dataset sets the attributes below, `frame_ids`, `scenes` and `intensity_scale` in its
    constructor, and says with `sweep` and `label_file` where its files lie. Without cameras nothing
    else is needed.

    Attributes:
        columns: floats a point in its sweeps.
        table: (65536,) int16 raw id to training label, see `label_table`; None for a dataset
            without point labels.
        intensity_scale: the files' value of full intensity.
        bounded: whether intensities end at `intensity_scale`, see `read_sweep`.
    """

    name: str
    cameras: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    class_mean: ClassMean = "all"
    columns: ClassVar[int] = 4
    table: NDArray[np.int16] | None = None
    bounded: bool = True

    frame_ids: Sequence[str]
    scenes: Sequence[str]
    intensity_scale: float

    def sweep(self, index: int) -> Path:
        """File of a frame's points."""
        raise NotImplementedError

    def label_file(self, index: int) -> Path | None:
        """File of a frame's labels, which need not exist; None where the dataset has none."""
        return None

    def split_of(self, index: int) -> str:
        """The official split of a frame; empty where it is in none."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        """A frame without cameras, time and pose, which are 0 and the identity."""
        return Frame(
            id=self.frame_ids[index],
            scene=self.scenes[index],
            timestamp=0,
            points=self.points(index),
            global_from_lidar=np.eye(4),
            cameras=(),
            split=self.split_of(index),
        )

    def points(self, index: int) -> NDArray[np.float32]:
        frame_id, path = self.frame_ids[index], self.sweep(index)
        return read_sweep(frame_id, path, self.columns, self.intensity_scale, bounded=self.bounded)

    def has_labels(self, index: int) -> bool:
        path = self.label_file(index)
        return path is not None and path.exists()

    def labels(self, index: int) -> NDArray[np.uint8]:
        frame_id, path = self.frame_ids[index], self.label_file(index)
        if path is None or self.table is None:
            raise FrameError(frame_id, f"{self.name} has no point labels; choose another dataset")
        count = count_points(frame_id, self.sweep(index), self.columns)
        return read_labels(frame_id, path, "<u4", self.table, count)

    def label_sources(self, index: int) -> Sequence[Path]:
        """Files of a frame's points and labels, see `base.label_sources`."""
        path = self.label_file(index)
        return () if path is None else (self.sweep(index), path)
