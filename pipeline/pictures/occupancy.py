"""Pictures of occupancy queries: what is filled and what is predicted to be."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .figures import INK, legend_below, save_figure, write_title

KINDS = ("in front", "behind", "on the line of sight")
"""Of queries, in the order of their numbers."""
WIDE = 15.0
"""Metres from the sensor to the edges of the view from above."""
HEIGHTS = (-1.2, 0.6)
"""Heights over the sensor, metres, of what is seen from above: bodies of things, not the ground."""
BEFORE, AFTER, BELOW, ABOVE = 5.0, 4.0, 2.0, 2.5
"""Metres of the side view around its point: towards the sensor, away from it, below and above."""
THICK = 0.6
"""Metres of the slice that is seen from the side, half on either side of the ray."""
FREE, UNSURE, FILLED, POINT = "#2b83ba", "#c8a2c8", "#d7191c", "#9a9a9a"
"""Colours of what is empty, of probability 0.5, of what is filled, and of the sweep's points."""
LEGEND = {"LiDAR points": POINT, "empty": FREE, "probability 0.5": UNSURE, "filled": FILLED}
"""What they mean."""
SIZES = (2.5, 8.0)
"""Of a query from above and from the side, in square points of print."""


@dataclass(frozen=True, slots=True)
class OccupancyAnswers:
    """Queries of a sweep and what a student says of them.

    Attributes:
        place: (Q, 3) metres around the sensor.
        kind: (Q,) number of `KINDS`.
        filled: (Q,) the truth.
        predicted: (Q,) probability of being filled.
    """

    place: NDArray[np.floating]
    kind: NDArray[np.integer]
    filled: NDArray[np.bool_]
    predicted: NDArray[np.floating]

    def within(self, near: NDArray[np.bool_]) -> "OccupancyAnswers":
        """Some of them, (Q,)."""
        return OccupancyAnswers(
            self.place[near], self.kind[near], self.filled[near], self.predicted[near]
        )

    def right(self) -> str:
        """Shares that are right at 0.5, by kind."""
        right = (self.predicted > 0.5) == self.filled
        shares = [
            f"{words} {right[self.kind == number].mean():.1%}"
            for number, words in enumerate(KINDS)
            if (self.kind == number).any()
        ]
        return ", ".join(shares)


def occupancy_panels(
    answers: OccupancyAnswers,
    xyz: NDArray[np.floating],
    centre: NDArray[np.floating],
    title: str,
    path: Path,
) -> None:
    """Queries by truth and by prediction beside it, the sweep's points in grey: from above around
    the sensor, where the air before surfaces is seen, and from the side in a slice along the ray to
    a point, close enough to tell a query just before a surface from one just behind it.

    Args:
        xyz: (N, 3) the sweep, metres around the sensor.
        centre: (3,) the point in the middle of the side view.
    """
    figure = Figure(figsize=(11.0, 8.8), layout="compressed")
    grid = figure.subplots(2, 2, height_ratios=(1.7, 0.85))
    distance, height = np.hypot(*centre[:2]), centre[2]
    above, beside = from_above(answers, xyz), from_side(answers, xyz, centre)
    for column, name in enumerate(("truth", "prediction")):
        for row, (own, points) in enumerate((above, beside)):
            share = own.filled.astype(float) if column == 0 else own.predicted
            _draw(grid[row, column], own.place, points, share, SIZES[row])
        grid[0, column].set(xlim=(-WIDE, WIDE), ylim=(-WIDE, WIDE), xlabel="x, m", ylabel="y, m")
        grid[0, column].set_title(f"{name}, from above", fontsize=10, color=INK)
        grid[1, column].set(
            xlim=(distance - BEFORE, distance + AFTER),
            ylim=(height - BELOW, height + ABOVE),
            xlabel="m from the sensor, which is to the left",
            ylabel="m over the sensor",
        )
        grid[1, column].set_title(f"{name}, a slice from the side", fontsize=10, color=INK)
    legend_below(figure, LEGEND)
    caption = (
        f"Each dot is a query: is this place filled? Upper row: those {-HEIGHTS[0]:g} m below to "
        f"{HEIGHTS[1]:g} m over the sensor. Lower row: a slice {THICK:g} m thick along the ray to "
        f"a point {distance:.1f} m away. Told right, filled from a probability of 0.5 on: "
        f"{answers.right()}"
    )
    write_title(figure, f"{title}\n{caption}")
    save_figure(figure, path)


def from_above(
    answers: OccupancyAnswers, xyz: NDArray[np.floating]
) -> tuple[OccupancyAnswers, NDArray[np.floating]]:
    """Queries and points (N, 3) at the `HEIGHTS`; x and y are drawn."""
    queries, points = (
        (place[:, 2] > HEIGHTS[0]) & (place[:, 2] < HEIGHTS[1]) for place in (answers.place, xyz)
    )
    return answers.within(queries), xyz[points]


def from_side(
    answers: OccupancyAnswers, xyz: NDArray[np.floating], centre: NDArray[np.floating]
) -> tuple[OccupancyAnswers, NDArray[np.floating]]:
    """Queries and points in the slice along the ray to a point, as (distance along the ray over
    ground, height, distance from the slice's middle)."""
    along = centre[:2] / max(float(np.hypot(*centre[:2])), 1e-6)
    across = np.array([-along[1], along[0]])

    def turned(place: NDArray[np.floating]) -> NDArray[np.floating]:
        flat = place[:, :2]
        return np.stack([flat @ along, place[:, 2], flat @ across], 1)

    place, points = turned(answers.place), turned(xyz)
    queries, cloud = (np.abs(part[:, 2]) < THICK / 2 for part in (place, points))
    own = OccupancyAnswers(place, answers.kind, answers.filled, answers.predicted)
    return own.within(queries), points[cloud]


def _draw(
    axes: Axes,
    place: NDArray[np.floating],
    points: NDArray[np.floating],
    share: NDArray[np.floating],
    size: float,
) -> None:
    """Points, then queries, the fullest on top, by the first two coordinates."""
    axes.scatter(*points[:, :2].T, c=POINT, s=0.6 * size, linewidths=0)
    order = np.argsort(share, kind="stable")
    colours = LinearSegmentedColormap.from_list("filled", [FREE, UNSURE, FILLED])(share[order])
    axes.scatter(*place[order, :2].T, c=colours, s=size, linewidths=0, alpha=0.8)
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
