"""Pictures of features: a student's at the points beside its teacher's, in the same colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ...cache import CachedFrame
from ...cache.codec import decode
from ...cache.sampling import sample_tokens
from ...errors import CleverError
from ...student.points import PointBatch
from ...student.student import Student
from .feature_colours import FeatureColours
from .figures import (
    above_row,
    camera_grid,
    draw_above,
    draw_camera,
    legend_below,
    save_figure,
    write_title,
)

SMOOTH = 8
"""Pixels that a token is drawn with on either side."""
OWN_COLOURS = "in colours of its own"
"""Of a student without a head: its colours are not the teacher's."""
UNSEEN = 0.25
"""Grey of points that no camera sees."""


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """A frame, its teacher's features and those that students predict.

    Attributes:
        cached: the frame.
        names: of its cameras.
        images: (H, W, 3) by camera; None where the images are not at hand.
        teacher: (K, C) float32, the teacher's feature of every pair.
        students: (N, C) float32 by name: what a student predicts for every point, where it has a
            head.
        backbones: (N, D) float32 by name: the student's own features, before its head.
    """

    cached: CachedFrame
    names: Sequence[str]
    images: Sequence[NDArray[np.uint8]] | None
    teacher: Tensor
    students: Mapping[str, Tensor]
    backbones: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        cached: CachedFrame,
        names: Sequence[str],
        images: Sequence[NDArray[np.uint8]] | None,
        students: Mapping[str, tuple[Student, nn.Module | None]],
        align_corners: bool,
    ) -> "FrameFeatures":
        """Run the students, which are on the CPU; see `sample_tokens` for `align_corners`."""
        if cached.tokens.ndim != 4:
            raise CleverError(
                f"frame {cached.id}: this layer holds features of pairs alone, which make no "
                "picture; choose a `teacher` that stores tokens"
            )
        teacher = sample_tokens(
            cached.tokens,
            cached.pair_camera,
            cached.pair_uv,
            cached.image_size,
            cached.calibration,
            align_corners,
        )
        points = PointBatch.from_clouds([cached.points])
        with torch.no_grad():
            backbones = {
                name: student.eval()(points).float() for name, (student, _) in students.items()
            }
            predictions = {
                name: head.eval()(backbones[name])
                for name, (_, head) in students.items()
                if head is not None
            }
        return cls(cached, names, images, teacher, predictions, backbones)

    def cosines(self, pairs: Tensor | None = None) -> dict[str, float]:
        """Mean cosine between prediction and teacher over the frame's pairs, by student.

        Args:
            pairs: (K,) bool, those to take, such as a camera's; None for all.
        """
        target = normalize(self.teacher, dim=1)
        cosines = {name: (target * self.at_pairs(name)).sum(1) for name in self.students}
        return {
            name: float((values if pairs is None else values[pairs]).mean())
            for name, values in cosines.items()
        }

    def at_pairs(self, student: str) -> Tensor:
        """(K, C) unit features of a student, one for each pair."""
        return normalize(self.students[student][self.cached.pair_point], dim=1)

    def pixels(self, camera: int) -> tuple[Tensor, NDArray[np.float64]]:
        """(K,) bool, the pairs of a camera, and their (n, 2) pixels."""
        mine = self.cached.pair_camera == camera
        size = self.cached.image_size[camera]
        return mine, (self.cached.pair_uv[mine].double() * size - 0.5).numpy()

    def best_cameras(self, count: int) -> list[int]:
        """The cameras that see most points, in camera order."""
        pair_counts = torch.bincount(self.cached.pair_camera, minlength=len(self.names))
        return sorted(pair_counts.argsort(descending=True, stable=True)[:count].tolist())

    def image(self, camera: int) -> NDArray[np.uint8] | None:
        return None if self.images is None else self.images[camera]

    def size(self, camera: int) -> tuple[int, int]:
        """Width and height of a camera's image."""
        width, height = self.cached.image_size[camera].tolist()
        return width, height

    def tokens(self, camera: int) -> Tensor:
        """(h, w, C) a camera's tokens, smoothed to `SMOOTH` times as many."""
        tokens = decode(self.cached.tokens[camera], self.cached.calibration)
        large = interpolate(tokens.permute(2, 0, 1)[None], scale_factor=SMOOTH, mode="bilinear")
        return large[0].permute(1, 2, 0)


