"""Pictures of points on camera images: what a wrong calibration looks like at a glance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...cache.projection import Correspondences, project
from .figures import save_figure

COLUMNS = 3
"""Cameras side by side."""
NEAR, FAR = 2.0, 80.0
"""Metres of the ends of the colour scale."""


def projection_panels(
    frame: Frame, images: Sequence[NDArray[np.uint8]], pairs: Correspondences, path: Path
) -> None:
    """The cameras of a frame, each with the points that it sees, coloured by depth.

    Args:
        images: (H, W, 3) of every camera.
        pairs: which points are drawn where.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    height = max(camera.height / camera.width for camera in frame.cameras)
    width = 15 / columns
    figure = Figure(figsize=(15, rows * (width * height + 0.35) + 0.5), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = None
    for axes in all_axes[len(images) :]:
        axes.set_axis_off()
    for m, (axes, camera, image) in enumerate(zip(all_axes, frame.cameras, images, strict=False)):
        part = slice(*pairs.offsets[m : m + 2])
        depth = project(frame.points[pairs.point[part], :3], camera)[1]
        # Far points first, so that near ones are not painted over.
        order = np.argsort(-depth)
        axes.imshow(image)
        shown = axes.scatter(
            *pairs.uv[part][order].T,
            c=depth[order],
            s=4 if columns == 1 else 2,
            cmap="turbo_r",
            norm=LogNorm(NEAR, FAR),
            linewidths=0,
        )
        axes.set_title(f"{camera.name}: {len(depth)} points", fontsize=10)
        axes.set(
            xlim=(-0.5, camera.width - 0.5), ylim=(camera.height - 0.5, -0.5), xticks=[], yticks=[]
        )
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(all_axes), label="depth, m", fraction=0.02)
        bar.minorticks_off()
        bar.set_ticks([2, 5, 10, 20, 40, 80], labels=["2", "5", "10", "20", "40", "80"])
    figure.suptitle(f"frame {frame.id}", fontsize=10)
    save_figure(figure, path)
