"""Similarity of a point to all others, student and teacher side by side (paper Figs. 5 and A2)."""

from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from .features import FrameFeatures
from .figures import (
    ABOVE,
    PANEL_TITLE,
    STACKED_WIDTH,
    above_row,
    draw_above,
    draw_camera,
    is_wide,
    save_figure,
    write_title,
)

TAILS = 0.02
"""Share of the similarities at either end that has the end colour."""
BESIDE = 4.8
"""Inches of an image beside others."""
LOW = 0.65
"""Height over width of an image that leaves the sweep from above too little height."""


def similarity_panels(
    frame: FrameFeatures, features: Tensor, point: int, title: str, path: Path
) -> None:
    """A camera's image with a point marked, the teacher's similarity of its pixel to all pixels of
    the image, and the student's of the point to all points, in the camera and from above in
    the same colours.

    Args:
        features: (N, C) of the student's backbone at every point.
        point: index of the point; a camera should see it, else only the student is drawn.
    """
    xyz = frame.cached.points[:, :3].numpy()
    student = _similarity(features, point)
    seen_by = torch.nonzero(frame.cached.pair_point == point).flatten().tolist()
    if seen_by:
        figure, axes = _four_panels(frame.size(int(frame.cached.pair_camera[seen_by[0]])))
        _in_camera(axes[:3], frame, seen_by[0], student)
    else:
        figure, axes = above_row(1)
    place = xyz[point]
    reach = _reach(student)
    draw_above(axes[-1], xyz, _yellow(student, reach), _range("student, from above", reach))
    _cross(axes[-1], place[:2])
    write_title(figure, title)
    save_figure(figure, path)


def _four_panels(size: tuple[int, int]) -> tuple[Figure, list[Axes]]:
    """A figure for three images of `size` pixels and the sweep from above: all in a row, or one
    above another where the image is wide."""
    width, height = size
    image = height / width
    if not is_wide([size]):
        figure = Figure(figsize=(4 * BESIDE, BESIDE * max(image, LOW) + 1), layout="compressed")
        return figure, list(figure.subplots(1, 4))
    heights = [STACKED_WIDTH * image + 2 * PANEL_TITLE] * 3 + [ABOVE[1] + PANEL_TITLE]
    figure = Figure(figsize=(STACKED_WIDTH, sum(heights)), layout="constrained")
    return figure, list(figure.subplots(4, 1, height_ratios=heights))


def similarity_colours(features: Tensor, point: int) -> NDArray[np.float64]:
    """(N, 3) colours of the similarity of features (N, C) to that of a point."""
    similarity = _similarity(features, point)
    return _yellow(similarity, _reach(similarity))


def _similarity(features: Tensor, point: int) -> NDArray[np.float64]:
    """(N,) cosines."""
    unit = normalize(features.double(), dim=1)
    return (unit @ unit[point]).numpy()


def _in_camera(
    axes: list[Axes], frame: FrameFeatures, pair: int, student: NDArray[np.float64]
) -> None:
    """The three panels of the camera that sees the point as `pair`."""
    camera = int(frame.cached.pair_camera[pair])
    image, size = frame.image(camera), frame.size(camera)
    mine, pixels = frame.pixels(camera)
    own = (frame.cached.pair_uv[pair].double() * torch.tensor(size) - 0.5).numpy()
    tokens = normalize(frame.tokens(camera).double(), dim=-1)
    teacher = (tokens @ normalize(frame.teacher[pair].double(), dim=0)).numpy()
    draw_camera(axes[0], image, size, frame.names[camera])
    reach = _reach(teacher)
    draw_camera(axes[1], None, size, _range("teacher", reach))
    axes[1].imshow(_yellow(teacher, reach), extent=(-0.5, size[0] - 0.5, size[1] - 0.5, -0.5))
    values, reach = student[frame.cached.pair_point[mine].numpy()], _reach(student)
    draw_camera(axes[2], image, size, _range("student", reach), pixels, _yellow(values, reach))
    for panel in axes[:3]:
        _cross(panel, own)


def _reach(similarity: NDArray[np.float64]) -> tuple[float, float]:
    """Similarities of the darkest and the brightest colour."""
    low, high = np.quantile(similarity, [TAILS, 1 - TAILS])
    return float(low), float(high)


def _yellow(similarity: NDArray[np.float64], reach: tuple[float, float]) -> NDArray[np.float64]:
    """(..., 3) colours: yellow is most alike, blue least."""
    low, high = reach
    share = (similarity - low) / max(high - low, 1e-12)
    return colormaps["viridis"](share.clip(0, 1))[..., :3]


def _range(name: str, reach: tuple[float, float]) -> str:
    low, high = reach
    return f"{name}\ncosine {low:.2f} (blue) to {high:.2f} (yellow)"


def _cross(axes: Axes, place: NDArray[np.floating]) -> None:
    axes.plot(*place, marker="x", color="red", markersize=10, markeredgewidth=2.5)
