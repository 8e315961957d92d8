"""Kernel maps against a Python dictionary of voxels: no pair missing, none false."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clever.errors import CleverError
from clever.student.backbones.kernel_maps import KernelMap, _size, halving_map, submanifold_map
from clever.student.points import PointBatch
from clever.student.voxelize import voxelize

Pair = tuple[int, int, int]


def random_voxels(count: int, shape: tuple[int, int, int], scenes: int, seed: int = 0) -> Tensor:
    """Unique voxels in no order, some at the ends of every axis."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, n, (count,), generator=generator) for n in (scenes, *shape)]
    corners = torch.cartesian_prod(*(torch.tensor([0, n - 1]) for n in (scenes, *shape)))
    unique = torch.cat([torch.stack(columns, 1), corners]).unique(dim=0)
    return unique[torch.randperm(len(unique), generator=generator)].int()


def pairs_of(pairs: KernelMap, voxels: int) -> list[Pair]:
    """(offset, input, output) of every pair, in the order of the products."""
    beyond = pairs.counts[0] - voxels if pairs.padding is not None else 0
    itself = (F.pad(torch.arange(voxels), (0, beyond)),) if pairs.centred else ()
    inputs, outputs = (itself + side.split(pairs.listed) for side in (pairs.inputs, pairs.outputs))
    assert pairs.counts == tuple(map(len, inputs))
    assert 0 not in pairs.counts
    assert len(set(pairs.offsets)) == len(pairs.offsets)
    return [
        (offset, input, output)
        for offset, group, other in zip(pairs.offsets, inputs, outputs, strict=True)
        for input, output in zip(group.tolist(), other.tolist(), strict=True)
    ]


