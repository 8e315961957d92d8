"""Test-time augmentation: the mean over predictions for scaled and mirrored copies of a cloud."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .points import PointBatch


@dataclass(frozen=True, slots=True)
class CloudCopy:
    """One copy of a cloud.

    Attributes:
        scale: factor of x, y and z.
        mirrored: whether x and y are negated, both.
    """

    scale: float
    mirrored: bool

    def __call__(self, points: PointBatch) -> PointBatch:
        """The copy, points in the same order."""
        sign = -1.0 if self.mirrored else 1.0
        factors = torch.tensor([sign, sign, 1.0], device=points.xyz.device) * self.scale
        return replace(points, xyz=points.xyz * factors)


SCALES = (0.9, 0.95, 1.0, 1.05, 1.1)
COPIES = tuple(CloudCopy(scale, mirrored) for mirrored in (False, True) for scale in SCALES)
"""The ten of Pointcept's outdoor configurations."""


def mean_probabilities(
    network: Callable[[PointBatch], Tensor],
    points: PointBatch,
    copies: Sequence[CloudCopy] = COPIES,
) -> Tensor:
    """Mean over `copies` of the softmax of `network`'s logits (N, K): (N, K) float32.

    A copy is voxelised anew and every point takes its voxel's prediction; Pointcept instead runs
    a copy several times, so that every point once stands for its voxel.
    """
    total = torch.zeros(())
    for copy in copies:
        probabilities = network(copy(points)).float().softmax(1)
        total = probabilities + total.to(probabilities.device)
    return total / len(copies)


def tta_words(tta: bool) -> str:
    """How a prediction was made, for the protocol line."""
    if not tta:
        return "no TTA"
    scales = ", ".join(f"{scale:g}" for scale in SCALES)
    return f"TTA (mean softmax of {len(COPIES)} passes: scale {scales}, as is and mirrored)"
