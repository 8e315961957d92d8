"""Voxels on planes: the mean feature of every cell of a plane, and a cell's feature back at its
voxels.

On a CPU both, and their gradients, are sums in a fixed order: the same bits for a fixed number of
threads. No sparse convolution is needed.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernel_maps import Sums


@dataclass(frozen=True, slots=True)
class Plane:
    """A grid of square cells onto which voxels are projected along one axis.

    Attributes:
        axes: the two axes that stay: 0, 1, 2 for x, y, z.
        lowest: of both axes, metres.
        shape: cells along both.
    """

    axes: tuple[int, int]
    lowest: tuple[float, float]
    shape: tuple[int, int]

    def cells(self, xyz: Tensor, edge: float) -> Tensor:
        """(V,) int64 cells of (V, 3) places in metres, for cells of `edge` metres; a place beyond
        the grid belongs to the nearest cell of its border."""
        numbers = []
        for axis, lowest, count in zip(self.axes, self.lowest, self.shape, strict=True):
            # In float64, as a place near a face must not change sides.
            number = ((xyz[:, axis].double() - lowest) / edge).floor()
            numbers.append(number.clamp(0, count - 1).long())
        return numbers[0] * self.shape[1] + numbers[1]


@dataclass(frozen=True, slots=True)
class CellVoxels:
    """The voxels of every cell of a plane, for all scenes of a batch.

    Attributes:
        cell: (V,) int64, the cell of every voxel; those of scene s begin at s * cells a plane.
        sums: the voxels of every cell.
        count: (V, 1) int64, the number of voxels in each voxel's cell.
    """

    cell: Tensor
    sums: Sums
    count: Tensor

    @classmethod
    def of(cls, cell: Tensor, cells: int) -> "CellVoxels":
        """Voxel v lies in `cell[v]` of `cells`."""
        count = torch.bincount(cell, minlength=cells)
        return cls(cell, Sums.of(cell, cells), count.index_select(0, cell)[:, None])

    def means(self, features: Tensor) -> Tensor:
        """(cells, C) mean of the features (V, C) of each cell's voxels; zero in an empty cell."""
        return _apply(_Total, features / self.count.to(features.dtype), self)

    def spread(self, values: Tensor) -> Tensor:
        """(V, C): of (cells, C) the row of every voxel's cell."""
        return _apply(_Spread, values, self)


def _apply(function: type[torch.autograd.Function], rows: Tensor, cells: CellVoxels) -> Tensor:
    out = function.apply(rows, cells)
    assert isinstance(out, Tensor)
    return out


def _total(rows: Tensor, sums: Sums) -> Tensor:
    return F.embedding_bag(sums.order, rows, sums.starts, mode="sum", include_last_offset=True)


class _Total(torch.autograd.Function):
    """Sums over the voxels of a cell; the gradient is spread."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, cells: CellVoxels) -> Tensor:
        ctx.cells = cells
        return _total(rows.contiguous(), cells.sums)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return gradients[0].contiguous().index_select(0, ctx.cells.cell), None


class _Spread(torch.autograd.Function):
    """Rows of cells at their voxels; the gradient is summed."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, cells: CellVoxels) -> Tensor:
        ctx.cells = cells
        return rows.contiguous().index_select(0, cells.cell)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        return _total(gradients[0].contiguous(), ctx.cells.sums), None
