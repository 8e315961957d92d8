"""Pictures of a sweep under a corruption, from above and as the sensor sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .class_colours import ERROR_RED
from .figures import NIGHT, draw_above, legend_below, save_figure, write_title

SECTOR = 60.0
"""Degrees to either side of the x axis in the sensor's view."""
ELEVATIONS = (-32.0, 14.0)
"""Degrees that it shows."""
FEW = 0.1
"""Share of removed points below which they are drawn."""
LOST = (1.0, 0.6, 0.2)
"""Their colour."""


@dataclass(frozen=True, slots=True)
class DrawnSweep:
    """A sweep to draw.

    Attributes:
        points: (M, 4) as `Corrupted.points`.
        inserted: (M,) bool, drawn in red.
        removed: (K, 4) points of the clean sweep that are gone, drawn in orange on black where
            they are few (`FEW`): more would hide what is left.
        bright: intensity of the brightest colour, the same for all sweeps of a picture.
        words: a line below its name.
    """

    points: NDArray[np.float32]
    inserted: NDArray[np.bool_]
    removed: NDArray[np.float32]
    bright: float
    words: str

    @property
    def lost(self) -> NDArray[np.float32]:
        """Points of `removed` that are drawn."""
        few = len(self.removed) < FEW * (len(self.removed) + len(self.points))
        return self.removed if few else self.removed[:0]

    def colours(self) -> NDArray[np.float64]:
        """(M, 3): by intensity, red where inserted."""
        scale = np.sqrt(np.clip(self.points[:, 3] / self.bright, 0, 1))
        colours = np.asarray(colormaps["viridis"](0.15 + 0.85 * scale))[:, :3].astype(np.float64)
        colours[self.inserted] = ERROR_RED
        return colours


def severity_panels(sweeps: Mapping[str, DrawnSweep], title: str, path: Path) -> None:
    """Sweeps side by side: from above, and below that what the sensor sees around
    its x axis."""
    figure = Figure(figsize=(4.6 * len(sweeps), 8.2), layout="compressed")
    grid = figure.subplots(2, len(sweeps), squeeze=False, height_ratios=(4.2, 3))
    for column, (name, sweep) in enumerate(sweeps.items()):
        _draw_above(grid[0, column], sweep, f"{name}\n{sweep.words}")
        _draw_sector(grid[1, column], sweep)
    _legend(figure, next(iter(sweeps.values())).bright)
    write_title(figure, title)
    save_figure(figure, path)


def corruption_overview(sweeps: Mapping[str, DrawnSweep], title: str, path: Path) -> None:
    """Sweeps from above, three a row."""
    rows = -(-len(sweeps) // 3)
    figure = Figure(figsize=(13.8, 4.9 * rows + 0.6), layout="compressed")
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes, (name, sweep) in zip(grid, sweeps.items(), strict=False):
        _draw_above(axes, sweep, f"{name}\n{sweep.words}")
    for axes in grid[len(sweeps) :]:
        axes.set_axis_off()
    _legend(figure, next(iter(sweeps.values())).bright)
    write_title(figure, title)
    save_figure(figure, path, dpi=90)


def _draw_above(axes: Axes, sweep: DrawnSweep, title: str) -> None:
    """Surfaces in the order of their height, inserted points on top of them."""
    colours = sweep.colours()
    draw_above(axes, sweep.points[:, :3], colours, title, size=1.2)
    near = sweep.inserted
    axes.scatter(*sweep.points[near, :2].T, color=ERROR_RED, s=2.0, linewidths=0)
    axes.scatter(*sweep.lost[:, :2].T, color=LOST, s=2.0, linewidths=0)


def _draw_sector(axes: Axes, sweep: DrawnSweep) -> None:
    """Points by azimuth and elevation, the nearest on top."""
    x, y, _ = sweep.points[:, :3].astype(np.float64).T
    azimuth, elevation = _directions(sweep.points)
    within = np.abs(azimuth) < SECTOR
    order = np.flatnonzero(within)[np.argsort(-np.hypot(x, y)[within], kind="stable")]
    axes.scatter(azimuth[order], elevation[order], c=sweep.colours()[order], s=1.2, linewidths=0)
    axes.scatter(*_directions(sweep.lost), color=LOST, s=1.5, linewidths=0)
    axes.set(
        xlim=(SECTOR, -SECTOR),
        ylim=ELEVATIONS,
        xlabel="azimuth, degrees",
        ylabel="elevation, degrees",
        facecolor=NIGHT,
    )


def _directions(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Azimuth and elevation of points in degrees."""
    x, y, z = points[:, :3].astype(np.float64).T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def _legend(figure: Figure, bright: float) -> None:
    marks = {
        "intensity 0": colormaps["viridis"](0.15),
        f"intensity {bright:.2g} and above": colormaps["viridis"](1.0),
        "inserted: ignored by the metric": ERROR_RED,
        f"removed, where less than {FEW:.0%} of the sweep": LOST,
    }
    legend_below(figure, marks)
