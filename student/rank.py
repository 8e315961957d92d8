"""How many directions features use, without labels: RankMe (Garrido et al. 2023; paper section 3.3)
and matrix rank."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CleverError

EPSILON = 1e-7
"""Added to every share s / sum(s) as in the original: after the division and without renormalising,
so that the shares add up to 1 + min(N, D) * 1e-7 and a zero singular value costs no logarithm of
zero."""


@dataclass(frozen=True, slots=True)
class FeatureRank:
    """What the singular values of a feature matrix say.

    Attributes:
        rankme: RankMe, from 1 for one direction to min(N, D) for equal ones; 0 where all features
            are zero.
        matrix_rank: singular values above `tolerance` times the largest.
        tolerance: relative.
    """

    rankme: float
    matrix_rank: int
    tolerance: float


def feature_rank(
    features: Tensor, centred: bool = False, tolerance: float | None = None
) -> FeatureRank:
    """RankMe and numerical rank of a matrix of features, by its singular values in float64 on the
    CPU.

    Args:
        features: (N, D), any float type.
        centred: subtract the mean feature first; the original does not.
        tolerance: relative to the largest singular value; default: max(N, D) times the rounding of
            float32 (2^-23), in which features are computed, or that of float64 where `features`
            are: the rule of numpy and MATLAB.

    Raises:
        CleverError: features that are not finite, or none.
    """
    if not features.numel() or not features.isfinite().all():
        raise CleverError(
            f"features of shape {tuple(features.shape)} are empty or not finite; they have no rank"
        )
    if tolerance is None:
        precise = torch.float64 if features.dtype == torch.float64 else torch.float32
        tolerance = max(features.shape) * torch.finfo(precise).eps
    matrix = features.detach().cpu().double()
    if centred:
        # The first row off makes constant columns exactly zero, which the mean alone does not.
        matrix = matrix - matrix[:1]
        matrix = matrix - matrix.mean(0)
    # Singular values come largest first.
    values = torch.linalg.svdvals(matrix)
    rank = int((values > tolerance * values[0]).sum())
    return FeatureRank(rankme(values), rank, tolerance)


def rankme(singular_values: Tensor) -> float:
    """exp(-sum p log p) of p = s / sum(s) + `EPSILON`; `singular_values` s (K,) float64, zeros
    among them included."""
    total = singular_values.sum()
    if total == 0:
        return 0.0
    shares = singular_values / total + EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))
