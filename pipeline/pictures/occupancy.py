"""Pictures of occupancy queries: what is filled and what is predicted to be."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .figures import draw_above, save_figure, write_title

KINDS = ("in front", "behind", "on the line of sight")
"""Of queries, in the order of their numbers."""
WIDE, CLOSE = 20.0, 2.5
"""Metres to the edges of the two cuts."""


def occupancy_panels(
    place: NDArray[np.floating],
    kind: NDArray[np.integer],
    filled: NDArray[np.bool_],
    predicted: NDArray[np.floating],
    centre: tuple[float, float],
    title: str,
    path: Path,
) -> None:
    """Queries from above, by truth and by prediction: all around the sensor, and close to a point,
    where those just before and just behind a surface can be told apart.

    Args:
        place: (Q, 3) metres.
        kind: (Q,) number of `KINDS`.
        filled: (Q,) the truth.
        predicted: (Q,) probability of being filled.
        centre: x, y of the close cut.
    """
    colours = {"truth": _heat(filled.astype(np.float64)), "prediction": _heat(predicted)}
    figure = Figure(figsize=(10.4, 10.6), layout="constrained")
    grid = figure.subplots(2, 2)
    for column, (name, values) in enumerate(colours.items()):
        draw_above(grid[0, column], place, values, name, WIDE, 2.0)
        draw_above(grid[1, column], place, values, f"{name}, close", CLOSE, 14.0, centre)
    right = (predicted > 0.5) == filled
    shares = [
        f"{words} {right[kind == number].mean():.1%}"
        for number, words in enumerate(KINDS)
        if (kind == number).any()
    ]
    write_title(figure, f"{title}\nfilled red, empty blue; right at 0.5: {', '.join(shares)}")
    save_figure(figure, path)


def _heat(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    return colormaps["coolwarm"](probability)[:, :3]
