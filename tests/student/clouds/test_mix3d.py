"""Mix3D: who is merged with whom, how often, and what stays where it is."""

import math
from collections.abc import Callable

import pytest
import torch

from clever.student.clouds.mix3d import mix3d
from clever.student.draws import Draws
from clever.student.points import PointBatch

Make = Callable[..., PointBatch]


@pytest.mark.parametrize(("scenes", "expected"), [(1, [0]), (2, [0, 0]), (5, [0, 0, 1, 1, 2])])
def test_neighbouring_pairs_are_merged_in_place(make_batch: Make, scenes: int, expected: list[int]):
    counts = [10 * (i + 1) for i in range(scenes)]
    counts[0] = 0 if scenes == 5 else 10
    points = make_batch(*counts)
    mixed = mix3d(points, Draws(points, range(scenes)), p=1.0)
    assert mixed.size == expected[-1] + 1
    assert mixed.scene.tolist() == [expected[i] for i in points.scene.tolist()]
    assert mixed.counts == tuple(torch.bincount(mixed.scene, minlength=mixed.size).tolist())
    assert torch.equal(mixed.xyz, points.xyz)
    assert torch.equal(mixed.intensity, points.intensity)


def test_probability(make_batch: Make):
    points = make_batch(*[1] * 6001)
    draws = Draws(points, range(6001))
    mixed = mix3d(points, draws, p=0.8)
    assert abs((6001 - mixed.size) / 3000 - 0.8) < 5 * 0.4 / math.sqrt(3000)
    assert mixed.scene.diff().min() >= 0
    assert mixed.scene.diff().max() == 1
    assert mixed.counts == tuple(torch.bincount(mixed.scene).tolist())
    assert max(mixed.counts) == 2
    none = mix3d(points, draws, p=0.0)
    assert torch.equal(none.scene, points.scene)
    assert none.counts == points.counts


def test_the_first_of_a_pair_decides_whatever_else_is_in_the_batch(make_batch: Make):
    pair, four = make_batch(3, 3), make_batch(3, 3, 3, 3)
    merged = []
    for first in range(40):
        alone = mix3d(pair, Draws(pair, [first, 1]), p=0.5).size == 1
        assert (mix3d(pair, Draws(pair, [first, 2]), p=0.5).size == 1) == alone
        for other in (50, 51, 52):
            scene = mix3d(four, Draws(four, [other, 1, first, 2]), p=0.5).scene
            assert bool(scene[6] == scene[9]) == alone
        merged.append(alone)
    assert 8 < sum(merged) < 32
