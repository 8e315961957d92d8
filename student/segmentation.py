"""Semantic segmentation from point features: the linear probe and its loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CleverError


class LinearProbe(nn.Module):
    """One linear layer on point features.

    `batch_norm` puts a batch norm before it and starts the layer at zero, as ScaLR does; by default
    neither.
    """

    def __init__(self, in_channels: int, classes: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels) if batch_norm else nn.Identity()
        self.linear = nn.Linear(in_channels, classes)
        if batch_norm:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels) to (N, classes)."""
        return self.linear(self.norm(features))


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax loss (Berman et al. 2018): the convex surrogate of 1 - IoU, averaged over
    classes present.

    Args:
        probabilities: (P, C), rows sum to one.
        labels: (P,) int64 in 0..C-1, P at least 1.
    """
    classes = labels.unique()
    truth = (labels[:, None] == classes).to(probabilities.dtype)
    errors = (truth - probabilities[:, classes]).abs()
    errors, order = errors.sort(0, descending=True)
    truth = truth.gather(0, order)
    total = truth.sum(0)
    # Jaccard loss of the set of the i worst points, and what the i-th adds to it.
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    steps = torch.diff(jaccard, dim=0, prepend=jaccard.new_zeros(1, len(total)))
    return (errors * steps).sum(0).mean()


def segmentation_loss(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Cross-entropy plus Lovasz-softmax, 1 : 1, over points whose label is not `ignore`.

    Args:
        logits: (N, C).
        labels: (N,) int64 in 0..C-1, or `ignore`.

    Raises:
        CleverError: no point carries a label.
    """
    has_label = labels != ignore
    logits, labels = logits[has_label].float(), labels[has_label]
    if not len(labels):
        raise CleverError(
            f"no point of this batch carries a label (all are {ignore}); leave such scans out"
        )
    return F.cross_entropy(logits, labels) + lovasz_softmax(logits.softmax(1), labels)
