"""Features of one place in two sweeps agree (appendix A8 of the paper, in our reading)."""

import torch
from torch import Tensor

from .pairs import unit


def temporal_loss(features: Tensor, others: Tensor) -> Tensor:
    """One minus the mean cosine of matched features (R, C), a scalar; gradients flow into both;
    zero where nothing matches."""
    if not len(features):
        return features.float().sum() + others.float().sum()  # zero, with a gradient
    return 1 - torch.linalg.vecdot(unit(features), unit(others)).mean()
