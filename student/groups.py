"""Rows of a matrix in groups: sums and means of each group's rows, and a group's row back at its
members.

On a CPU these, and their gradients, are sums in a fixed order: the same bits for a fixed number of
threads.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, slots=True)
class Sums:
    """Which rows of a matrix add up to every voxel, or group.

    Attributes:
        order: (R,) int64, rows, grouped by voxel.
        starts: (V + 1,) int64, where each voxel's rows begin in `order`.
    """

    order: Tensor
    starts: Tensor

    @classmethod
    def of(cls, voxel: Tensor, voxels: int) -> "Sums":
        """Row r belongs to `voxel[r]` of `voxels`; each adds its rows up from the first to the
        last."""
        starts = voxel.new_zeros(voxels + 1)
        torch.cumsum(torch.bincount(voxel, minlength=voxels), 0, out=starts[1:])
        return cls(torch.argsort(voxel, stable=True), starts)

    def moved(self, place: Tensor) -> "Sums":
        """The same where row r lies at `place[r]`."""
        return Sums(place.index_select(0, self.order), self.starts)


@dataclass(frozen=True, slots=True)
class Groups:
    """Members in groups: voxels in the cells of a plane, points in the regions of an image.

    Attributes:
        group: (N,) int64, the group of every member.
        sums: the members of every group.
        count: (N, 1) int64, the number of members of each member's group.
    """

    group: Tensor
    sums: Sums
    count: Tensor

    @classmethod
    def of(cls, group: Tensor, groups: int) -> "Groups":
        """Member n belongs to `group[n]` of `groups`."""
        count = torch.bincount(group, minlength=groups)
        return cls(group, Sums.of(group, groups), count.index_select(0, group)[:, None])

    def means(self, features: Tensor) -> Tensor:
        """(groups, C) mean of the features (N, C) of each group's members; zero in an empty one."""
        return _apply(_Total, features / self.count.to(features.dtype), self)

    def spread(self, values: Tensor) -> Tensor:
        """(N, C): of (groups, C) the row of every member's group."""
        return _apply(_Spread, values, self)


def _apply(function: type[torch.autograd.Function], rows: Tensor, groups: Groups) -> Tensor:
    out = function.apply(rows, groups)
    assert isinstance(out, Tensor)
    return out


def _total(rows: Tensor, sums: Sums) -> Tensor:
    return F.embedding_bag(sums.order, rows, sums.starts, mode="sum", include_last_offset=True)


class _Total(torch.autograd.Function):
    """Sums over the members of a group; the gradient is spread."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Groups) -> Tensor:
        ctx.groups = groups
        return _total(rows.contiguous(), groups.sums)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return gradients[0].contiguous().index_select(0, ctx.groups.group), None


class _Spread(torch.autograd.Function):
    """Rows of groups at their members; the gradient is summed."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Groups) -> Tensor:
        ctx.groups = groups
        return rows.contiguous().index_select(0, groups.group)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return _total(gradients[0].contiguous(), ctx.groups.sums), None
