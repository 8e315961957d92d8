"""Measurements on the validation part while a segmenter is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import device as Device

from ...student.segmenter import Segmenter, Training, load_segmenter
from ..datasets import LidarDataset
from ..evaluate import SegmentationResult, measure_segmenter
from ..settings.shared.choices import ClassMean
from ..training.log import VALIDATION_MIOU, Scalars, read_log

SELECTED = "selected"
"""Folder in a run's with the weights of the best measurement so far."""


@dataclass(slots=True)
class Validation:
    """Measures a segmenter in training, always in the same way.

    Attributes:
        training: what is trained, for the protocol line.
        indices: labelled frames of `dataset`.
        split: its name in the protocol line.
        folder: of the run.
        selects: whether the weights of the best measurement are kept.
        newest: the last measurement of this process.
    """

    segmenter: Segmenter
    training: Training
    dataset: LidarDataset
    indices: Sequence[int]
    split: str
    mean: ClassMean
    device: Device
    folder: Path
    selects: bool
    newest: SegmentationResult | None = field(default=None, init=False)

    def result(self, segmenter: Segmenter, training: Training) -> SegmentationResult:
        """Measure a segmenter; every module's own mode comes back afterwards."""
        modes = [(module, module.training) for module in segmenter.modules()]
        try:
            return measure_segmenter(
                segmenter, training, self.dataset, self.indices, self.split, self.device, self.mean
            )
        finally:
            for module, mode in modes:
                module.training = mode

    def measure(self) -> Scalars:
        """A measurement for the log; the best weights so far are written where they are kept."""
        self.newest = self.result(self.segmenter, self.training)
        miou = self.newest.miou
        if self.selects and miou > max(self._logged().values(), default=-1.0):
            self.segmenter.save(self.folder / SELECTED, self.training)
        return {VALIDATION_MIOU: miou}

    def best_epoch(self) -> int:
        """The pass with the best measurement, the first of several."""
        logged = self._logged()
        return max(logged, key=lambda epoch: (logged[epoch], -epoch))

    def final(self) -> tuple[Training, SegmentationResult]:
        """The weights that stay in the run's folder, described and measured: the last ones, or
        those of the best measurement."""
        if self.selects:
            note = f"weights of epoch {self.best_epoch()}, selected by mIoU on the validation part"
            training = self.training.with_note(note)
            segmenter, _ = load_segmenter(self.folder / SELECTED)
            segmenter.save(self.folder, training)
            return training, self.result(segmenter, training)
        return self.training, self.newest or self.result(self.segmenter, self.training)

    def _logged(self) -> dict[int, float]:
        """Measurements by pass."""
        records = read_log(self.folder)
        return {
            int(record["epoch"]): record[VALIDATION_MIOU]
            for record in records
            if VALIDATION_MIOU in record
        }
