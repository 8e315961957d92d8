"""Results of segmentations as tables: IoU by class, and where the points of each class went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..pictures.class_colours import class_colours
from ..pictures.confusion import shares


@dataclass(frozen=True, slots=True)
class Scores:
    """What a run reached on labelled frames.

    Attributes:
        run: position of the run on the page; its colour.
        label: its name.
        note: number of its protocol on the page.
        miou: in [0, 1].
        iou: in [0, 1] by class; None where a class does not occur.
        confusion: points by label (row) and prediction (column).
    """

    run: int
    label: str
    note: int
    miou: float
    iou: Mapping[str, float | None]
    confusion: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class: its colour, labelled points of the first run, and IoU in percent by run."""

    name: str
    colour: str
    points: int
    iou: list[float | None]


@dataclass(frozen=True, slots=True)
class IouTable:
    """Runs with the same classes side by side.

    Attributes:
        runs: scores whose columns these are.
        rows: classes that occur.
        absent: names of those that do not.
    """

    runs: list[Scores]
    rows: list[ClassRow]
    absent: list[str]


@dataclass(frozen=True, slots=True)
class ConfusionTable:
    """Where the labelled points of each class went.

    Attributes:
        scores: of the run.
        names: classes with labels or predictions, by column.
        rows: by class with labels: its name, its points, percent by column.
        absent: names of classes without labels and predictions.
    """

    scores: Scores
    names: list[str]
    rows: list[tuple[str, int, list[float]]]
    absent: list[str]


def iou_tables(runs: Sequence[Scores]) -> list[IouTable]:
    """A table for every set of classes."""
    tables = []
    for names in dict.fromkeys(tuple(run.iou) for run in runs):
        alike = [run for run in runs if tuple(run.iou) == names]
        palette = class_colours(names).tolist()
        points = np.asarray(alike[0].confusion).sum(1).tolist()
        rows = [
            ClassRow(name, "#{:02x}{:02x}{:02x}".format(*palette[n]), points[n],
                     [_percent(run.iou[name]) for run in alike])
            for n, name in enumerate(names)
        ]  # fmt: skip
        present = [row for row in rows if any(value is not None for value in row.iou)]
        tables.append(IouTable(alike, present, [row.name for row in rows if row not in present]))
    return tables


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def confusion_table(run: Scores) -> ConfusionTable:
    """The table of a run."""
    names, counts = list(run.iou), np.asarray(run.confusion)
    percent, points = 100 * shares(counts), counts.sum(1)
    columns = np.flatnonzero(points + counts.sum(0))
    return ConfusionTable(
        run,
        [names[n] for n in columns],
        [(names[n], int(points[n]), percent[n, columns].tolist()) for n in columns if points[n]],
        [name for n, name in enumerate(names) if n not in columns],
    )
