"""Measurements on corrupted sweeps as a part of the page."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...errors import CleverError
from ..corrupted.table import CheckpointRow, RobustnessResult
from ..corruptions.registry import SEVERITIES


@dataclass(frozen=True, slots=True)
class CheckpointTable:
    """One checkpoint on corrupted sweeps.

    Attributes:
        name: of its folder.
        rows: by corruption, clean frames first: its name, then mIoU in percent by severity, their
            mean, corruption error and resilience rate; None for what was not measured.
        protocol: of its measurement on clean frames.
    """

    name: str
    rows: list[tuple[str, list[float | None]]]
    protocol: str


@dataclass(frozen=True, slots=True)
class RobustnessPart:
    """A table of `clever robustness`.

    Attributes:
        header: of the figures.
        checkpoints: a table each.
        notes: what the figures mean and where the sweeps come from, a line each.
    """

    header: list[str]
    checkpoints: list[CheckpointTable]
    notes: list[str]


def robustness_part(path: Path) -> RobustnessPart:
    """The measurements in a ``robustness.json``.

    Raises:
        CleverError: the file is damaged or of another version.
    """
    try:
        result = RobustnessResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CleverError(
            f"{path} is damaged or of another version ({type(error).__name__}); run clever "
            "robustness again"
        ) from error
    against = f"relative to {result.baseline.name}" if result.baseline else "without a baseline"
    return RobustnessPart(
        [*SEVERITIES, "mean", "CE", "RR"],
        [_checkpoint(row, result) for row in result.rows],
        [
            f"mIoU, corruption error (CE, {against}) and resilience rate (RR) in percent; Robo3D's "
            "formulae, no TTA",
            result.source,
            *result.notes,
        ],
    )


def _checkpoint(row: CheckpointRow, result: RobustnessResult) -> CheckpointTable:
    own = row.scores(result.baseline)
    rows: list[tuple[str, list[float | None]]] = [
        ("clean", [*([None] * len(SEVERITIES)), own.clean, None, None])
    ]
    for name, score in own.by_corruption.items():
        levels = [row.miou(name, severity) for severity in SEVERITIES]
        rows.append((name, [*levels, score.miou, score.error, score.resilience]))
    if own.miou is not None:  # all eight were measured
        rows.append(("mean", [*([None] * len(SEVERITIES)), own.miou, own.mce, own.mrr]))
    return CheckpointTable(Path(row.checkpoint).name, rows, row.measurements[0].protocol)
