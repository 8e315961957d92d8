"""Pictures of a segmentation: prediction, truth and errors (paper Figs. 1 and A1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...cache.projection import Correspondences
from .class_colours import ERROR_RED, class_colours
from .figures import (
    Colour,
    above_row,
    camera_grid,
    class_legend,
    draw_above,
    draw_camera,
    save_figure,
    write_title,
)

WRONG, RIGHT, UNKNOWN = ERROR_RED, (0.55, 0.55, 0.55), (0.2, 0.2, 0.2)
"""Colours of points by whether the prediction is right; unknown where they have no label."""


@dataclass(frozen=True, slots=True)
class LabelledCloud:
    """A cloud with predicted and true classes.

    Attributes:
        xyz: (N, 3) metres.
        prediction: (N,) class of every point.
        truth: (N,) true class, `ignore` where it has none; None without labels.
        ignore: the label of points that do not count.
        class_names: by class.
    """

    xyz: NDArray[np.floating]
    prediction: NDArray[np.integer]
    truth: NDArray[np.integer] | None
    ignore: int
    class_names: Sequence[str]

    def panels(self) -> dict[str, NDArray[np.float64]]:
        """Colours (N, 3) of every point by the name of the panel."""
        palette = class_colours(self.class_names) / 255
        panels = {"prediction": palette[self.prediction]}
        if self.truth is not None:
            counts = self.truth != self.ignore
            truth = np.full((len(self.xyz), 3), UNKNOWN)
            truth[counts] = palette[self.truth[counts]]
            errors = np.full((len(self.xyz), 3), UNKNOWN)
            wrong = counts & (self.truth != self.prediction)
            errors[counts], errors[wrong] = RIGHT, WRONG
            panels |= {"ground truth": truth, "errors": errors}
        return panels

    def verdicts(self) -> dict[str, Colour]:
        """Colours of the errors by what they mean; empty without labels."""
        if self.truth is None:
            return {}
        counts = self.truth != self.ignore
        colours: dict[str, Colour] = {"errors: wrong": WRONG, "errors: right": RIGHT}
        return colours if counts.all() else {**colours, "no label": UNKNOWN}

    def score(self) -> str:
        """How many labelled points are wrong, in words."""
        if self.truth is None:
            return "no ground truth"
        counts = self.truth != self.ignore
        wrong = (self.truth != self.prediction)[counts]
        return f"{wrong.sum()} of {len(wrong)} labelled points wrong"


def label_panels(cloud: LabelledCloud, title: str, path: Path) -> None:
    """The cloud from above: prediction, ground truth and errors in red."""
    panels = cloud.panels()
    figure, row = above_row(len(panels))
    for axes, (name, colours) in zip(row, panels.items(), strict=True):
        draw_above(axes, cloud.xyz, colours, name)
    _legend(figure, cloud)
    write_title(figure, f"{title}\n{cloud.score()}")
    save_figure(figure, path)


def camera_label_panels(
    cloud: LabelledCloud,
    frame: Frame,
    images: Sequence[NDArray[np.uint8]],
    pairs: Correspondences,
    title: str,
    path: Path,
) -> None:
    """The same on the images of all cameras."""
    panels = cloud.panels()
    sizes = [(camera.width, camera.height) for camera in frame.cameras]
    figure, grid = camera_grid(sizes, len(panels), width=5.0)
    for m, (camera, image) in enumerate(zip(frame.cameras, images, strict=True)):
        part = slice(*pairs.offsets[m : m + 2])
        for axes, (name, colours) in zip(grid[m], panels.items(), strict=True):
            draw_camera(
                axes,
                image,
                (camera.width, camera.height),
                f"{camera.name}, {name}",
                pairs.uv[part],
                colours[pairs.point[part]],
            )
    _legend(figure, cloud)
    write_title(figure, f"{title}\n{cloud.score()}")
    save_figure(figure, path)


def _legend(figure: Figure, cloud: LabelledCloud) -> None:
    """Classes that occur, and what the colours of the errors mean."""
    classes = set(np.unique(cloud.prediction).tolist())
    if cloud.truth is not None:
        classes |= set(np.unique(cloud.truth[cloud.truth != cloud.ignore]).tolist())
    class_legend(figure, cloud.class_names, classes, cloud.verdicts())
