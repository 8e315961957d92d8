"""What `clever robustness` measures, and its tables."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from ...words import quantity
from ..corruptions.registry import CORRUPTIONS, SEVERITIES
from ..results.tables import markdown_table
from ..settings.shared.choices import CorruptionName, Severity
from ..steps.labelled import BadFrame
from .distributions import DistributionTable
from .scores import Baseline, Scores, scores

NONE = "-"


class Measurement(BaseModel):
    """One checkpoint on frames under one corruption and severity, or on clean ones.

    Attributes:
        corruption, severity: None for clean frames.
        strength: of the corruption; empty for clean frames and for those of a published set.
        miou: percent.
        iou: by class, percent; None for a class that occurs nowhere.
        points, frames: labelled points and frames that were measured.
        left_out: points that lay too far away for a network.
        protocol: what was trained and measured on what, in one line.
        bad: frames that could not be measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    corruption: CorruptionName | None
    severity: Severity | None
    strength: dict[str, float]
    miou: float
    iou: dict[str, float | None]
    points: int
    frames: int
    left_out: int
    protocol: str
    bad: list[BadFrame]


class CheckpointRow(BaseModel):
    """All that was measured of one checkpoint.

    Attributes:
        checkpoint: its folder, as it was given.
        digest: SHA-256 of its weights.
        measurements: clean frames first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    digest: str
    measurements: list[Measurement]

    def miou(self, corruption: CorruptionName | None, severity: Severity | None) -> float | None:
        """Percent; None where it was not measured."""
        for measurement in self.measurements:
            if (measurement.corruption, measurement.severity) == (corruption, severity):
                return measurement.miou
        return None

    def scores(self, baseline: Baseline | None) -> Scores:
        """Errors and rates over what was measured."""
        levels: dict[CorruptionName, list[float | None]] = {
            entry.corruption: [self.miou(entry.corruption, level) for level in SEVERITIES]
            for entry in self.measurements
            if entry.corruption
        }
        return scores(levels, self.miou(None, None), baseline)


class RobustnessResult(BaseModel):
    """The table.

    Attributes:
        rows: one a checkpoint.
        baseline: what corruption errors are relative to; None for none.
        source: where corrupted frames come from, with seed or folder.
        notes: what the publication leaves open, and what pictures were drawn.
        unmeasured: why, by corruption and severity, where no frame could be measured.
        distributions: what the corruptions did to the frame that was drawn; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[CheckpointRow]
    baseline: Baseline | None
    source: str
    notes: list[str]
    unmeasured: dict[str, str] = Field(default_factory=dict)
    distributions: DistributionTable | None = None

    @property
    def bad(self) -> list[BadFrame]:
        """Frames that could not be measured, each once."""
        frames = [frame for row in self.rows for entry in row.measurements for frame in entry.bad]
        return list({frame.id: frame for frame in frames}.values())

    def meaning(self) -> str:
        """A line on what the figures of the tables are, and why some are lacking."""
        scores_of = [row.scores(self.baseline) for row in self.rows]
        parts = [part for own in scores_of for part in own.by_corruption.values()]
        words = ["mIoU, CE and RR in percent" if parts else "mIoU in percent"]
        if any(part.miou is not None for part in parts):
            words.append("of a corruption without a severity the mean over all three")
        else:
            words.append("CE and RR need all three severities")
        if not self.baseline:
            words.append("no baseline: no CE")
        elif any(part.error is not None for part in parts):
            words.append(f"CE relative to {self.baseline.name}")
        if all(own.mrr is None for own in scores_of):
            words.append("their means mCE and mRR need all eight corruptions")
        formulae = "Robo3D's formulae, no test-time augmentation; inserted points are ignored"
        return "; ".join([*words, formulae])

    def __str__(self) -> str:
        lines = [overview(self.rows, self.baseline), "", self.meaning()]
        lines.append(self.source)
        for row in self.rows:
            lines += ["", row.checkpoint, by_severity(row, self.baseline)]
            lines.append(row.measurements[0].protocol)
            left_out = sum(entry.left_out for entry in row.measurements)
            if left_out:
                lines.append(
                    f"{quantity(left_out, 'point')} farther than a network can count were left out"
                )
        lines += ["", str(self.distributions)] if self.distributions else []
        lines += ["", *self.notes] if self.notes else []
        lines += [f"{part} is not measured: {reason}" for part, reason in self.unmeasured.items()]
        return "\n".join(
            lines + [f"skipped frame {frame.id}: {frame.reason}" for frame in self.bad]
        )


