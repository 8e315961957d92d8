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
    truth = (labels == classes[:, None]).to(probabilities.dtype)
    errors = (truth - probabilities.T.index_select(0, classes)).abs()
    order = descending_order(errors.detach())
    total, hits = truth.sum(1, keepdim=True), truth.gather(1, order).cumsum(1)
    others = torch.arange(1, len(labels) + 1, device=labels.device) - hits
    # Jaccard loss of the set of the i worst points, and what the i-th adds to it.
    jaccard = 1 - (total - hits) / (total + others)
    steps = torch.diff(jaccard, dim=1, prepend=jaccard.new_zeros(len(total), 1))
    # Each is given back to its point, so that no gradient passes the sorting.
    return (errors * torch.empty_like(steps).scatter_(1, order, steps)).sum(1).mean()


def descending_order(values: Tensor) -> Tensor:
    """Positions (C, P) int64 of the `values` (C, P) of each row, the largest first and equal ones
    in the order in which they come; values are at least 0 and not -0.

    On a CPU float32 values are sorted by numpy, in half the time that torch takes: as whole numbers
    whose upper half is the value and whose lower half its position.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.argsort(dim=1, descending=True, stable=True)
    # Bits of floats that are not negative, read as whole numbers, are in the order of the floats.
    bits = values.contiguous().view(torch.int32).long()
    keys = (torch.iinfo(torch.int32).max - bits) << 32 | torch.arange(values.shape[1])
    keys.numpy().sort(axis=1)
    return keys & 0xFFFFFFFF


def segmentation_loss(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Cross-entropy plus Lovasz-softmax, 1 : 1, over points whose label is not `ignore`.

    Args:
        logits: (N, C).
        labels: (N,) int64 in 0..C-1, or `ignore`.

    Raises:
        CleverError: no point carries a label.
    """
    # index_select: the gradient of logits[mask] takes ten times as long on a CPU.
    points = (labels != ignore).nonzero().squeeze(1)
    logits, labels = logits.index_select(0, points).float(), labels.index_select(0, points)
    if not len(labels):
        raise CleverError(
            f"no point of this batch carries a label (all are {ignore}); leave such scans out"
        )
    return F.cross_entropy(logits, labels) + lovasz_softmax(logits.softmax(1), labels)