def feature_panels(frame: FrameFeatures, cameras: Sequence[int], title: str, path: Path) -> None:
    """For some cameras of a frame: the image, the teacher's tokens, the teacher's features at the
    points, and those of each student there, see `student_colours`.

    A student's cosine to the teacher is the mean over the points of that camera.
    """
    colours = FeatureColours(frame.teacher)
    teacher = colours.stretched(frame.teacher)
    students = student_colours(frame, colours)
    panels = (frame.images is not None) + 2 + len(students)
    figure, grid = camera_grid([frame.size(camera) for camera in cameras], panels, width=4.2)
    for row, camera in zip(grid, cameras, strict=True):
        image, size = frame.image(camera), frame.size(camera)
        panels = iter(row)
        if image is not None:
            draw_camera(next(panels), image, size, frame.names[camera])
        axes = next(panels)
        draw_camera(axes, None, size, f"teacher, {frame.names[camera]}")
        axes.imshow(
            teacher(frame.tokens(camera)), extent=(-0.5, size[0] - 0.5, size[1] - 0.5, -0.5)
        )
        mine, pixels = frame.pixels(camera)
        draw_camera(
            next(panels), image, size, "teacher at the points", pixels, teacher(frame.teacher[mine])
        )
        cosines = frame.cosines(mine)
        for name, values in students.items():
            label = f"{name}: cosine {cosines[name]:.2f}" if name in cosines else name
            points = frame.cached.pair_point[mine].numpy()
            draw_camera(next(panels), image, size, label, pixels, values[points])
    write_title(figure, title)
    save_figure(figure, path)


def student_colours(
    frame: FrameFeatures, teacher: FeatureColours
) -> dict[str, NDArray[np.float64]]:
    """Colours (N, 3) for every point, by panel: what a student predicts along the teacher's three
    principal directions; without a head its own features along their own.

    Both are around the mean and over the spread of the student's features where cameras see.
    """
    panels = {}
    for name, own in frame.backbones.items():
        features, colours, label = frame.students.get(name), teacher, name
        if features is None:
            features, label = own, f"{name}, {OWN_COLOURS}"
            colours = FeatureColours(own[frame.cached.pair_point])
        panels[label] = colours.stretched(features[frame.cached.pair_point])(features)
    return panels


def point_colours(frame: FrameFeatures) -> dict[str, NDArray[np.float64]]:
    """Colours (N, 3) of `feature_panels` for every point: the teacher's feature where a camera sees
    the point (the mean where several do), and `student_colours`."""
    colours = FeatureColours(frame.teacher)
    points = len(frame.cached.points)
    teacher_colours = np.full((points, 3), UNSEEN)
    pair_colours = colours.stretched(frame.teacher)(frame.teacher)
    sums, index = np.zeros_like(teacher_colours), frame.cached.pair_point.numpy()
    np.add.at(sums, index, pair_colours)
    count = np.bincount(index, minlength=points)
    teacher_colours[count > 0] = sums[count > 0] / count[count > 0, None]
    return {"teacher, where a camera sees": teacher_colours, **student_colours(frame, colours)}


def cloud_panels(frame: FrameFeatures, title: str, path: Path) -> None:
    """The sweep from above in the colours of `point_colours`."""
    panels, points = point_colours(frame), frame.cached.points[:, :3].numpy()
    figure, row = above_row(len(panels))
    for axes, (name, values) in zip(row, panels.items(), strict=True):
        draw_above(axes, points, values, name)
    if len(frame.cached.pair_point.unique()) < len(points):
        legend_below(
            figure, {"in no camera: without a feature of the teacher": (UNSEEN, UNSEEN, UNSEEN)}
        )
    write_title(figure, title)
    save_figure(figure, path)
