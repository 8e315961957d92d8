"""The table of an ablation: a row a combination of settings, mean and spread over its seeds.

It imports nothing heavy, so that a table can be read and drawn where no network is.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from .tables import markdown_table

UNTRAINED = "random weights"
COLUMNS = {
    "distillation loss": ("distillation", 4),
    "RankMe": ("rankme", 2),
    "RankMe, centred": ("rankme_centred", 2),
    "matrix rank": ("matrix_rank", 1),
    "probe mIoU %": ("miou", 2),
}
"""Columns of the table: the field of `RunFigures`, and its decimal places."""


class RunFigures(BaseModel):
    """One run of one row.

    Attributes:
        row: the varied settings, or `UNTRAINED`.
        seed: its seed.
        distillation: mean distillation loss over the last tenth of the steps.
        rankme, rankme_centred, matrix_rank: of the last weights.
        miou: of the probe, in percent.
    """

    model_config = ConfigDict(frozen=True)

    row: str
    seed: int
    distillation: float | None = None
    rankme: float | None = None
    rankme_centred: float | None = None
    matrix_rank: int | None = None
    miou: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of a figure; None without any value, or without two."""

    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Of the values that are not None."""
        figures = [value for value in values if value is not None]
        return cls(
            statistics.mean(figures) if figures else None,
            statistics.stdev(figures) if len(figures) > 1 else None,
        )

    def text(self, places: int) -> str:
        """``mean ± deviation``, as far as there are any."""
        mean = "" if self.mean is None else f"{self.mean:.{places}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{places}f}"


@dataclass(frozen=True, slots=True)
class RowFigures:
    """A row of the table: how many runs it has, and their figures by column of `COLUMNS`."""

    name: str
    runs: int
    figures: dict[str, Spread]


class AblateResult(BaseModel):
    """All runs, and how they were made."""

    protocol: list[str]
    runs: list[RunFigures]

    def grown(self, earlier: "AblateResult | None") -> "AblateResult":
        """These runs after those of an earlier table; of two runs of one row and seed this one
        stays, in the place of the other."""
        if earlier is None:
            return self
        runs = {(run.row, run.seed): run for run in (*earlier.runs, *self.runs)}
        return AblateResult(protocol=self.protocol, runs=list(runs.values()))

    def rows(self) -> list[RowFigures]:
        """Mean and standard deviation over the seeds of each row."""
        rows = []
        for name in dict.fromkeys(run.row for run in self.runs):
            runs = [run for run in self.runs if run.row == name]
            figures = {
                column: Spread.of([getattr(run, field) for run in runs])
                for column, (field, _) in COLUMNS.items()
            }
            rows.append(RowFigures(name, len(runs), figures))
        return rows

    def table(self) -> str:
        """`rows` as Markdown."""
        lines = [
            [row.name, str(row.runs)]
            + [row.figures[column].text(places) for column, (_, places) in COLUMNS.items()]
            for row in self.rows()
        ]
        return markdown_table(["", "runs", *COLUMNS], lines)

    def __str__(self) -> str:
        return "\n".join(
            [self.table(), "", "mean ± sample standard deviation over seeds", *self.protocol]
        )
