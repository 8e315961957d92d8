"""How the published corrupted sets (nuScenes-C, SemanticKITTI-C) hold the frames of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..settings.shared.choices import CorruptionName, SensorName
from .base import IGNORE, LidarDataset


@dataclass(frozen=True, slots=True)
class ReleasedFormat:
    """What all frames of a set share.

    Attributes:
        sensor: whose corruptions it holds.
        columns: float32 a point: x, y, z, intensity, ...
        ring: column of the laser, None where there is none.
        label_dtype: numpy name of the integers of its label files.
        inserted: raw id of the points that a corruption has inserted.
        table: (65536,) int16 raw id to training label of the clean set, see `label_table`.
    """

    sensor: SensorName
    columns: int
    ring: int | None
    label_dtype: str
    inserted: Mapping[CorruptionName, int]
    table: NDArray[np.int16]

    def corrupted_table(self) -> NDArray[np.int16]:
        """`table` with the ids of inserted points, which take no part."""
        table = self.table.copy()
        table[list(self.inserted.values())] = IGNORE
        return table


@dataclass(frozen=True, slots=True)
class ReleasedFrame:
    """Files of one frame.

    Attributes:
        sweep, labels: of the clean dataset; labels None where it has none.
        corrupted_sweep, corrupted_labels: their places below ``<corruption>/<severity>``.
    """

    sweep: Path
    labels: Path | None
    corrupted_sweep: Path
    corrupted_labels: Path


def released_format(dataset: LidarDataset) -> ReleasedFormat | None:
    """The format in which the frames of `dataset` are released corrupted: its attribute
    `released_format`; None where they are not."""
    return getattr(dataset, "released_format", None)


def released_frame(dataset: LidarDataset, index: int) -> ReleasedFrame:
    """Files of a frame of a dataset that has a `released_format`: what its method
    ``released_frame(index)`` returns; raises FrameError for a frame without a sweep."""
    return cast("ReleasedFrame", dataset.released_frame(index))  # type: ignore[attr-defined]
