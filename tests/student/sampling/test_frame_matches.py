"""Ground of two planes, and one-to-one neighbours against a search over all pairs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.student.losses.temporal import temporal_loss
from clever.student.sampling.frame_matches import ground_mask, match_points


def street(
    rng: np.random.Generator, slope: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points (N, 3) of a road and of things on it, and which are road."""
    road = rng.uniform([-30, -30, 0], [30, 30, 0], (400, 3))
    road[:, 2] = slope * road[:, 0] - 1.7 + rng.normal(0, 0.03, 400)
    things = rng.uniform([-20, -20, 0], [20, 20, 2], (200, 3))
    things[:, 2] += slope * things[:, 0] - 1.7 + 0.4
    return np.concatenate([road, things]), np.arange(600) < 400


@pytest.mark.parametrize("slope", [0.0, 0.05])
@pytest.mark.parametrize("seed", [0, 1])
def test_road_is_ground_and_things_are_not(slope: float, seed: int) -> None:
    points, road = street(np.random.default_rng(seed), slope)
    assert np.array_equal(ground_mask(points, seed), road)


def test_walls_are_no_ground_and_few_points_have_none() -> None:
    rng = np.random.default_rng(0)
    wall = rng.uniform([5, -9, -1], [5, 9, 1], (300, 3))
    assert ground_mask(wall, 0).mean() < 0.4
    assert not ground_mask(wall[:2], 0).any()
    assert ground_mask(wall[:0], 0).shape == (0,)


def test_matches_are_mutual_nearest_within_the_radius() -> None:
    rng = np.random.default_rng(3)
    points, road = street(rng)
    angle, shift = 0.3, np.array([1.0, -2.0, 0.1])
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = shift
    moved = (points - shift) @ motion[:3, :3] + rng.normal(0, 0.05, points.shape)
    others = moved[rng.permutation(len(moved))]
    matches = match_points(points, others, motion, 0.15, 0)
    back = others @ motion[:3, :3].T + shift
    here = np.flatnonzero(~ground_mask(points, 0))
    there = np.flatnonzero(~ground_mask(others, 1))
    way = np.linalg.norm(points[here, None] - back[None, there], axis=2)
    expected = [
        [here[i], there[j]]
        for i, j in enumerate(way.argmin(1))
        if way[i, j] <= 0.15 and way[:, j].argmin() == i
    ]
    assert matches.tolist() == expected
    assert len(matches) > 100
    assert not road[matches[:, 0]].any()
    assert len(np.unique(matches[:, 1])) == len(matches)
    assert match_points(points[:2], others[:0], motion, 0.15, 0).shape == (0, 2)


def test_temporal_loss_is_the_mean_distance_of_directions() -> None:
    one, other = torch.randn(5, 4), torch.randn(5, 4)
    expected = [1 - float(a @ b / (a.norm() * b.norm())) for a, b in zip(one, other, strict=True)]
    assert float(temporal_loss(one, other)) == pytest.approx(np.mean(expected), abs=1e-6)
    assert float(temporal_loss(one, 3 * one)) == pytest.approx(0, abs=1e-6)
    one.requires_grad_()
    empty = temporal_loss(one[:0], other[:0])
    empty.backward()
    assert float(empty.detach()) == 0
