"""Distillation losses between point and pixel features (paper section 3.2, equation 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..choices import DistillationLoss, Weighting

_TINY = 1e-12


def unit(features: Tensor) -> Tensor:
    """Features (..., C) scaled to length one in float32; a zero vector stays zero and gets no
    gradient."""
    features = features.float()
    square = features.square().sum(-1, keepdim=True)
    # x / |x| by 1 / sqrt(x . x); for a zero vector by 1 instead, masked out, so that no gradient
    # passes through the infinite slope at zero.
    nonzero = square > _TINY**2
    return features * torch.where(nonzero, square, torch.ones_like(square)).rsqrt() * nonzero


def pair_distances(student: Tensor, teacher: Tensor, kind: DistillationLoss = "l2") -> Tensor:
    """Distance (K,) between features (K, C) scaled to length one.

    `l2` is the distance itself (equation 1, gradient zero where it is zero), `mse` its square,
    summed over channels, `cosine` one minus the cosine: half of `mse`.
    """
    point, pixel = unit(student), unit(teacher)
    if kind == "l2":
        return torch.linalg.vector_norm(point - pixel, dim=-1)
    if kind == "mse":
        return (point - pixel).square().sum(-1)
    if kind == "cosine":
        return 1 - (point * pixel).sum(-1)
    raise ValueError(f"unknown distillation loss {kind}; known: l2, mse, cosine")


def distillation_loss(
    student: Tensor, teacher: Tensor, kind: DistillationLoss = "l2", weight: Tensor | None = None
) -> Tensor:
    """Weighted sum of the distances between projected student features and teacher features, a
    scalar.

    Args:
        student, teacher: (K, C), one row for every visible (point, camera) pair; without a row the
            loss is zero.
        kind: see `pair_distances`.
        weight: (K,) float32, see `pair_weights`; None for the mean.
    """
    if not len(student):
        return 0 * student.float().sum()
    distances = pair_distances(student, teacher, kind)
    return distances.mean() if weight is None else (distances * weight).sum()


def pair_weights(
    view_pairs: Sequence[int], weighting: Weighting = "view", total: float | None = None
) -> Tensor:
    """Weights (K,) float32, on the CPU, of pairs sorted by camera view, from the number of pairs of
    every view.

    `view` averages each camera view over the points visible in it and then the views that have any
    (equation 1, "applied to each camera view"); `pair` averages all pairs at once, as ScaLR does.
    `total` is the number of such views, or of pairs, of the whole step where this batch is but a
    part of it; without it the weights sum to one.
    """
    counts = torch.tensor([count for count in view_pairs if count], dtype=torch.int64)
    pairs = sum(view_pairs)
    # Of a pair: 1 / (pairs of its view) / views, or 1 / pairs.
    if weighting == "view":
        share = 1 / counts.double()
        denominator = len(counts) if total is None else total
    elif weighting == "pair":
        share = torch.ones(len(counts), dtype=torch.float64)
        denominator = pairs if total is None else total
    else:
        raise ValueError(f"unknown weighting {weighting}; known: view, pair")
    return (share / denominator).float().repeat_interleave(counts, output_size=pairs)
