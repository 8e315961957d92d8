"""What a frame's record says of its points, and what a store says of all of them."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .records.models import FrameRecord, IntensityStatistics

DARK = 0.1
"""Where the brightest point of a sweep is below this share of full intensity, its scale is
doubtful."""


def is_dark(brightest: float) -> bool:
    """Whether the brightest point of a sweep, a share of full intensity, makes its scale
    doubtful."""
    return 0 < brightest < DARK


def bounds_of(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, 3): lowest and highest x, y, z of points (N, 4); NaN where there are none."""
    if not len(points):
        return np.full((2, 3), np.nan, np.float32)
    # Column by column: a minimum over the first axis of rows takes ten times as long.
    columns = points[:, :3].T
    return np.stack([[column.min() for column in columns], [column.max() for column in columns]])


def intensity_of(points: NDArray[np.float32]) -> IntensityStatistics:
    """Statistics of the intensities of points (N, 4), N > 0, summed in float64."""
    values = points[:, 3].astype(np.float64)
    extremes = float(values.min()), float(values.max())
    return IntensityStatistics(float(values.mean()), float(values.std()), *extremes)


def total_intensity(records: Iterable[FrameRecord]) -> IntensityStatistics | None:
    """Statistics over the points of all frames; None where no record has any."""
    parts = [(record.points, record.intensity) for record in records if record.intensity]
    count = sum(points for points, _ in parts)
    if not count:
        return None
    mean = sum(points * part.mean for points, part in parts) / count
    # The mean square of a frame is its variance and the square of its mean.
    spread = sum(points * (part.std**2 + (part.mean - mean) ** 2) for points, part in parts)
    return IntensityStatistics(
        mean,
        math.sqrt(spread / count),
        min(part.lowest for _, part in parts),
        max(part.highest for _, part in parts),
    )
