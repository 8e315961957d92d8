"""Kernel maps on a CPU: which voxel meets which under which offset of a kernel.

A voxel is found by a 64-bit key, so that no grid that `voxelize` allows has false neighbours.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import CleverError
from ..groups import Sums


@dataclass(slots=True)
class KernelMap:
    """Pairs of an input and an output voxel, grouped by the offset of the kernel between them.

    A product is a row for every pair, in the order of the pairs. Under the centre offset of a
    submanifold convolution every voxel meets itself: that group comes first and is not listed.

    Attributes:
        inputs, outputs: (P,) int64, the voxels of the listed pairs; within a group no voxel occurs
            twice on either side.
        offsets: the kernel's offset of every group, counted along x, y, z, the last one fastest;
            one without pairs has no group.
        counts: pairs of every group.
        centred: whether the first group is every voxel with itself.
        into_outputs, into_inputs: which products add up to every output, or input, voxel.
        indices: (V, 4) int32, the output voxels: scene, x, y, z.
        spatial_shape: of their grid.
        padding: (Q,) int64, places among the listed pairs that hold none; see `padded`.
    """

    inputs: Tensor
    outputs: Tensor
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    centred: bool
    into_outputs: Sums
    into_inputs: Sums
    indices: Tensor
    spatial_shape: list[int]
    padding: Tensor | None = None
    _padded: "KernelMap | None" = None

    @property
    def listed(self) -> tuple[int, ...]:
        """Pairs of every listed group."""
        return self.counts[1:] if self.centred else self.counts

    def transposed(self, indices: Tensor, spatial_shape: list[int]) -> "KernelMap":
        """The map back onto the input voxels `indices`."""
        return replace(
            self,
            inputs=self.outputs,
            outputs=self.inputs,
            into_outputs=self.into_inputs,
            into_inputs=self.into_outputs,
            indices=indices,
            spatial_shape=spatial_shape,
        )

    def padded(self) -> "KernelMap":
        """The same pairs with every group filled up to one of few sizes, found once.

        What multiplies matrices of bfloat16 compiles a program for every size that it has not met
        lately, which takes longer than the product. `counts` are then those sizes; the places in
        between hold voxel 0, and no sum takes their products.
        """
        if self._padded is None:
            listed = torch.tensor(self.listed, dtype=torch.int64)
            sizes = torch.tensor([_size(count) for count in self.listed], dtype=torch.int64)
            shift = (sizes - listed).cumsum(0) - (sizes - listed)
            place = torch.arange(len(self.inputs)) + shift.repeat_interleave(listed)
            empty = torch.ones(int(sizes.sum()), dtype=torch.bool).index_fill_(0, place, False)
            centre = self.counts[: int(self.centred)]
            first = tuple(map(_size, centre))
            product = torch.cat([torch.arange(sum(centre)), sum(first) + place])
            self._padded = replace(
                self,
                inputs=self.inputs.new_zeros(len(empty)).index_copy_(0, place, self.inputs),
                outputs=self.outputs.new_zeros(len(empty)).index_copy_(0, place, self.outputs),
                counts=(*first, *sizes.tolist()),
                into_outputs=self.into_outputs.moved(product),
                into_inputs=self.into_inputs.moved(product),
                padding=empty.nonzero().squeeze(1),
            )
        return self._padded


def _size(count: int) -> int:
    """The next of four sizes an octave, none below 32."""
    step = max(32, 1 << max(0, count.bit_length() - 3))
    return -(-count // step) * step


def submanifold_map(
    indices: Tensor, spatial_shape: list[int], scenes: int, kernel: int
) -> KernelMap:
    """The map of an odd `kernel` onto the voxels (V, 4) themselves, unique and in any order.

    Raises:
        CleverError: the keys of the batch do not fit into 64 bits.
    """
    radius, voxels = kernel // 2, len(indices)
    # Beyond the end of an axis lie `radius` empty cells: no neighbour's key is that of another row.
    extents = [extent + radius for extent in spatial_shape]
    keys, order = _keys(indices, extents, scenes).sort()
    first_half = _neighbours(keys, extents, radius)
    # Offset -d, as far behind the centre as d is before it, pairs the same voxels the other way
    # round.
    last = kernel**3 - 1
    second_half = {last - offset: pair[::-1] for offset, pair in reversed(first_half.items())}
    pairs = list((first_half | second_half).values())
    inputs, outputs = (
        order.index_select(0, torch.cat([order[:0], *(pair[side] for pair in pairs)]))
        for side in (0, 1)
    )
    counts = [voxels, *(len(input) for input, _ in pairs)]
    into_outputs = Sums.of(torch.cat([torch.arange(voxels), outputs]), voxels)
    # What the product at place p of offset d is to an input, that at p of -d is to the output.
    groups = torch.arange(sum(counts)).split(counts)
    mirrored = torch.cat([groups[0], *reversed(groups[1:])])
    return KernelMap(
        inputs,
        outputs,
        (last // 2, *first_half, *second_half),
        tuple(counts),
        True,
        into_outputs,
        into_outputs.moved(mirrored),
        indices,
        spatial_shape,
    )


def _neighbours(keys: Tensor, extents: list[int], radius: int) -> dict[int, tuple[Tensor, Tensor]]:
    """(input, output) places in the sorted `keys` (V,) by offset, for those before the centre that
    have any."""
    beyond = torch.cat([keys, keys.new_full((1,), torch.iinfo(keys.dtype).max)])
    steps = range(-radius, radius + 1)
    pairs = {}
    for number, (x, y) in enumerate((x, y) for x in steps for y in steps if (x, y) <= (0, 0)):
        sought = keys + ((x * extents[1] + y) * extents[2] - radius)
        place = torch.searchsorted(keys, sought)
        for z in range(2 * radius + 1 if (x, y) < (0, 0) else radius):
            # `place` is that of the first key not below the sought one.
            hit = beyond.index_select(0, place) == sought
            output = hit.nonzero().squeeze(1)
            if len(output):
                offset = number * (2 * radius + 1) + z
                pairs[offset] = place.index_select(0, output), output
            place, sought = place + hit, sought + 1
    return pairs


def halving_map(indices: Tensor, spatial_shape: list[int], scenes: int, kernel: int) -> KernelMap:
    """The map of a convolution with kernel = stride = `kernel` from the voxels (V, 4) onto the
    coarser voxels that hold one, sorted by scene, x, y, z.

    Raises:
        CleverError: the keys of the batch do not fit into 64 bits.
    """
    coarse = [-(-extent // kernel) for extent in spatial_shape]
    cells = torch.cat([indices[:, :1], indices[:, 1:] // kernel], 1)
    unique, parent = torch.unique(_keys(cells, coarse, scenes), return_inverse=True)
    parents = cells.new_empty(len(unique), 4).index_copy_(0, parent, cells)
    x, y, z = (indices[:, 1:] % kernel).long().unbind(1)
    offset = (x * kernel + y) * kernel + z
    inputs = torch.argsort(offset, stable=True)
    outputs = parent.index_select(0, inputs)
    pairs = torch.bincount(offset, minlength=kernel**3).tolist()
    counts = [count for count in pairs if count]
    return KernelMap(
        inputs,
        outputs,
        tuple(number for number, count in enumerate(pairs) if count),
        tuple(counts),
        False,
        Sums.of(outputs, len(unique)),
        Sums.of(inputs, len(indices)),
        parents,
        coarse,
    )


def _keys(indices: Tensor, extents: list[int], scenes: int) -> Tensor:
    """(V,) int64 that order voxels (V, 4) by scene, x, y, z, in a grid of `extents`."""
    x, y, z = extents
    if scenes * x * y * z >= 2**63:
        raise CleverError(
            f"{scenes} scenes of {x} x {y} x {z} voxels are more than 64 bits can number; use "
            "fewer scenes a batch or larger voxels"
        )
    keys = indices[:, 0].long()
    for axis, extent in enumerate(extents, 1):
        keys = keys * extent + indices[:, axis]
    return keys
