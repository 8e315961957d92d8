"""The table of an ablation: a row a combination of settings, mean and spread over its seeds.

It imports nothing heavy, so that a table can be read and drawn where no network is.
"""

import statistics
from collections.abc import Sequence

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

    def table(self) -> str:
        """Mean ± standard deviation over the seeds of each row, as Markdown."""
        header = ["", "runs", *COLUMNS]
        lines = []
        for row in dict.fromkeys(run.row for run in self.runs):
            runs = [run for run in self.runs if run.row == row]
            figures = [
                _mean([getattr(run, name) for run in runs], places)
                for name, places in COLUMNS.values()
            ]
            lines.append([row, str(len(runs)), *figures])
        return markdown_table(header, lines)

    def __str__(self) -> str:
        return "\n".join(
            [self.table(), "", "mean ± sample standard deviation over seeds", *self.protocol]
        )


def _mean(values: Sequence[float | None], places: int) -> str:
    figures = [value for value in values if value is not None]
    if not figures:
        return ""
    spread = f" ± {statistics.stdev(figures):.{places}f}" if len(figures) > 1 else ""
    return f"{statistics.mean(figures):.{places}f}{spread}"
