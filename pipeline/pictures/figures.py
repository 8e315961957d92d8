"""What all pictures share: how they are written, clouds from above, points on images."""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ...files import atomic_write
from .class_colours import class_colours

INK, NIGHT = "#222222", "#111111"
"""Colours of writing, and of the ground behind points."""
RADIUS = 35.0
"""Metres around the sensor that are drawn from above."""

CHARACTERS = 14
"""Of a title in an inch of width."""

Values = NDArray[np.floating] | NDArray[np.integer]
Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, dpi=dpi, format="png")
    atomic_write(path, data.getvalue())


def write_title(figure: Figure, text: str) -> None:
    """A title above all panels, broken into lines that fit the figure."""
    columns = int(figure.get_figwidth() * CHARACTERS)
    lines = [part for line in text.splitlines() for part in wrap(line, columns)]
    figure.suptitle("\n".join(lines), fontsize=9, color=INK)


def class_legend(
    figure: Figure,
    class_names: Sequence[str],
    classes: Collection[int],
    others: Mapping[str, Colour] | None = None,
) -> None:
    """The colours of some classes, by number, below all panels, then those of other things."""
    palette, colours = class_colours(class_names) / 255, dict[str, Colour]()
    for c in sorted(classes):
        red, green, blue = palette[c].tolist()
        colours[class_names[c]] = red, green, blue
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, markeredgecolor="0.4", label=name)
        for name, colour in (*colours.items(), *(others or {}).items())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False, fontsize=8)


def draw_above(
    axes: Axes,
    xyz: NDArray[np.floating],
    colours: Values,
    title: str,
    radius: float = RADIUS,
    size: float = 1.5,
    centre: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Points (N, 3) from above, the highest on top.

    Args:
        colours: (N, 3) in [0, 1].
        radius: metres from `centre` to the edges.
        size: of a point, in square points of print.
    """
    x, y = centre
    near = (np.abs(xyz[:, :2] - centre) < radius).all(1)
    order = np.flatnonzero(near)[np.argsort(xyz[near, 2], kind="stable")]
    axes.scatter(*xyz[order, :2].T, c=colours[order], s=size, linewidths=0)
    axes.set(
        aspect="equal",
        xlim=(x - radius, x + radius),
        ylim=(y - radius, y + radius),
        xlabel="x, m",
        ylabel="y, m",
        facecolor=NIGHT,
    )
    axes.set_title(title, fontsize=10, color=INK)


def draw_camera(
    axes: Axes,
    image: NDArray[np.uint8] | None,
    size: tuple[int, int],
    title: str,
    pixels: NDArray[np.floating] | None = None,
    colours: Values | None = None,
) -> None:
    """A camera's image, or its points on a faint one, or on black where there is none.

    Args:
        image: (H, W, 3).
        size: width and height of the image in pixels.
        pixels: (K, 2) of the points.
        colours: (K, 3) in [0, 1].
    """
    width, height = size
    axes.set(facecolor=NIGHT)
    if image is not None and pixels is None:
        axes.imshow(image)
    elif image is not None:
        axes.imshow((image.mean(2) * 0.35).astype(np.uint8), cmap="gray", vmin=0, vmax=255)
    if pixels is not None:
        axes.scatter(*pixels.T, c=colours, s=5, linewidths=0)
    axes.set(
        xlim=(-0.5, width - 0.5),
        ylim=(height - 0.5, -0.5),
        xticks=[],
        yticks=[],
        aspect="equal",
    )
    axes.set_title(title, fontsize=10, color=INK)
