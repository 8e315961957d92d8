"""What a dataset with boxes asks of a detector: classes, area, and how detections are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..datasets.base import LidarDataset
from ..datasets.boxes import BoxDataset
from ..detection.area import Area
from ..detection.detections import Detections

Frames = TypeVar("Frames", bound=BoxDataset)
Sizes = tuple[tuple[float, float, float], ...]
"""Mean length, width and height of every class, metres."""


class ScoreTable(BaseModel):
    """Figures of one run that are read together.

    Attributes:
        title: what is measured, with the unit.
        scores: by row of the table, per cent; None where there is no ground truth. The last row is
            their summary.
        note: what has to be known besides; empty for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    scores: dict[str, float | None]
    note: str = ""


class DetectionBenchmark(ABC, Generic[Frames]):
    """How detectors are trained and measured on one dataset.

    Attributes:
        class_names: of classes 0, 1, ...
        area: where boxes are looked for.
        bank: objects of every class that a frame should have after ground-truth sampling.
        cell: edge of a cell of a map seen from above, metres.
        rule: how detections are measured, for the protocol line.
    """

    class_names: tuple[str, ...]
    area: Area
    bank: Mapping[int, int]
    cell: float
    rule: str

    @abstractmethod
    def frames(self, dataset: LidarDataset) -> Frames:
        """The frames of an opened dataset as the network sees them; raises CleverError for another
        dataset."""

    def seen(self, dataset: LidarDataset, index: int) -> NDArray[np.float32]:
        """Points (P, 4) of a frame of any dataset, with boxes or without, as the network is to see
        them; raises FrameError."""
        return dataset.points(index)

    @abstractmethod
    def banked(self, frames: Frames, index: int) -> NDArray[np.bool_]:
        """(N,): which of the boxes of a frame may be put into others."""

    @abstractmethod
    def sizes(self, boxes: Sequence[NDArray[np.float64]]) -> Sizes:
        """Mean sizes of the classes, from the sizes (N, 3) of the training boxes of each."""

    @abstractmethod
    def measure(
        self, frames: Frames, results: Mapping[int, Detections], folder: Path
    ) -> list[ScoreTable]:
        """Write detections into `folder` and measure what was written.

        Args:
            results: by position of the frame.

        Raises:
            CleverError: a file cannot be written.
        """


def mean_row(scores: Mapping[str, float | None]) -> float | None:
    """Mean of the scores that are not None; None where all are."""
    values = [score for score in scores.values() if score is not None]
    return float(np.mean(values)) if values else None
