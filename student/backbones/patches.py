"""Patches of voxels: which of them attend to each other, at every level of PointTransformer V3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import CleverError
from ..voxelize import Voxels
from .curves import DEPTH, ORDERS, encode
from .sparse import SparseTensor, sparse_tensor


@dataclass(slots=True)
class Level:
    """Voxels of one size, and which of them attend to each other along every curve.

    A scene of n voxels is cut into ceil(n / patch) patches of consecutive voxels. The last patch
    reaches back to be whole, as in Pointcept: its voxels see the last `patch` voxels of the scene,
    of which those before them keep the result of their own patch. A scene smaller than a patch is
    one short patch, whose empty places are masked.

    Attributes:
        sparse: coordinates for convolution; its features are placeholders, its index pairs are
            computed once a batch.
        members: (orders, P, patch) int64, the voxel at every place of every patch.
        place: (orders, V) int64, the place in the flattened patches where a voxel's result stands.
        mask: (P, 1, 1, patch) bool, False at empty places; None where there are none.
        parent: (V,) int64, the voxel of twice the size that holds each; None at the coarsest level.
        by_parent: (V,) int64, voxels sorted by parent.
        children: (parents,) int64, voxels in each parent.
    """

    sparse: SparseTensor
    members: Tensor
    place: Tensor
    mask: Tensor | None
    parent: Tensor | None = None
    by_parent: Tensor | None = None
    children: Tensor | None = None


def levels(voxels: Voxels, count: int, patch: int, bits: int = DEPTH) -> list[Level]:
    """`count` levels, each of twice the voxel size of the one before; curves have `bits` bits a
    coordinate, enough for `voxels.shape`.

    The host waits for the device once, for the number of voxels of every scene at every level.

    Raises:
        CleverError: more voxels along an axis than a code can tell apart.
    """
    if max(voxels.shape) > 2**DEPTH:
        raise CleverError(
            f"the batch spans {max(voxels.shape)} voxels; serialised codes reach {2**DEPTH}; use "
            "larger voxels"
        )
    coords, shape = voxels.coords, voxels.shape
    codes = torch.stack([encode(coords, order, bits) for order in ORDERS])
    counts = _voxels_per_scene(codes[0], voxels.scenes, count).tolist()
    result: list[Level] = []
    for number in range(count):
        # Here: codes (orders, V) and coords (V, 4) of the voxels of this level, in one same order,
        # which is that of the features too. `order` (orders, V) walks them along every curve.
        order = torch.argsort(codes, dim=1)
        level = Level(
            sparse_tensor(coords.float(), coords, shape, voxels.scenes, 0),
            *patches(order, counts[number], patch),
        )
        result.append(level)
        if number == count - 1:
            break
        # A parent is its first child with the lowest bit of every coordinate, the last 3 of every
        # code, cut off.
        heads = _pool(level, codes[0], order[0], sum(counts[number + 1]))
        codes = codes.index_select(1, heads) >> 3
        coords = coords.index_select(0, heads)
        coords = torch.cat([coords[:, :1], coords[:, 1:] >> 1], 1)
        shape = (-(-shape[0] // 2), -(-shape[1] // 2), -(-shape[2] // 2))
    return result


def _voxels_per_scene(code: Tensor, scenes: int, levels: int) -> Tensor:
    """(levels, scenes) int64 from the codes (V,) of the finest level: a voxel is a code with 3 bits
    a level cut off."""
    code = code.sort().values
    # One row a level. Sorted codes stay sorted when their last bits go, so a voxel of a level
    # begins wherever its row changes; each beginning counts for the scene that its code says.
    cut = code >> 3 * torch.arange(levels, device=code.device)[:, None]
    begins = torch.ones_like(cut)
    begins[:, 1:] = cut.diff(dim=1) != 0
    return begins.new_zeros(levels, scenes).index_add_(1, code >> 3 * DEPTH, begins)


def _pool(level: Level, code: Tensor, order: Tensor, parents: int) -> Tensor:
    """Set parents from the voxels' z codes (V,) and the order (V,) of these; one child (parents,)
    of each."""
    # The parents' codes along the curve: children of one parent stand together, so that parents
    # are numbered by counting changes, and those numbers ascend along the curve.
    line = code.index_select(0, order) >> 3
    begins = torch.zeros_like(line)
    begins[1:] = line.diff() != 0
    number = begins.cumsum(0)
    # Place along the curve of each parent's first child, and the end: their differences are the
    # numbers of children.
    first = torch.searchsorted(number, torch.arange(parents + 1, device=line.device))
    level.parent = torch.empty_like(order).scatter_(0, order, number)
    level.by_parent, level.children = order, first.diff()
    return order.index_select(0, first[:-1])


def patches(order: Tensor, counts: list[int], patch: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Members, places and mask (see `Level`) of voxels in serialised `order` (orders, V), `counts`
    in each scene."""
    patch = min(patch, max(counts))
    size = torch.tensor(counts, dtype=torch.int64)
    patches = -(-size // patch)
    # For every scene: its voxels, its first voxel, its first patch, where its last patch starts.
    table = torch.stack(
        [
            size,
            size.cumsum(0) - size,
            patches.cumsum(0) - patches,
            (size - patch).clamp(min=0),
            patches,
        ]
    )
    table = table.to(order.device, non_blocking=True)

    # Members, row by row a patch: its scene's columns of the table stand beside it.
    number_of_patches = sum(-(-count // patch) for count in counts)
    size, first, before, last, _ = _repeat(table, table[4], number_of_patches)
    number = torch.arange(number_of_patches, device=order.device) - before
    # A patch holds consecutive ranks of its scene from number * patch on, the last patch from where
    # it is still whole. Ranks beyond a scene smaller than a patch are empty places; they name the
    # scene's first voxel, which the mask hides.
    rank = torch.minimum(number * patch, last)[:, None] + torch.arange(patch, device=order.device)
    filled = rank < size[:, None]
    members = order[:, first[:, None] + torch.where(filled, rank, 0)]

    # Places, one for every rank of every scene: the result is taken from the patch that the rank
    # falls into, where the rank's distance from that patch's first rank is its column.
    _, first, before, last, _ = _repeat(table, table[0], order.shape[1])
    rank = torch.arange(order.shape[1], device=order.device) - first
    number = rank // patch
    own = (before + number) * patch + rank - torch.minimum(number * patch, last)
    # From rank along the curve to number of the voxel.
    place = torch.empty_like(order).scatter_(1, order, own.expand_as(order))
    short = any(0 < count < patch for count in counts)
    return members, place, filled[:, None, None, :] if short else None


def _repeat(table: Tensor, counts: Tensor, total: int) -> Tensor:
    """Column i of the table (rows, S) `counts[i]` times, `total` in all."""
    return table.repeat_interleave(counts, dim=1, output_size=total)