def neighbours(indices: Tensor, kernel: int) -> set[Pair]:
    place = {voxel: row for row, voxel in enumerate(map(tuple, indices.tolist()))}
    offsets = range(-(kernel // 2), kernel // 2 + 1)
    return {
        (number, place[near], row)
        for (scene, *centre), row in place.items()
        for number, offset in enumerate(product(offsets, repeat=3))
        if (near := (scene, *(c + d for c, d in zip(centre, offset, strict=True)))) in place
    }


def check_sums(pairs: KernelMap, rows_of_pairs: list[Pair], inputs: int, outputs: int) -> None:
    """Every product adds to its own output and to its own input, in their order."""
    for sums, side, voxels in ((pairs.into_inputs, 1, inputs), (pairs.into_outputs, 2, outputs)):
        starts = sums.starts.tolist()
        assert (starts[0], starts[-1], len(starts)) == (0, len(rows_of_pairs), voxels + 1)
        assert sorted(sums.order.tolist()) == list(range(len(rows_of_pairs)))
        for voxel in range(voxels):
            rows = sums.order[starts[voxel] : starts[voxel + 1]].tolist()
            assert {rows_of_pairs[row][side] for row in rows} <= {voxel}


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("shape", [(6, 7, 5), (1, 9, 2), (40, 3, 30)])
def test_submanifold_pairs_are_all_neighbours_and_no_others(
    kernel: int, shape: tuple[int, int, int]
):
    indices = random_voxels(200, shape, 3)
    pairs = submanifold_map(indices, list(shape), 3, kernel)
    result = pairs_of(pairs, len(indices))
    assert len(result) == len(set(result))
    assert set(result) == neighbours(indices, kernel)
    check_sums(pairs, result, len(indices), len(indices))
    assert pairs.indices is indices
    assert pairs.spatial_shape == list(shape)


@pytest.mark.parametrize("kernel", [2, 3])
def test_halving_pairs_every_voxel_with_its_parent(kernel: int):
    shape = (6, 7, 5)
    indices = random_voxels(100, shape, 3)
    pairs = halving_map(indices, list(shape), 3, kernel)
    assert pairs.spatial_shape == [-(-extent // kernel) for extent in shape]
    parents = torch.cat([indices[:, :1], indices[:, 1:] // kernel], 1)
    assert torch.equal(pairs.indices, parents.unique(dim=0))
    assert pairs.indices.dtype == torch.int32
    result = pairs_of(pairs, len(indices))
    for offset, input, output in result:
        assert torch.equal(pairs.indices[output], parents[input])
        x, y, z = (indices[input, 1:] % kernel).tolist()
        assert offset == (x * kernel + y) * kernel + z
    assert sorted(input for _, input, _ in result) == list(range(len(indices)))
    check_sums(pairs, result, len(indices), len(pairs.indices))
    back = pairs.transposed(indices, list(shape))
    assert sorted(pairs_of(back, len(indices))) == sorted((k, o, i) for k, i, o in result)
    check_sums(back, pairs_of(back, len(indices)), len(pairs.indices), len(indices))


@pytest.mark.parametrize("count", [3, 200])
@pytest.mark.parametrize("halving", [False, True])
def test_padding_adds_places_and_no_pairs(count: int, halving: bool):
    shape = (6, 7, 5)
    indices = random_voxels(count, shape, 3)
    if halving:
        pairs = halving_map(indices, list(shape), 3, 2)
    else:
        pairs = submanifold_map(indices, list(shape), 3, 3)
    padded = pairs.padded()
    assert pairs.padded() is padded
    assert padded.padding is not None
    assert all(size % 32 == 0 and size >= 32 for size in padded.counts)
    assert padded.counts == tuple(map(_size, pairs.counts))
    result = pairs_of(padded, len(indices))
    centre = len(result) - len(padded.inputs)
    holes = {centre + place for place in padded.padding.tolist()}
    holes |= set(range(len(indices), centre))
    assert {result[hole][1:] for hole in holes} <= {(0, 0)}
    assert [pair for row, pair in enumerate(result) if row not in holes] == pairs_of(
        pairs, len(indices)
    )
    # No sum takes a hole, and each is that of the same pairs as before, in the same order.
    for before, after in (
        (pairs.into_inputs, padded.into_inputs),
        (pairs.into_outputs, padded.into_outputs),
    ):
        assert torch.equal(before.starts, after.starts)
        assert holes.isdisjoint(after.order.tolist())
        assert [pairs_of(pairs, len(indices))[row] for row in before.order.tolist()] == [
            result[row] for row in after.order.tolist()
        ]


def test_padded_sizes_are_few():
    sizes = {_size(count) for count in range(1, 100_000)}
    assert len(sizes) < 48
    assert all(count <= _size(count) < max(count + 32, count * 1.25) for count in range(1, 9000))
    assert [_size(count) for count in (1, 32, 33, 129, 255, 256, 1024, 1025)] == [
        32, 32, 64, 160, 256, 256, 1024, 1280,
    ]  # fmt: skip


def false_neighbours(points: PointBatch, size: float) -> tuple[int, int]:
    """Pairs found, and how many of them are wrong or missing."""
    voxels = voxelize(points, size)
    pairs = submanifold_map(voxels.coords, list(voxels.shape), voxels.scenes, 3)
    result = set(pairs_of(pairs, len(voxels.coords)))
    return len(result), len(result ^ neighbours(voxels.coords, 3))


@pytest.mark.slow
def test_eight_scenes_of_a_real_frame_have_no_false_neighbours(keyframe: PointBatch):
    """At 0.05 m an index of 32 bits had 300 of 471,341."""
    cloud = torch.cat([keyframe.xyz, keyframe.intensity[:, None]], 1)
    scenes = []
    for number in range(8):
        turn = torch.tensor(number * 0.7)
        scene = cloud[number::2].clone() * (1 + 0.02 * number)
        scene[:, 0] = turn.cos() * cloud[number::2, 0] - turn.sin() * cloud[number::2, 1]
        scenes.append(scene)
    count, wrong = false_neighbours(PointBatch.from_clouds(scenes), 0.05)
    assert count > 150_000
    assert wrong == 0


@pytest.mark.slow
def test_a_real_frame_at_two_centimetres_has_no_false_neighbours(keyframe: PointBatch):
    count, wrong = false_neighbours(keyframe, 0.02)
    assert count > 25_000
    assert wrong == 0


def test_the_largest_grid_and_one_beyond_64_bits():
    extent = 2**16
    indices = random_voxels(50, (extent, extent, extent), 1000)
    near = indices.clone()
    near[:, 3] = (near[:, 3] + 1).clamp(max=extent - 1)
    indices = torch.cat([indices, near]).unique(dim=0)
    pairs = submanifold_map(indices, [extent] * 3, 1000, 3)
    assert set(pairs_of(pairs, len(indices))) == neighbours(indices, 3)
    with pytest.raises(CleverError, match=r"40000 scenes .* are more than 64 bits can number"):
        submanifold_map(indices, [extent] * 3, 40_000, 3)
    with pytest.raises(CleverError, match="use fewer scenes a batch or larger voxels"):
        halving_map(indices, [2 * extent] * 3, 40_000, 2)
