"""What all pictures share: how they are laid out and written, clouds from above, points on images.

The size of a figure is that of its panels; `write_title` and `legend_below` make it higher by what
they take.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from ...files import atomic_write
from .class_colours import class_colours

INK, NIGHT = "#222222", "#111111"
"""Colours of writing, and of the ground behind points."""
RADIUS = 35.0
"""Metres around the sensor that are drawn from above."""

TITLE_SIZE, PANEL_SIZE, LEGEND_SIZE = 9, 10, 8
"""Of letters, in points."""
FILLED = 0.92
"""Of the width that a line of a title may fill: letters differ in theirs."""
LINE_SPACING = 1.5
"""Height of a line in sizes of its letters, with the room around it."""
POINTS = 72
"""In an inch."""
MARK = 5.0
"""Width of a legend's mark and of the gaps around its words, in sizes of its letters."""
MOST_COLUMNS = 8
"""Of a legend."""
WIDE = 2.2
"""Widths of a camera's image over its height from which panels stand one above another."""
STACKED_WIDTH = 11.0
"""Inches of such a panel."""
PANEL_TITLE = 0.3
"""Inches that the title of a panel takes."""
ABOVE = (5.0, 5.4)
"""Width and height in inches of a panel from above with its title and its marks."""
COMPRESSION = 3
"""Of PNG: takes half the time of the usual 6, and the file is a tenth larger."""
MARGIN = 0.06
"""Inches around a picture."""

Values = NDArray[np.floating] | NDArray[np.integer]
Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, whole or not at all, without empty margins."""
    data = io.BytesIO()
    figure.savefig(
        data,
        dpi=dpi,
        format="png",
        bbox_inches="tight",
        pad_inches=MARGIN,
        pil_kwargs={"compress_level": COMPRESSION},
    )
    atomic_write(path, data.getvalue())


def write_title(figure: Figure, text: str) -> None:
    """A title above all panels, broken into lines that fit the figure."""
    lines = _broken(text, figure.get_figwidth(), TITLE_SIZE)
    figure.suptitle("\n".join(lines), fontsize=TITLE_SIZE, color=INK)
    _make_room(figure, len(lines), TITLE_SIZE)


def _name_panel(axes: Axes, text: str) -> None:
    """The title of a panel, broken into lines that fit its column."""
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    columns = place.get_gridspec().ncols if place else 1
    width = figure.get_figwidth() / columns if figure else ABOVE[0]
    axes.set_title("\n".join(_broken(text, width, PANEL_SIZE)), fontsize=PANEL_SIZE, color=INK)


def _broken(text: str, width: float, size: float) -> list[str]:
    """Text in letters of `size` points, in lines of at most `width` inches."""
    lines = []
    for line in filter(str.strip, text.splitlines()):
        letter = _text_width(line, size) / len(line)
        lines += wrap(line, int(FILLED * width / letter))
    return lines


def _text_width(text: str, size: float) -> float:
    """Inches of a text in letters of `size` points."""
    if not text.strip():
        return 0.0
    # Measured as it is drawn, without making an outline of every letter.
    width, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=size), ismath=is_math_text(text)
    )
    return width / POINTS


def _make_room(figure: Figure, lines: int, size: float) -> None:
    """Make a figure higher by lines of text in letters of `size` points."""
    figure.set_figheight(figure.get_figheight() + (lines * LINE_SPACING + 1) * size / POINTS)


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
    legend_below(figure, {**colours, **(others or {})})


def legend_below(figure: Figure, colours: Mapping[str, Colour | str]) -> None:
    """Colours by what they mean, below all panels, in as many columns as fit."""
    widest = max(_text_width(name, LEGEND_SIZE) for name in colours)
    column = widest + MARK * LEGEND_SIZE / POINTS
    columns = max(1, min(MOST_COLUMNS, len(colours), int(figure.get_figwidth() / column)))
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, markeredgecolor="0.4", label=name)
        for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=LEGEND_SIZE,
        labelcolor=INK,
    )
    _make_room(figure, -(-len(colours) // columns), LEGEND_SIZE)


def is_wide(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether images, (width, height) in pixels, are all so wide that they are read only one above
    another."""
    return all(width >= WIDE * height for width, height in sizes)


def above_row(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with panels for clouds from above, side by side."""
    width, height = ABOVE
    figure = Figure(figsize=(width * panels, height), layout="compressed")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def camera_grid(
    sizes: Sequence[tuple[int, int]], panels: int, width: float
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure, and (cameras, panels) axes in it: a camera a row, or one panel above another where
    images are wide.

    Args:
        sizes: width and height of every camera's image in pixels.
        panels: of each camera.
        width: inches of a panel that stands beside others.
    """
    rows, columns = len(sizes), panels
    if is_wide(sizes):
        rows, columns, width = len(sizes) * panels, 1, STACKED_WIDTH
    ratio = max(high / wide for wide, high in sizes)
    figure = Figure(
        figsize=(width * columns, (width * ratio + PANEL_TITLE) * rows), layout="compressed"
    )
    return figure, figure.subplots(rows, columns, squeeze=False).reshape(len(sizes), panels)


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
    _name_panel(axes, title)


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
    _name_panel(axes, title)
