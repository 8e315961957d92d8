"""The sums of a sparse convolution on a CPU, with their gradients: gather, one matrix product an
offset, add up."""

import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..groups import Sums
from .kernel_maps import KernelMap

# What multiplies matrices of bfloat16 (oneDNN) keeps the programs of so many shapes, by itself of
# 1024: fewer than the layers of a network times the sizes of `KernelMap.padded`. It reads this
# once, at its first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "2048")

WIDE = 96
"""Channels from which a group's rows of float32 are gathered and added up by themselves, while they
are in the processor's cache; narrower ones are gathered and added up all together (measured)."""


def sparse_product(features: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:
    """(V', C') of features (V, C) and weight (C', *kernel, C), both of one dtype, over the `pairs`.

    Products of bfloat16 are rounded to it; sums over offsets are made in float32 and rounded once.
    For a fixed number of threads the bits are always the same.
    """
    if features.dtype == torch.bfloat16:
        pairs = pairs.padded()
    out = _SparseProduct.apply(features, weight, pairs)
    assert isinstance(out, Tensor)
    return out


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        total = _total(features, weight.shape[0], pairs, pairs.outputs, pairs.into_outputs)
        matrices = _by_offset(weight)
        groups = _gathered(features, pairs, pairs.inputs)
        for number, (offset, rows) in enumerate(zip(pairs.offsets, groups, strict=True)):
            total.add(number, rows, matrices[offset].t())
        return total.value()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        pairs: KernelMap = ctx.pairs
        features, weight = ctx.saved_tensors
        gradient, total, of_weight = gradients[0].contiguous(), None, None
        needs_features, needs_weight, _ = ctx.needs_input_grad
        if needs_features:
            total = _total(gradient, weight.shape[-1], pairs, pairs.inputs, pairs.into_inputs)
        if needs_weight:
            complete = len(pairs.offsets) == len(_by_offset(weight))
            of_weight = (torch.empty_like if complete else torch.zeros_like)(weight)
        matrices = _by_offset(weight)
        of_matrices = _by_offset(weight if of_weight is None else of_weight)
        inputs = _gathered(features, pairs, pairs.inputs)
        outputs = _gathered(gradient, pairs, pairs.outputs)
        for number, (offset, rows) in enumerate(zip(pairs.offsets, outputs, strict=True)):
            if total is not None:
                total.add(number, rows, matrices[offset])
            if of_weight is not None:
                torch.mm(rows.t(), next(inputs), out=of_matrices[offset])
        return None if total is None else total.value(), of_weight, None


def _by_offset(weight: Tensor) -> tuple[Tensor, ...]:
    """The matrices (C', C) in a weight (C', *kernel, C)."""
    return weight.flatten(1, -2).unbind(1)


def _gathered(rows: Tensor, pairs: KernelMap, voxels: Tensor) -> Iterator[Tensor]:
    """Of (V, C) the rows of every group, where `voxels` are those of the listed ones; each is valid
    until the next one comes."""
    if pairs.centred:
        yield F.pad(rows, (0, 0, 0, pairs.counts[0] - len(rows)))
    if not _is_wide(rows):
        gathered = rows.index_select(0, voxels)
        if pairs.padding is not None:
            gathered.index_fill_(0, pairs.padding, 0)
        yield from gathered.split(pairs.listed)
        return
    buffer = rows.new_empty(max(pairs.listed, default=0), rows.shape[1])
    for group in voxels.split(pairs.listed):
        yield torch.index_select(rows, 0, group, out=buffer[: len(group)])


def _is_wide(rows: Tensor) -> bool:
    return rows.shape[1] >= WIDE and rows.dtype != torch.bfloat16


def _total(
    rows: Tensor, width: int, pairs: KernelMap, voxels: Tensor, sums: Sums
) -> "_ByVoxel | _ByGroup":
    products = rows.new_empty(0, width)
    return (_ByGroup if _is_wide(products) else _ByVoxel)(products, pairs, voxels, sums)


class _ByVoxel:
    """Writes all products down and adds up those of every voxel, in float32 at least."""

    def __init__(self, empty: Tensor, pairs: KernelMap, voxels: Tensor, sums: Sums) -> None:
        self._sums = sums
        self._products = empty.new_empty(sum(pairs.counts), empty.shape[1])
        self._groups = self._products.split(pairs.counts)

    def add(self, group: int, rows: Tensor, matrix: Tensor) -> None:
        torch.mm(rows, matrix, out=self._groups[group])

    def value(self) -> Tensor:
        order, starts = self._sums.order, self._sums.starts
        return F.embedding_bag(order, self._products, starts, mode="sum", include_last_offset=True)


class _ByGroup:
    """Adds the products of every group to their voxels, which differ within a group."""

    def __init__(self, empty: Tensor, pairs: KernelMap, voxels: Tensor, sums: Sums) -> None:
        self._voxels, self._centred = voxels.split(pairs.listed), pairs.centred
        shape = len(sums.starts) - 1, empty.shape[1]
        self._value = empty.new_empty(shape) if pairs.centred else empty.new_zeros(shape)
        self._product = empty.new_empty(max(pairs.listed, default=0), empty.shape[1])

    def add(self, group: int, rows: Tensor, matrix: Tensor) -> None:
        if group == 0 and self._centred:
            torch.mm(rows, matrix, out=self._value)
            return
        product = torch.mm(rows, matrix, out=self._product[: len(rows)])
        self._value.index_add_(0, self._voxels[group - self._centred], product)

    def value(self) -> Tensor:
        return self._value
