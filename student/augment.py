"""Augmentation of point clouds, batched on their own device (paper Table A1)."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .points import PointBatch


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random rotation, scale, flip and jitter, drawn anew for every scene; the defaults are Pointcept's.

    Attributes:
        rotate_p: probability of a rotation about z by an angle uniform in (-pi, pi).
        scale: range of the uniform factor.
        flip_p: probability of a mirrored x, and independently of a mirrored y.
        jitter_sigma, jitter_clip: metres; noise added to every coordinate is normal, clipped.
    """

    rotate_p: float = 0.5
    scale: tuple[float, float] = (0.9, 1.1)
    flip_p: float = 0.5
    jitter_sigma: float = 0.005
    jitter_clip: float = 0.02

    def __call__(self, points: PointBatch, generator: torch.Generator) -> tuple[PointBatch, Tensor]:
        """The augmented batch, points in the same order, and the matrix (S, 3, 3) float32 applied to every scene.

        Jitter comes after the matrix. What hangs on the points (occupancy queries) follows by the same matrices.
        """
        matrices = self._matrices(points.size, generator).to(points.xyz)
        xyz = (matrices[points.scene] * points.xyz[:, None, :]).sum(-1)
        noise = torch.randn(len(points), 3, generator=generator, device=generator.device).to(xyz)
        xyz = xyz + (self.jitter_sigma * noise).clamp(-self.jitter_clip, self.jitter_clip)
        return replace(points, xyz=xyz), matrices

    def _matrices(self, scenes: int, generator: torch.Generator) -> Tensor:
        draw = torch.rand(5, scenes, generator=generator, device=generator.device, dtype=torch.float64)
        angle = torch.where(draw[0] < self.rotate_p, math.pi * (2 * draw[1] - 1), 0.0)
        low, high = self.scale
        factor = low + (high - low) * draw[2]
        mirror_x, mirror_y = torch.where(draw[3:] < self.flip_p, -1.0, 1.0)
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = [
            torch.stack([mirror_x * cosine, -mirror_x * sine, zero], 1),
            torch.stack([mirror_y * sine, mirror_y * cosine, zero], 1),
            torch.stack([zero, zero, torch.ones_like(zero)], 1),
        ]
        return factor[:, None, None] * torch.stack(rows, 1)
