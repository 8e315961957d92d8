"""Augmentation of point clouds, batched on their own device (paper Table A1)."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..draws import Draws
from ..points import PointBatch


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random rotation, scale, flip and jitter, drawn anew for every scene; the defaults are
    Pointcept's.

    Attributes:
        rotate_p: probability of a rotation about z by an angle uniform in (-pi, pi).
        scale: range of the uniform factor of x, y and z.
        flip: `each` mirrors x with probability `flip_p` and, independently, y; `one` mirrors, with
            probability `flip_p`, exactly one of the two, either as likely.
        jitter_sigma, jitter_clip: metres; noise added to every coordinate is normal, clipped; none
            where sigma is 0.
    """

    rotate_p: float = 0.5
    scale: tuple[float, float] = (0.9, 1.1)
    flip: Literal["each", "one"] = "each"
    flip_p: float = 0.5
    jitter_sigma: float = 0.005
    jitter_clip: float = 0.02

    def __call__(self, points: PointBatch, draws: Draws) -> tuple[PointBatch, Tensor]:
        """The augmented batch, points in the same order, and the matrix (S, 3, 3) float32 applied
        to every scene.

        Jitter comes after the matrix. What hangs on the points (occupancy queries) follows by the
        same matrices.
        """
        matrices = self._matrices(draws).float().to(points.xyz.device, non_blocking=True)
        xyz = (matrices.index_select(0, points.scene) * points.xyz[:, None, :]).sum(-1)
        if self.jitter_sigma:
            noise = self.jitter_sigma * draws.normal("jitter", 3)
            xyz = xyz + noise.clamp(-self.jitter_clip, self.jitter_clip)
        return replace(points, xyz=xyz), matrices

    def _matrices(self, draws: Draws) -> Tensor:
        """(S, 3, 3) float64 on the CPU: rotation, then scale and flips."""
        # Five uniform numbers a scene: whether it turns, by how much, its scale, its two flips.
        turn, place, size, *mirror = draws.for_scenes("augment", 5).unbind(1)
        angle = torch.where(turn < self.rotate_p, math.pi * (2 * place - 1), 0.0)
        low, high = self.scale
        factor = low + (high - low) * size
        if self.flip == "each":
            mirror_x, mirror_y = (draw < self.flip_p for draw in mirror)
        else:
            # At most one axis, each as often as the other.
            mirror_scene, along_x = mirror[0] < self.flip_p, mirror[1] < 0.5
            mirror_x, mirror_y = mirror_scene & along_x, mirror_scene & ~along_x
        # diag(x, y, factor) R(angle), row by row: a flip is a negative scale.
        x, y = (torch.where(axis, -factor, factor) for axis in (mirror_x, mirror_y))
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = [x * cosine, -x * sine, zero, y * sine, y * cosine, zero, zero, zero, factor]
        return torch.stack(rows, 1).view(-1, 3, 3)


PRESETS = {
    "pointcept": Augmentation(),
    "scalr": Augmentation(rotate_p=1.0, flip="one", flip_p=2 / 3, jitter_sigma=0.0),
}
"""Augmentation as in Pointcept (the paper's framework) and as in ScaLR."""
