"""Cells measured by `clever finetune`: mIoU of a probe or of the whole student."""

from pathlib import Path

from ..finetune import finetune
from ..finetuning.result import FinetuneResult
from ..results.protocols import Facts
from ..results.run_folder import finished_result
from ..settings.finetune import FinetuneSettings
from ..settings.shared.recipes import finetune_recipe
from .identities import Memo, measurement_digest
from .measure import Figure, Measure, Outcome, Subject


class Segmentation(Measure[FinetuneSettings]):
    """Train a probe or the whole student on labels; the mIoU in percent."""

    settings = FinetuneSettings
    decided = frozenset({"checkpoint", "student", "voxel_size", "ptv3_form"})

    def figures(self, settings: FinetuneSettings) -> tuple[Figure, ...]:
        """The mean IoU."""
        return (Figure("", "mIoU %"),)

    def digest(self, settings: FinetuneSettings, memo: Memo) -> str:
        """See `measurement_digest`; raises CleverError for a recipe that has nothing for the mode
        too."""
        finetune_recipe(settings.recipe, settings.mode)
        return measurement_digest(settings, memo)

    def run(self, settings: FinetuneSettings, subject: Subject, folder: Path) -> Outcome:
        """Raises as `finetune`."""
        own = settings.decided(**subject.start(), seed=subject.seed, out=folder)
        result = finished_result(folder, FinetuneResult) or finetune(own)
        return Outcome({"": 100 * result.evaluation.miou}, _facts(result), result.seconds)


def _facts(result: FinetuneResult) -> Facts:
    """The parts of the protocol line, without seed and student's weights."""
    training, protocol = result.training, result.evaluation.protocol
    measured = protocol.partition(" -> ")[2].partition(f", {training.details}")[0]
    student, _, details = training.details.partition(", ")
    return {
        "head": training.head,
        "student": student,
        "training frames": f"{training.dataset} {training.frames}",
        "measured frames": f"measured on {measured}",
        "training": details.replace(f", seed {result.seed}", ""),
        "views": "no TTA",
        "points": "all points",
        "mean": protocol.rpartition("all points, ")[2],
        "classes": f"{len(result.evaluation.present)} classes",
    }
