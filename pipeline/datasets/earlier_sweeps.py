"""Sweeps before a frame, where a dataset has them: its method ``earlier_sweeps``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from .base import LidarDataset


@dataclass(frozen=True, slots=True)
class EarlierSweep:
    """A sweep before a frame.

    Attributes:
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame of the frame itself, intensity
            in [0, 1].
        seconds: when it was taken, from the frame's own time on: below 0.
    """

    points: NDArray[np.float32]
    seconds: float


def moved(
    points: NDArray[np.float32], target_from_source: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Points (N, 4) in another frame of reference, computed in float64."""
    xyz = points[:, :3].astype(np.float64)
    out = points.copy()
    out[:, :3] = xyz @ target_from_source[:3, :3].T + target_from_source[:3, 3]
    return out


def earlier_sweeps(dataset: LidarDataset, index: int, count: int) -> Sequence[EarlierSweep]:
    """At most `count` sweeps before a frame, latest first.

    Raises:
        CleverError: the dataset has none.
        FrameError: one of them cannot be read.
    """
    method = getattr(dataset, "earlier_sweeps", None)
    if method is None:
        raise CleverError(f"{dataset.name} has no sweeps between its frames; leave `sweeps` out")
    return cast("Sequence[EarlierSweep]", method(index, count))
