"""Pictures of a table of ablations: RankMe against a measurement, and what the grid cost."""

from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...words import quantity
from ..results.ablation_table import AblationTable, Column
from ..results.account import Account, duration
from .figures import INK, save_figure

ROW_COLOURS = (
    "#1f5fa8", "#d9822b", "#3f8f5b", "#8a5aa8", "#b5453c", "#4a9fb5", "#7a6a3a", "#c46aa0",
    "#5b6b7a", "#a0a53a",
)  # fmt: skip
MARKERS = "osD^vPX*<>"
"""Together with the colours: a hundred rows that differ."""
LETTERS = 95
"""Of a title's line."""


def rank_scatter(table: AblationTable, column: Column, path: Path) -> None:
    """A measurement over RankMe, a point a pre-trained cell, as the paper's Fig. 3; a colour and a
    form a row."""
    pairs = table.rank_pairs(column.key)
    correlation = table.correlation(column.key)
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    handles = []
    names = list(dict.fromkeys(cell.row for cell, _, _ in pairs))
    for number, row in enumerate(names):
        own = [(rank, value) for cell, rank, value in pairs if cell.row == row]
        colour = ROW_COLOURS[number % len(ROW_COLOURS)]
        marker = MARKERS[number // len(ROW_COLOURS) % len(MARKERS)]
        axes.scatter(*zip(*own, strict=True), s=42, color=colour, marker=marker, alpha=0.85)
        label = table.row(row).name
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=label))
    axes.set(xlabel="RankMe of backbone features", ylabel=column.title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=handles, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5)
    )
    words = "" if correlation is None else f", Spearman {correlation:.2f}"
    title = (
        f"{table.grid}: {quantity(len(pairs), 'cell')}{words}; seeds "
        f"{', '.join(map(str, table.seeds()))}"
    )
    protocol = next(
        (line for line in table.protocol() if line.startswith(f"{column.measurement}:")), ""
    )
    figure.suptitle(fill(f"{title}. {protocol}", LETTERS), fontsize=8, color=INK)
    save_figure(figure, path)


def _unit(seconds: float) -> tuple[int, str]:
    """Seconds of the unit in which a length of time reads well, and its name; as `duration`."""
    if seconds < 100:
        return 1, "seconds"
    return (60, "minutes") if seconds < 6000 else (3600, "hours")


def cost_bars(account: Account, title: str, path: Path) -> None:
    """Time of the teacher once and of the students, beside the teacher in every step."""
    once, online = account.teacher_seconds, account.online_seconds
    students = account.pretraining_seconds
    bars = [("from the cache", once or 0.0)]
    if online is not None:
        bars.append(("teacher in the loop", online))
    scale, unit = _unit(max(students, online or 0) + (once or 0))
    figure = Figure(figsize=(8, 2.0 + 0.7 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names = [name for name, _ in bars]
    teacher = [seconds / scale for _, seconds in bars]
    axes.barh(names, teacher, 0.55, color=ROW_COLOURS[1], label="teacher")
    axes.barh(names, students / scale, 0.55, left=teacher, color=ROW_COLOURS[0], label="students")
    for number, (_, seconds) in enumerate(bars):
        teacher_time = "not recorded" if number == 0 and once is None else duration(seconds)
        axes.text(
            (seconds + students) / scale,
            number,
            f"  {teacher_time} + {duration(students)}",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.invert_yaxis()
    axes.set(xlabel=f"{unit} of pre-training, downstream not counted")
    axes.margins(x=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    lines = [fill(line, LETTERS) for line in [title, *account.lines()]]
    figure.suptitle("\n".join(lines), fontsize=8, color=INK)
    save_figure(figure, path)
