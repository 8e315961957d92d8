"""Training curves of runs as lines in SVG: every scalar of their logs in a panel of its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..training.log import VALIDATION_MIOU, Scalars

WIDTH, HEIGHT = 360, 200
"""Of a panel, in units of the drawing."""
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 8, 26
"""Room around the lines."""
MOST = 300
"""Places of a line; a longer log is shown as means over as many runs of steps."""
FEW = 12
"""Values of a line, at most, that are marked with dots."""
SMOOTHING = 20
"""A smooth line is the moving mean over this part of the steps."""
TITLES = {
    VALIDATION_MIOU: "mIoU on the validation part, %",
    "rankme": "RankMe",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
}
LEFT_OUT = frozenset(
    {"step", "steps", "epoch", "frames_per_s", "data_wait", "memory_mb", "rankme_centred",
     "matrix_rank", "matrix_rank_centred"}
)  # fmt: skip
"""What a log holds beside what the page draws."""
LAST = ("grad_norm", "lr")
"""Scalars that stand behind the others."""


@dataclass(frozen=True, slots=True)
class Line:
    """A scalar of a run.

    Attributes:
        run: position of the run on the page; its colour.
        label: its name.
        steps, values: as logged, or means of equal runs of steps.
        logged: how many values the log has.
        window: places of the moving mean; 1 where there is none.
        raw, smooth: ``x,y x,y ...`` in the drawing.
    """

    run: int
    label: str
    steps: list[float]
    values: list[float]
    logged: int
    window: int
    raw: str
    smooth: str

    @property
    def dots(self) -> list[list[str]]:
        """``[x, y]`` of every value where there are few."""
        return [place.split(",") for place in self.raw.split()] if len(self.values) <= FEW else []


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where it lies in the drawing, and its words."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A panel.

    Attributes:
        title: of the scalar, and of which commands.
        x, y: marks of the axes.
        reach: first and last step of the axis.
    """

    title: str
    lines: list[Line]
    x: list[Tick]
    y: list[Tick]
    reach: tuple[float, float]

    @property
    def thinned(self) -> bool:
        """Whether a line shows means of what was logged."""
        return any(len(line.values) < line.logged for line in self.lines)

    @property
    def words(self) -> str:
        """The panel in words, for those who cannot see it."""
        ends = (
            f"{line.label} {number(line.values[0])} to {number(line.values[-1])}"
            for line in self.lines
        )
        return f"{self.title}, first to last: {'; '.join(ends)}"


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A run's position on the page, its name, its command and its log."""

    number: int
    label: str
    kind: str
    records: Sequence[Scalars]


def charts(runs: Iterable[LoggedRun]) -> list[Chart]:
    """A panel for every command and scalar of the logs, in the order in which they come."""
    panels: dict[tuple[str, str], list[tuple[LoggedRun, NDArray[np.float64]]]] = {}
    for run in runs:
        for name in dict.fromkeys(name for record in run.records for name in record):
            unit = 100 if name == VALIDATION_MIOU else 1
            places = [(line["step"], unit * line[name]) for line in run.records if name in line]
            finite = [place for place in places if math.isfinite(place[1])]
            if name not in LEFT_OUT and finite:
                label = f"{run.label} ({len(places) - len(finite)} values that are not finite)"
                own = run if len(finite) == len(places) else replace(run, label=label)
                panels.setdefault((run.kind, name), []).append((own, np.array(finite, float)))
    order = sorted(panels, key=lambda panel: LAST.index(panel[1]) if panel[1] in LAST else -1)
    several = len({kind for kind, _ in panels}) > 1
    return [
        _chart(f"{kind}: {_title(name)}" if several else _title(name), panels[kind, name])
        for kind, name in order
    ]


def _title(name: str) -> str:
    return TITLES.get(name, name if name == "loss" else f"{name} loss")


def _chart(title: str, logs: Sequence[tuple[LoggedRun, NDArray[np.float64]]]) -> Chart:
    """Lines of one scalar under common axes."""
    drawn_logs = [(run, _thinned(places), len(places)) for run, places in logs]
    everything = np.concatenate([places for _, places, _ in drawn_logs])
    (_, low_y), (high_x, high_y) = everything.min(0), everything.max(0)
    y_marks = MaxNLocator(4).tick_values(low_y, high_y if high_y > low_y else low_y + 1)
    x_marks = MaxNLocator(4, integer=True).tick_values(0, max(high_x, 1))
    x_reach = (0.0, float(max(high_x, 1)))
    y_reach = (float(y_marks[0]), float(y_marks[-1]))

    def drawn(places: NDArray[np.float64]) -> str:
        x = LEFT + (places[:, 0] - x_reach[0]) / (x_reach[1] - x_reach[0]) * _across()
        y = TOP + (y_reach[1] - places[:, 1]) / (y_reach[1] - y_reach[0]) * _down()
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

    lines = []
    for run, places, logged in drawn_logs:
        window = max(1, len(places) // SMOOTHING)
        smooth = _moving_mean(places, window)
        steps, values = places.T.tolist()
        lines.append(
            Line(run.number, run.label, steps, values, logged, window, drawn(places), drawn(smooth))
        )
    x = [
        Tick(round(LEFT + float(mark) / x_reach[1] * _across(), 1), number(float(mark)))
        for mark in x_marks
        if mark <= x_reach[1]
    ]
    y = [
        Tick(
            round(TOP + (y_reach[1] - float(mark)) / (y_reach[1] - y_reach[0]) * _down(), 1),
            number(float(mark)),
        )
        for mark in y_marks
    ]
    return Chart(title, lines, x, y, x_reach)


def _across() -> int:
    return WIDTH - LEFT - RIGHT


def _down() -> int:
    return HEIGHT - TOP - BOTTOM


def _thinned(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) steps and values; of more than `MOST` the means of as many runs of them."""
    if len(places) <= MOST:
        return places
    return np.array([part.mean(0) for part in np.array_split(places, MOST)])


def _moving_mean(places: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means over `window` neighbours, at the step of the last of them."""
    values = np.convolve(places[:, 1], np.ones(window) / window, mode="valid")
    return np.column_stack([places[window - 1 :, 0], values])


def number(value: float) -> str:
    """A number as short as its size allows."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.4g}"


def chart_data(chart: Chart) -> Mapping[str, object]:
    """What JavaScript reads to tell values under the pointer."""
    return {
        "reach": chart.reach,
        "lines": [
            {"run": line.run, "label": line.label, "steps": line.steps,
             "values": [float(f"{value:.6g}") for value in line.values]}
            for line in chart.lines
        ],
    }  # fmt: skip
