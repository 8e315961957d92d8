"""Voxels against brute force."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.student.clouds.mix3d import mix3d
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.voxelize import MAX_EXTENT, voxelize

Make = Callable[..., PointBatch]


def brute_force(points: PointBatch, size: float) -> dict[tuple[int, ...], list[int]]:
    """Voxel -> its points, by a loop."""
    points_by_cell: dict[tuple[int, ...], list[int]] = {}
    xyz = points.xyz.numpy().astype(np.float64)
    for scene in range(points.size):
        members = np.flatnonzero(points.scene.numpy() == scene)
        cells = np.floor(xyz[members] / size).astype(int)
        for point, cell in zip(members, cells - cells.min(0, initial=10**9), strict=True):
            points_by_cell.setdefault((scene, *cell), []).append(int(point))
    return points_by_cell


@pytest.mark.parametrize("counts", [(500,), (300, 0, 1, 400), (0, 0, 50), (40, 0)])
def test_voxels_equal_brute_force(make_batch: Make, counts: tuple[int, ...]):
    points = make_batch(*counts, extent=2.0)
    voxels = voxelize(points, 0.3)
    expected = brute_force(points, 0.3)
    coords = [tuple(row) for row in voxels.coords.tolist()]
    assert coords == sorted(expected)
    assert voxels.coords.dtype == torch.int32
    assert voxels.scenes == len(counts)
    assert [coords[v] for v in voxels.inverse.tolist()] == [
        next(k for k, members in expected.items() if point in members)
        for point in range(len(points))
    ]
    assert voxels.representative.tolist() == [expected[c][0] for c in coords]
    assert voxels.shape == tuple((voxels.coords[:, 1:].amax(0) + 1).tolist())


def test_random_representatives_are_uniform(make_batch: Make):
    points = make_batch(60, extent=0.5)
    members = list(brute_force(points, 0.5).values())
    counts = np.zeros(len(points))
    rounds = 2000
    for seed in range(rounds):
        voxels = voxelize(points, 0.5, Draws(points, [seed]))
        assert torch.equal(voxels.inverse[voxels.representative], torch.arange(len(voxels.coords)))
        counts[voxels.representative.numpy()] += 1
    for group in members:
        share = 1 / len(group)
        assert (
            np.abs(counts[group] / rounds - share).max()
            < 5 * np.sqrt(share * (1 - share) / rounds) + 1e-12
        )


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_point_drawn_first_stands_for_its_voxel(make_batch: Make, p: float):
    points = make_batch(200, 0, 300, 50, extent=2.0)
    draws = Draws(points, [1, 2, 3, 4])
    mixed = mix3d(points, draws, p)
    voxels = voxelize(mixed, 0.5, draws)
    place = torch.empty(len(points), dtype=torch.int64)
    place[draws.order("voxel")] = torch.arange(len(points))
    expected = [
        min(group, key=place.tolist().__getitem__)
        for _, group in sorted(brute_force(mixed, 0.5).items())
    ]
    assert voxels.representative.tolist() == expected


def test_representatives_of_a_scene_do_not_depend_on_the_batch(make_batch: Make):
    both = make_batch(200, 300, extent=1.0)
    alone = PointBatch(both.xyz[200:], both.intensity[200:], both.scene[200:] - 1, (300,))
    together, single = (
        voxelize(both, 0.25, Draws(both, [1, 2])),
        voxelize(alone, 0.25, Draws(alone, [2])),
    )
    second = together.coords[:, 0] == 1
    assert torch.equal(together.representative[second] - 200, single.representative)
    assert not torch.equal(
        single.representative, voxelize(alone, 0.25, Draws(alone, [3])).representative
    )
    assert not torch.equal(single.representative, voxelize(alone, 0.25).representative)


def test_a_scene_depends_neither_on_the_batch_nor_on_a_shift_by_whole_voxels(make_batch: Make):
    both, alone = make_batch(200, 300, seed=3), make_batch(200, seed=3)
    shifted = replace(alone, xyz=(alone.xyz * 1024).round() / 1024)
    moved = replace(shifted, xyz=shifted.xyz + torch.tensor([12.5, -7.25, 1.0]))
    first = voxelize(both, 0.25)
    assert torch.equal(first.coords[first.coords[:, 0] == 0], voxelize(alone, 0.25).coords)
    assert torch.equal(voxelize(shifted, 0.25).coords, voxelize(moved, 0.25).coords)


def test_points_near_a_face_fall_where_float64_says():
    steps = torch.arange(-400, 400)
    x = (steps.double() * 0.05).float()  # on, or a hair beside, the faces of 0.05-m voxels
    points = PointBatch.from_clouds(
        [torch.stack([x, torch.zeros(800), torch.zeros(800), torch.zeros(800)], 1)]
    )
    voxels = voxelize(points, 0.05)
    exact = np.floor(x.numpy().astype(np.float64) / 0.05)
    in_float32 = np.floor(x.numpy() / np.float32(0.05))
    assert (exact != in_float32).any()
    assert voxels.coords[voxels.inverse, 1].tolist() == (exact - exact.min()).tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_points_without_a_place_are_refused(make_batch: Make, value: float):
    points = make_batch(5, 5)
    points.xyz[7, 1] = value
    with pytest.raises(CleverError, match=r"scene 1 of the batch has points that are not finite"):
        voxelize(points, 0.1)


@pytest.mark.parametrize("far", [MAX_EXTENT * 0.1 + 1, 1e20])
def test_far_points_are_refused_before_anything_overflows(make_batch: Make, far: float):
    points = make_batch(5, 5)
    points.xyz[9, 2] = far
    with pytest.raises(
        CleverError, match=r"scene 1 of the batch spans .* m, more than 65536 voxels of 0.1 m"
    ):
        voxelize(points, 0.1)


def test_the_largest_scene_allowed_is_exact():
    edge = 0.5 * (MAX_EXTENT - 1)
    cloud = torch.tensor([[0.0, 0, 0, 0], [edge, edge, edge, 0], [edge, 0, edge, 0]])
    voxels = voxelize(PointBatch.from_clouds([cloud] * 3), 0.5)
    top = MAX_EXTENT - 1
    assert (
        voxels.coords[voxels.inverse, 1:].tolist()
        == [[0, 0, 0], [top, top, top], [top, 0, top]] * 3
    )


def test_real_keyframe(keyframe: PointBatch):
    voxels = voxelize(keyframe, 0.05)
    cells = np.floor(keyframe.xyz.numpy().astype(np.float64) / 0.05).astype(np.int64)
    expected, inverse = np.unique(cells, axis=0, return_inverse=True)
    assert np.array_equal(voxels.coords[:, 1:].numpy(), expected - cells.min(0))
    assert np.array_equal(voxels.inverse.numpy(), inverse.ravel())


def test_no_scene_at_all():
    voxels = voxelize(
        PointBatch(torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ()), 0.1
    )
    assert (len(voxels.coords), voxels.shape, voxels.scenes) == (0, (1, 1, 1), 0)
