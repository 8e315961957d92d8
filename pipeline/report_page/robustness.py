"""Measurements on corrupted sweeps as a part of the page."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...errors import CleverError
from ..corrupted.distributions import DistributionTable
from ..corrupted.table import CheckpointRow, RobustnessResult, severity_columns


@dataclass(frozen=True, slots=True)
class CheckpointTable:
    """One checkpoint on corrupted sweeps.

    Attributes:
        name: of its folder.
        header: of the figures: severities that were measured, their mean, corruption error and
            resilience rate.
        rows: by corruption, clean frames first: its name, then figures in percent; None for what
            was not measured.
        protocol: of its measurement on clean frames.
    """

    name: str
    header: list[str]
    rows: list[tuple[str, list[float | None]]]
    protocol: str


@dataclass(frozen=True, slots=True)
class RobustnessPart:
    """A table of `clever robustness`.

    Attributes:
        checkpoints: a table each.
        meaning: what their figures are, in a line.
        distributions: what the corruptions did to the frame that was drawn; None for none.
        notes: where the sweeps come from, and what is open, a line each.
    """

    checkpoints: list[CheckpointTable]
    meaning: str
    distributions: DistributionTable | None
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
    return RobustnessPart(
        [_checkpoint(row, result) for row in result.rows],
        result.meaning(),
        result.distributions,
        [result.source, *result.notes],
    )


def _checkpoint(row: CheckpointRow, result: RobustnessResult) -> CheckpointTable:
    names, columns = severity_columns(row, result.baseline)
    rows = [
        (name, [column[number] for column in columns.values()]) for number, name in enumerate(names)
    ]
    return CheckpointTable(
        Path(row.checkpoint).name, list(columns), rows, row.measurements[0].protocol
    )
