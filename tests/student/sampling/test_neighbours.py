"""Supports within a radius against the full matrix of distances."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from clever.student.choices import NeighbourRule
from clever.student.points import PointBatch
from clever.student.sampling import neighbours
from clever.student.sampling.neighbours import Neighbours, neighbours_within

Search = Callable[..., Neighbours]
RADIUS = 0.8


def by_distances(
    queries: Tensor,
    counts: tuple[int, ...],
    supports: Tensor,
    scene: Tensor,
    most: tuple[int, ...],
    radius: float,
    slots: int,
    rule: NeighbourRule = "nearest",
) -> Neighbours:
    """What runs on a device, run here."""
    scenes = queries.split(counts)
    parts = neighbours._by_distances(scenes, supports, scene, most, radius, slots, rule)
    return Neighbours(
        torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    )


SEARCHES = [neighbours_within, by_distances]


def check(
    nearest: Neighbours,
    queries: Tensor,
    counts: tuple[int, ...],
    supports: Tensor,
    scene: Tensor,
    k: int,
    rule: NeighbourRule = "nearest",
) -> int:
    """Against every distance; the number of neighbours."""
    assert nearest.support.shape == nearest.filled.shape == (len(queries), k)
    of = np.repeat(np.arange(len(counts)), counts)
    total = 0
    for q in range(len(queries)):
        distance = np.linalg.norm(supports.double().numpy() - queries[q].double().numpy(), axis=1)
        distance[scene.numpy() != of[q]] = np.inf
        assert (
            np.abs(distance - RADIUS).min() > 1e-6
        )  # none on the edge, where float32 would decide
        order = np.argsort(distance) if rule == "nearest" else np.arange(len(distance))
        expected = [index for index in order if distance[index] < RADIUS][:k]
        assert nearest.filled[q].tolist() == [True] * len(expected) + [False] * (k - len(expected))
        assert nearest.support[q, : len(expected)].tolist() == expected
        total += len(expected)
    return total


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rule", get_args(NeighbourRule))
@pytest.mark.parametrize("k", [1, 7, 32])
def test_against_every_distance(
    make_batch: Callable[..., PointBatch], search: Search, k: int, rule: NeighbourRule
):
    supports = make_batch(300, 0, 5, 400, extent=4.0, seed=1)
    queries = make_batch(60, 0, 20, 50, extent=6.0, seed=2)
    order = torch.randperm(len(supports), generator=torch.Generator().manual_seed(3))
    xyz, scene = supports.xyz[order], supports.scene[order]  # mixed scenes lie among each other
    nearest = search(queries.xyz, queries.counts, xyz, scene, supports.counts, RADIUS, k, rule)
    total = check(nearest, queries.xyz, queries.counts, xyz, scene, k, rule)
    assert 0 < total < nearest.filled.numel()


def test_chunks_change_nothing(
    make_batch: Callable[..., PointBatch], monkeypatch: pytest.MonkeyPatch
):
    supports, queries = make_batch(200, 100, seed=1), make_batch(40, 30, seed=2)
    arguments = (
        queries.xyz,
        queries.counts,
        supports.xyz,
        supports.scene,
        supports.counts,
        RADIUS,
        8,
    )
    whole = by_distances(*arguments)
    monkeypatch.setattr(neighbours, "_DISTANCES", 1000)
    pieces = by_distances(*arguments)
    assert torch.equal(whole.support, pieces.support)
    assert torch.equal(whole.filled, pieces.filled)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_bound_above_the_true_number_changes_nothing(
    make_batch: Callable[..., PointBatch], search: Search
):
    supports, queries = make_batch(20, 30, seed=1), make_batch(40, 30, seed=2)
    nearest = search(
        queries.xyz, queries.counts, supports.xyz, supports.scene, (1000, 31), RADIUS, 32
    )
    check(nearest, queries.xyz, queries.counts, supports.xyz, supports.scene, 32)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_scene_without_supports_has_no_neighbours(
    make_batch: Callable[..., PointBatch], search: Search
):
    """Mix3D may leave every voxel of a scene to the other one's points."""
    queries = make_batch(4, 6)
    nearest = search(
        queries.xyz, queries.counts, queries.xyz[4:], queries.scene[4:], (4, 6), RADIUS, 3
    )
    assert not nearest.filled[:4].any()
    assert nearest.filled[4:, 0].all()
    assert (nearest.support < 6).all()
    assert torch.equal(nearest.support[4:, 0], torch.arange(6))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rule", get_args(NeighbourRule))
def test_what_lies_at_the_radius_is_outside(search: Search, rule: NeighbourRule):
    supports = torch.tensor([[2.0, 0, 0], [1.999, 0, 0], [0, 0, 0], [2.001, 0, 0]])
    scene = torch.zeros(4, dtype=torch.int64)
    inside = search(torch.zeros(1, 3), (1,), supports, scene, (4,), 2.0, 3, rule)
    assert inside.filled.tolist() == [[True, True, False]]
    assert inside.support[0, :2].tolist() == ([2, 1] if rule == "nearest" else [1, 2])


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rule", get_args(NeighbourRule))
def test_nothing_at_all(search: Search, rule: NeighbourRule):
    none, no_scene = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    nearest = search(none, (0, 0), none, no_scene, (0, 0), RADIUS, 4, rule)
    assert nearest.support.shape == nearest.filled.shape == (0, 4)


def test_exact_far_from_the_sensor(make_batch: Callable[..., PointBatch]):
    """At 200 m the squares of coordinates leave float32 no room for centimetres."""
    supports, queries = make_batch(500, seed=1), make_batch(30, seed=2)
    far = torch.tensor([150.0, 130.0, 0.0])
    nearest = by_distances(
        queries.xyz + far, (30,), supports.xyz + far, supports.scene, (500,), RADIUS, 16
    )
    tree = neighbours_within(
        queries.xyz + far, (30,), supports.xyz + far, supports.scene, (500,), RADIUS, 16
    )
    assert torch.equal(nearest.filled, tree.filled)
    assert torch.equal(nearest.support[nearest.filled], tree.support[tree.filled])
