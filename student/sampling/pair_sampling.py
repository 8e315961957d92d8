"""Which point-pixel pairs of a batch a loss looks at, without replacement, each drawn for its point
by its own stream: what a scene draws does not depend on how the batch is made up."""

import torch
from torch import Tensor

from ..groups import Groups


def uniform_pairs(draw: Tensor, count: int) -> Tensor:
    """(at most count,) int64: pairs drawn uniformly over the whole batch (PPKT), ascending.

    Args:
        draw: (K,) uniform numbers in [0, 1), one a pair; ties have no weight.
        count: pairs to draw; all where there are fewer.
    """
    return weighted_pairs(draw, torch.ones_like(draw), count)


def weighted_pairs(draw: Tensor, weight: Tensor, count: int) -> Tensor:
    """Pairs drawn one after the other without replacement, each with a chance in proportion to
    `weight` (K,) > 0 among those that are left (Efraimidis and Spirakis 2006), ascending."""
    if count >= len(draw):
        return torch.arange(len(draw), device=draw.device)
    # -log(1 - u) / w is exponential of rate w: the order of such times is that of the draws.
    times = -torch.log1p(-draw.double()) / weight.double()
    return times.topk(count, largest=False).indices.sort().values


def density_and_class_weights(radius: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K,) float64 ``1 / (f(r) n_c)`` of OLIVINE: rare radii and rare classes are drawn more often.

    f is a Gaussian kernel density of the distances, of bandwidth 1.06 s K^(-1/5) for the sample
    deviation s, evaluated at the distances that occur.

    Args:
        radius: (K,) distance of a pair's point from the sensor in the plane, counted in whole
            cells of 0.1 m, so that few values occur.
        labels: (K,) int64, the pair's class.
        classes: their number.
    """
    if not len(radius):
        return radius.double()
    values, place, occurrence = radius.double().unique(return_inverse=True, return_counts=True)
    deviation = radius.double().std() if len(radius) > 1 else values.new_zeros(())
    # All at one distance: no bandwidth, and one density.
    width = (1.06 * deviation * len(radius) ** -0.2).clamp_min(1e-9)
    kernel = torch.exp(-0.5 * ((values[:, None] - values[None]) / width).square())
    density = (kernel * occurrence).sum(1) / (len(radius) * width * (2 * torch.pi) ** 0.5)
    class_count = Groups.of(labels, classes).count.squeeze(1)
    return 1 / (density.index_select(0, place) * class_count)