def class_doubts(rows: Sequence[CheckpointRow]) -> list[str]:
    """A line for each checkpoint whose mIoU, a mean over the classes that occur, is over more
    classes in some measurements than in others: a rate can then rise because a class of which
    nothing is right no longer occurs."""
    lines = []
    for row in rows:
        counts = [sum(iou is not None for iou in one.iou.values()) for one in row.measurements]
        if len(set(counts)) > 1:
            lines.append(
                f"{row.checkpoint}: means over the classes that occur are over {min(counts)} to "
                f"{max(counts)} classes, by measurement, so that rates may rise above what is "
                "kept; `mean=all` is over the same classes everywhere"
            )
    return lines


def overview(rows: Sequence[CheckpointRow], baseline: Baseline | None) -> str:
    """The form of the paper's Table 7, of what was measured: a row a checkpoint, a column a
    corruption with all severities, else one a severity."""
    scores_of = [row.scores(baseline) for row in rows]
    columns: dict[str, list[float | None]] = {
        "mCE": [own.mce for own in scores_of],
        "mRR": [own.mrr for own in scores_of],
    }
    for name in CORRUPTIONS:
        parts = [own.by_corruption.get(name) for own in scores_of]
        means = [part.miou if part else None for part in parts]
        columns[name] = means
        if all(mean is None for mean in means):
            for severity in SEVERITIES:
                columns[f"{name} {severity}"] = [row.miou(name, severity) for row in rows]
    columns["mean"] = [own.miou for own in scores_of]
    columns["clean"] = [own.clean for own in scores_of]
    columns = measured_columns(columns)
    lines = [
        [row.checkpoint, *(_text(column[number]) for column in columns.values())]
        for number, row in enumerate(rows)
    ]
    return markdown_table(["checkpoint", *columns], lines)


def severity_columns(
    row: CheckpointRow, baseline: Baseline | None
) -> tuple[list[str], dict[str, list[float | None]]]:
    """What was measured of one checkpoint, in percent: names of the rows, clean frames first, then
    corruptions and their mean where all eight are there; and columns by name: mIoU by severity and
    their mean, in which clean frames stand, corruption error and resilience rate."""
    own = row.scores(baseline)
    names, parts = list(own.by_corruption), list(own.by_corruption.values())
    columns: dict[str, list[float | None]] = {
        severity: [None, *(row.miou(name, severity) for name in names)] for severity in SEVERITIES
    }
    columns["mean"] = [own.clean, *(part.miou for part in parts)]
    columns["CE"] = [None, *(part.error for part in parts)]
    columns["RR"] = [None, *(part.resilience for part in parts)]
    rows: list[str] = ["clean", *names]
    if own.miou is not None:  # all eight were measured
        rows.append("mean")
        last = {"mean": own.miou, "CE": own.mce, "RR": own.mrr}
        columns = {name: [*column, last.get(name)] for name, column in columns.items()}
    return rows, measured_columns(columns)


def measured_columns(columns: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Those with any value."""
    return {
        name: column
        for name, column in columns.items()
        if any(value is not None for value in column)
    }


def by_severity(row: CheckpointRow, baseline: Baseline | None) -> str:
    """`severity_columns` as a table."""
    names, columns = severity_columns(row, baseline)
    lines = [
        [name, *(_text(column[number]) for column in columns.values())]
        for number, name in enumerate(names)
    ]
    return markdown_table(["mIoU", *columns], lines)


def _text(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
