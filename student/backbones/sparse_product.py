"""The sums of a sparse convolution on a CPU, with their gradients: gather, one matrix product an
offset, add up."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernel_maps import KernelMap, Sums


def sparse_product(features: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:
    """(V', C') of features (V, C) and weight (C', *kernel, C), both of one dtype, over the `pairs`.

    Products of bfloat16 are rounded to it; sums over offsets are made in float32 and rounded once.
    For a fixed number of threads the bits are always the same.
    """
    out = _SparseProduct.apply(features, weight, pairs)
    assert isinstance(out, Tensor)
    return out


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        matrices = _by_offset(weight).transpose(1, 2)
        return _sums(pairs.groups(features, pairs.inputs), matrices, pairs, pairs.into_outputs)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        pairs: KernelMap = ctx.pairs
        features, weight = ctx.saved_tensors
        gradient = pairs.groups(gradients[0].contiguous(), pairs.outputs)
        of_features = of_weight = None
        if ctx.needs_input_grad[0]:
            of_features = _sums(gradient, _by_offset(weight), pairs, pairs.into_inputs)
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            inputs = pairs.groups(features, pairs.inputs)
            for offset, input, output in zip(pairs.offsets, inputs, gradient, strict=True):
                torch.mm(output.t(), input, out=_by_offset(of_weight)[offset])
        return of_features, of_weight, None


def _by_offset(weight: Tensor) -> Tensor:
    """(C', *kernel, C) seen as (offsets, C', C)."""
    return weight.flatten(1, -2).transpose(0, 1)


def _sums(groups: tuple[Tensor, ...], matrices: Tensor, pairs: KernelMap, sums: Sums) -> Tensor:
    """Every group of rows times the matrix of its offset, added up to voxels."""
    products = matrices.new_empty(sum(pairs.counts), matrices.shape[2])
    for offset, rows, out in zip(pairs.offsets, groups, products.split(pairs.counts), strict=True):
        torch.mm(rows, matrices[offset], out=out)
    return F.embedding_bag(sums.order, products, sums.starts, mode="sum", include_last_offset=True)
