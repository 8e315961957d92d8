"""The table of several runs: mean and spread over seeds and draws, starts side by side."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import product

from pydantic import BaseModel, ConfigDict

from ..results.protocols import protocol_line
from ..results.published import DETECTION
from ..results.statistics import Difference, Spread
from ..results.tables import markdown_table
from .benchmark import ScoreTable
from .results import DetectorResult


class PlannedRun(BaseModel):
    """One run of the table.

    Attributes:
        start: name of the weights that it starts from, as the table shows it.
        folder: where it lies, below the table's.
        result: None where it failed.
        failure: why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str
    fraction: float
    draw: int
    seed: int
    folder: str
    result: DetectorResult | None = None
    failure: str = ""

    def __str__(self) -> str:
        return f"{self.start}, {100 * self.fraction:g} %, draw {self.draw}, seed {self.seed}"


class DetectionTable(BaseModel):
    """Runs of a command, in the order in which they were done.

    Attributes:
        dataset, detector: what was trained on, and what.
        bad: runs that failed, and frames that could not be used in others, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    detector: str
    runs: list[PlannedRun]

    @property
    def bad(self) -> list[str]:
        """What went wrong, a line each."""
        lines = [f"failed: {run}: {run.failure}" for run in self.runs if run.failure]
        frames = {
            frame.id: frame.reason
            for run in self.runs
            for frame in (run.result.bad if run.result else ())
        }
        return lines + [f"skipped frame {name}: {reason}" for name, reason in frames.items()]

    @property
    def columns(self) -> list[tuple[str, float]]:
        """Start and fraction of every column."""
        starts = dict.fromkeys(run.start for run in self.runs)
        fractions = dict.fromkeys(run.fraction for run in self.runs)
        return list(product(starts, fractions))

    def results(self, start: str, fraction: float) -> dict[tuple[int, int], DetectorResult]:
        """Finished runs of a column, by draw and seed."""
        return {
            (run.draw, run.seed): run.result
            for run in self.runs
            if run.result and (run.start, run.fraction) == (start, fraction)
        }

    def scores(self, start: str, fraction: float, table: int, row: str) -> dict[int, float]:
        """A figure of the runs of a column, by the number of draw and seed in the command."""
        values = {
            place: result.tables[table].scores.get(row)
            for place, result in self.results(start, fraction).items()
        }
        return {
            self._places.index(place): value for place, value in values.items() if value is not None
        }

    @property
    def _places(self) -> list[tuple[int, int]]:
        """Draw and seed of the runs, each once."""
        return list(dict.fromkeys((run.draw, run.seed) for run in self.runs))

    def _draw_means(self, scores: Mapping[int, float]) -> dict[int, float]:
        """Mean over the seeds of figures of `scores`, by draw."""
        by_draw: dict[int, list[float]] = {}
        for number, score in scores.items():
            by_draw.setdefault(self._places[number][0], []).append(score)
        return {draw: statistics.fmean(values) for draw, values in by_draw.items()}

    def protocol(self) -> str:
        """One line that says how the figures were made."""
        facts = [run.result.facts for run in self.runs if run.result]
        seeds = sorted({run.seed for run in self.runs})
        draws = sorted({run.draw for run in self.runs})
        shares = "" if len(draws) == 1 else f" x draws {', '.join(map(str, draws))}"
        spread = "mean ± sample standard deviation over the runs of a column"
        return f"{protocol_line(facts)}; seeds {', '.join(map(str, seeds))}{shares}, {spread}"

    def __str__(self) -> str:
        finished = next((run.result for run in self.runs if run.result), None)
        if finished is None:
            return "\n".join(self.bad)
        parts = [
            f"{part.title}\n\n{self._table(number, list(part.scores))}"
            for number, part in enumerate(finished.tables)
        ]
        lines = [*self._differences(finished), *self._paper()]
        return "\n\n".join([*parts, "\n".join([*lines, self.protocol(), *self.bad])])

    def _table(self, number: int, rows: Sequence[str]) -> str:
        columns = self.columns
        header = ["", *(f"{start}, {100 * fraction:g} %" for start, fraction in columns)]
        cells = [
            [
                row,
                *(
                    Spread.of(list(self.scores(*column, number, row).values())).text(2) or "-"
                    for column in columns
                ),
            ]
            for row in rows
        ]
        counts = ["runs", *(str(len(self.results(*column))) for column in columns)]
        notes = {
            result.tables[number].note: None
            for column in columns
            for result in self.results(*column).values()
        }
        lines = [note for note in notes if note]
        return "\n".join([markdown_table(header, [*cells, counts]), *lines])

    def _differences(self, first: DetectorResult) -> list[str]:
        """The summary of every table and start less that of the first start, run by run."""
        starts = list(dict.fromkeys(run.start for run in self.runs))
        fractions = dict.fromkeys(run.fraction for run in self.runs)
        lines = []
        for start, fraction in product(starts[1:], fractions):
            lines += [
                line
                for number, part in enumerate(first.tables)
                if (line := self._difference(number, part, (start, starts[0]), fraction))
            ]
        return lines

    def _difference(
        self, number: int, part: ScoreTable, starts: tuple[str, str], fraction: float
    ) -> str:
        """One start less another in the summary of one table; empty where they share no run."""
        summary = list(part.scores)[-1]
        own, base = (self.scores(name, fraction, number, summary) for name in starts)
        difference = Difference.paired(own, base)
        if difference is None:
            return ""
        pairs = f"95 % interval of {difference.seeds} pairs of the same draw and seed"
        shared = own.keys() & base.keys()
        own_means, base_means = (
            self._draw_means({number: scores[number] for number in shared})
            for scores in (own, base)
        )
        over_draws = Difference.paired(own_means, base_means)
        if over_draws and over_draws.half_width is not None:
            width = f"± {over_draws.half_width:.2f} of the means of {over_draws.seeds} draws"
            pairs = f"{pairs}; {width}"
        return (
            f"{part.title}, {summary}, {starts[0]} less {starts[1]} at {100 * fraction:g} %: "
            f"{difference.text(2)} ({pairs})"
        )

    def _paper(self) -> list[str]:
        """The paper's figures for the fractions that it has."""
        if self.dataset != "kitti":
            return []
        figures = [
            f"{100 * fraction:g} %: random weights {random}, distilled {distilled}"
            for fraction, (random, distilled) in DETECTION.items()
            if fraction in {run.fraction for run in self.runs}
        ]
        words = "the paper, Table A3, PointRCNN on MinkUNet, moderate, single runs"
        return [f"{words}: {'; '.join(figures)}"] if figures else []
