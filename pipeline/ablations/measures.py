"""What a cell may be measured by downstream; a kind of measurement is a line of `MEASURES`."""

from collections.abc import Callable
from dataclasses import dataclass

from ..finetune import FinetuneResult, finetune
from ..results.protocols import Facts
from ..results.run_folder import finished_result
from ..settings.finetune import FinetuneSettings
from .identities import Memo, measurement_digest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a measurement gave.

    Attributes:
        figure: for the table.
        facts: its protocol in named parts, without the seed.
        seconds: of its training.
    """

    figure: float
    facts: Facts
    seconds: float


@dataclass(frozen=True, slots=True)
class Measure:
    """A kind of downstream measurement.

    Attributes:
        settings: their class; it has the fields ``checkpoint``, ``student``, ``voxel_size``,
            ``ptv3_form``, ``seed`` and ``out``, which the cell decides.
        figure: what it measures, with the unit, for the heading of its column.
        digest: of what decides it beside those fields.
        run: measures, or reads what is measured in ``out`` already.
    """

    settings: type[FinetuneSettings]
    figure: str
    digest: Callable[[FinetuneSettings, Memo], str]
    run: Callable[[FinetuneSettings], Outcome]


def segmentation(settings: FinetuneSettings) -> Outcome:
    """Train a probe or the whole student on labels; the mIoU in percent."""
    assert settings.out
    result = finished_result(settings.out, FinetuneResult) or finetune(settings)
    return Outcome(100 * result.evaluation.miou, _facts(result), result.seconds)


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
    }


MEASURES: dict[str, Measure] = {
    "finetune": Measure(FinetuneSettings, "mIoU %", measurement_digest, segmentation),
}
"""By the verb whose settings they take."""
