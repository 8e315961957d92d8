"""Curves of a run and bars of its scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .figures import INK, save_figure

COLOURS = ("#1f5fa8", "#d9822b", "#3f8f5b", "#8a5aa8")


def loss_curve(records: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Losses of a run over its steps, raw and smoothed, one panel a loss.

    Args:
        records: lines of the run's log, each with ``step`` and losses.
    """
    names = [
        name
        for name in ("distillation", "occupancy", "intensity")
        if any(name in line for line in records)
    ]
    figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained")
    for axes, name, colour in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names, COLOURS, strict=False
    ):
        lines = [(line["step"], line[name]) for line in records if name in line]
        steps, values = np.array(lines).T
        window = max(1, len(values) // 20)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(
            steps[window - 1 :],
            smooth,
            color=colour,
            linewidth=1.8,
            label=f"mean of {window} steps",
        )
        axes.set(title=name, xlabel="step")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(fill(title, 95), fontsize=9, color=INK)
    save_figure(figure, path)


def iou_bars(results: Mapping[str, Mapping[str, float | None]], title: str, path: Path) -> None:
    """IoU by class of several runs side by side; a class without points in the split has no bar.

    Args:
        results: class -> IoU in [0, 1], or None, by name of the run.
    """
    classes = [
        name
        for name in next(iter(results.values()))
        if any(run[name] is not None for run in results.values())
    ]
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(classes)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(results)
    for number, ((name, run), colour) in enumerate(zip(results.items(), COLOURS, strict=False)):
        values = [100 * (run[cls] or 0.0) for cls in classes]
        positions = np.arange(len(classes)) + (number - (len(results) - 1) / 2) * height
        bars = axes.barh(positions, values, height * 0.92, color=colour, label=name)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=7, color=INK)
    axes.set_yticks(np.arange(len(classes)), classes, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlim=(0, 105), xlabel="IoU, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(fill(title, 95), fontsize=9, color=INK)
    save_figure(figure, path)
