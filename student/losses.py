"""Distillation losses between point and pixel features (paper section 3.2, equation 1)."""

from typing import Literal

import torch
from torch import Tensor

from ..errors import CleverError

Kind = Literal["l2", "mse", "cosine"]
Weighting = Literal["view", "pair"]

_TINY = 1e-12


def unit(features: Tensor) -> Tensor:
    """Features (..., C) scaled to length one in float32; a zero vector stays zero and gets no gradient."""
    features = features.float()
    square = features.square().sum(-1, keepdim=True)
    known = square > _TINY**2
    return features * torch.where(known, square, torch.ones_like(square)).rsqrt() * known


def pair_distances(student: Tensor, teacher: Tensor, kind: Kind = "l2") -> Tensor:
    """Distance (K,) between features (K, C) scaled to length one.

    `l2` is the distance itself (equation 1, gradient zero where it is zero), `mse` its square, summed over channels,
    `cosine` one minus the cosine: half of `mse`.
    """
    first, second = unit(student), unit(teacher)
    if kind == "l2":
        return torch.linalg.vector_norm(first - second, dim=-1)
    if kind == "mse":
        return (first - second).square().sum(-1)
    if kind == "cosine":
        return 1 - (first * second).sum(-1)
    raise ValueError(f"unknown distillation loss {kind}; known: l2, mse, cosine")


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    camera_view: Tensor | None = None,
    kind: Kind = "l2",
    weighting: Weighting = "view",
) -> Tensor:
    """Mean distance between projected student features and teacher features, a scalar.

    Args:
        student, teacher: (K, C), one row for every visible (point, camera) pair.
        camera_view: (K,) int64, which (scene, camera) image every pair belongs to; None where they are all one view.
        kind: see `pair_distances`.
        weighting: `view` averages each camera view over the points visible in it and then the views (equation 1,
            "applied to each camera view"); `pair` averages all pairs at once, as ScaLR does.

    Raises:
        CleverError: there is not a single pair.
    """
    if not len(student):
        raise CleverError("no point of this batch is visible in any camera, so there is nothing to distil")
    if weighting not in ("view", "pair"):
        raise ValueError(f"unknown weighting {weighting}; known: view, pair")
    distances = pair_distances(student, teacher, kind)
    if weighting == "pair" or camera_view is None:
        return distances.mean()
    _, view, count = torch.unique(camera_view, return_inverse=True, return_counts=True)
    return (distances / count[view]).sum() / len(count)
