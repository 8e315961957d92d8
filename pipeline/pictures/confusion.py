"""Picture of a confusion matrix."""

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ...files import atomic_write
from .figures import INK

DARK = 60
"""Percent from which a cell's number is white."""


def shares(confusion: ArrayLike) -> NDArray[np.float64]:
    """Each row of a confusion matrix (K, K) as shares of its sum, (K, K) float64; NaN for a class
    without labels."""
    counts = np.asarray(confusion, np.float64)
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=np.full_like(counts, np.nan), where=sums > 0)


def confusion_figure(confusion: ArrayLike, names: Sequence[str], title: str) -> Figure:
    """Where the labelled points of each class went, in percent of the class's points.

    Args:
        confusion: (K, K) points by label (row) and prediction (column).
        names: of the K classes. A class without labels has a grey row.
    """
    percent = 100 * shares(confusion)
    size = 2.6 + 0.42 * len(names)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(np.rint(percent) > 0).tolist():
        value = percent[row, column]
        colour = "white" if value >= DARK else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    points = np.asarray(confusion).sum(1)
    labels = [f"{name}  {count:,}" for name, count in zip(names, points, strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=55, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.set(xlabel="prediction", ylabel="label, with its points")
    borders = np.arange(len(names) + 1) - 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="% of the label's points")
    figure.suptitle(fill(title, round(13 * size)), fontsize=8, color=INK)
    return figure


def draw_confusion(confusion: ArrayLike, names: Sequence[str], title: str, path: Path) -> None:
    """Write `confusion_figure` as PNG.

    Raises:
        CleverError: the file cannot be written.
    """
    content = io.BytesIO()
    figure = confusion_figure(confusion, names, title)
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    atomic_write(path, content.getvalue())
