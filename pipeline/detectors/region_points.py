"""Points of regions of interest, and neighbourhoods among them."""

import torch
from torch import Tensor

from ..detection.boxes import Boxes


def pooled_points(regions: Boxes, xyz: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places (R, count) int64 of the points in every region, and which regions have any (R,) bool.

    The first `count` points in their order; fewer are repeated from the first on. A region without
    points has 0 everywhere.

    Args:
        xyz: (N, 3) of the frame, N > 0.
    """
    inside = regions.contain(xyz)
    numbers = inside.sum(1)
    # Points inside come first, in their order: by the rank that each has there.
    rank = torch.where(inside, inside.cumsum(1) - 1, count).clamp_max(count)
    table = xyz.new_zeros(len(regions), count + 1, dtype=torch.int64)
    table.scatter_(1, rank, torch.arange(len(xyz), device=xyz.device).expand_as(rank))
    turns = torch.arange(count, device=xyz.device)[None, :] % numbers.clamp(1, count)[:, None]
    filled = numbers > 0
    return torch.where(filled[:, None], table.gather(1, turns), 0), filled


def farthest_points(xyz: Tensor, count: int) -> Tensor:
    """Places (R, count) int64 of points of sets (R, N, 3): the first, then always the one that is
    farthest from all chosen before (of equal ones the first)."""
    sets, number, _ = xyz.shape
    places = xyz.new_zeros(sets, count, dtype=torch.int64)
    gaps = xyz.new_full((sets, number), torch.inf)
    newest = places[:, 0]
    for step in range(1, count):
        centre = xyz.gather(1, newest[:, None, None].expand(-1, 1, 3))
        gaps = torch.minimum(gaps, (xyz - centre).square().sum(2))
        newest = gaps.argmax(1)
        places[:, step] = newest
    return places


def ball_neighbours(xyz: Tensor, centres: Tensor, radius: float, count: int) -> Tensor:
    """Places (R, S, count) int64 of points of sets (R, N, 3) nearer than `radius` to the centres
    (R, S, 3): the first ones in their order, fewer filled up with the first; 0 where there is
    none."""
    number = xyz.shape[1]
    near = (centres[:, :, None, :] - xyz[:, None, :, :]).square().sum(3) < radius**2
    order = torch.where(near, torch.arange(number, device=xyz.device), number)
    places = order.topk(min(count, number), 2, largest=False).values.sort(2).values
    first = places[..., :1]
    filled = torch.where(places == number, first, places)
    return torch.where(filled == number, 0, filled)


def gathered(values: Tensor, places: Tensor) -> Tensor:
    """(R, ..., C): rows of sets (R, N, C) at places (R, ...)."""
    flat = places.flatten(1)
    rows = values.gather(1, flat[:, :, None].expand(-1, -1, values.shape[2]))
    return rows.view(*places.shape, values.shape[2])
