"""Augmentation and Mix3D: distributions, geometry, order of points."""

import math
from collections.abc import Callable

import pytest
import torch

from clever.student.augment import Augmentation
from clever.student.mix3d import mix3d
from clever.student.points import PointBatch

Make = Callable[..., PointBatch]
QUIET = {"rotate_p": 0.0, "scale": (1.0, 1.0), "flip_p": 0.0, "jitter_sigma": 0.0}


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def matrices(scenes: int = 4000, **options) -> torch.Tensor:
    cloud = torch.zeros(1, 4)
    return Augmentation(**{**QUIET, **options})(PointBatch.from_clouds([cloud] * scenes), seed())[1].double()


def near(found: float, expected: float, spread: float, draws: int) -> bool:
    """Within five standard errors."""
    return abs(found - expected) < 5 * spread / math.sqrt(draws)


def test_everything_off_changes_nothing(make_batch: Make):
    points = make_batch(50, 0, 30)
    moved, applied = Augmentation(**QUIET)(points, seed())
    assert torch.equal(moved.xyz, points.xyz)
    assert torch.equal(applied, torch.eye(3).expand(3, 3, 3))


def test_rotation_is_about_z_uniform_and_half_of_the_time():
    turned = matrices(rotate_p=0.5)
    assert torch.equal(turned[:, 2], torch.tensor([0.0, 0.0, 1.0]).double().expand(4000, 3))
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).double().expand_as(turned), atol=1e-6, rtol=0)
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    share = (angle != 0).double().mean().item()
    assert near(share, 0.5, 0.5, 4000)
    angle = angle[angle != 0]
    assert near(angle.mean().item(), 0.0, math.pi / math.sqrt(3), len(angle))
    assert near(angle.square().mean().item(), math.pi**2 / 3, math.pi**2 * math.sqrt(4 / 45), len(angle))
    assert angle.abs().max() > 3.1
    assert torch.linalg.det(turned).min() > 0.99  # no mirroring


def test_flips_are_independent_along_x_and_y():
    diagonal = torch.diagonal(matrices(flip_p=0.5), dim1=1, dim2=2)
    assert set(map(tuple, diagonal.tolist())) == {(x, y, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)}
    for sign in (diagonal[:, 0], diagonal[:, 1], diagonal[:, 0] * diagonal[:, 1]):
        assert near(sign.mean().item(), 0.0, 1.0, 4000)


def test_scale_is_uniform_and_the_same_along_every_axis():
    scaled = matrices(scale=(0.9, 1.1))
    factor = scaled[:, 0, 0]
    torch.testing.assert_close(scaled, factor[:, None, None] * torch.eye(3).double(), atol=1e-7, rtol=0)
    assert 0.9 <= factor.min() < 0.901
    assert 1.099 < factor.max() <= 1.1
    assert near(factor.mean().item(), 1.0, 0.2 / math.sqrt(12), 4000)


def test_jitter_is_clipped_noise_that_differs_from_point_to_point():
    points = PointBatch.from_clouds([torch.zeros(20_000, 4)])
    moved, _ = Augmentation(**{**QUIET, "jitter_sigma": 0.005})(points, seed())
    assert near(moved.xyz.std().item(), 0.005, 0.005 / math.sqrt(2), 60_000)
    assert len(moved.xyz.unique()) > 50_000
    clipped, _ = Augmentation(**{**QUIET, "jitter_sigma": 0.1, "jitter_clip": 0.02})(points, seed())
    assert clipped.xyz.abs().max().item() == pytest.approx(0.02)


def test_every_scene_gets_its_own_matrix_and_keeps_its_points(make_batch: Make):
    points = make_batch(100, 0, 200)
    moved, applied = Augmentation(jitter_sigma=0.0)(points, seed(5))
    assert not torch.allclose(applied[0], applied[2])
    for scene in range(3):
        mask = points.scene == scene
        expected = points.xyz[mask].double() @ applied[scene].double().T
        torch.testing.assert_close(moved.xyz[mask].double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(moved.intensity, points.intensity)
    assert torch.equal(moved.scene, points.scene)
    again, _ = Augmentation(jitter_sigma=0.0)(points, seed(5))
    assert torch.equal(moved.xyz, again.xyz)


@pytest.mark.parametrize(("scenes", "expected"), [(1, [0]), (2, [0, 0]), (5, [0, 0, 1, 1, 2])])
def test_mix3d_merges_neighbouring_pairs_in_place(make_batch: Make, scenes: int, expected: list[int]):
    counts = [10 * (i + 1) for i in range(scenes)]
    counts[0] = 0 if scenes == 5 else 10
    points = make_batch(*counts)
    mixed = mix3d(points, seed(), p=1.0)
    assert mixed.size == expected[-1] + 1
    assert mixed.scene.tolist() == [expected[i] for i in points.scene.tolist()]
    assert torch.equal(mixed.xyz, points.xyz)
    assert torch.equal(mixed.intensity, points.intensity)


def test_mix3d_probability_and_seed(make_batch: Make):
    points = make_batch(*[1] * 6001)
    mixed = mix3d(points, seed(), p=0.8)
    assert near((6001 - mixed.size) / 3000, 0.8, 0.4, 3000)
    assert mixed.scene.diff().min() >= 0
    assert mixed.scene.diff().max() == 1
    assert torch.bincount(mixed.scene).max() == 2
    assert torch.equal(mix3d(points, seed(), p=0.8).scene, mixed.scene)
    assert torch.equal(mix3d(points, seed(), p=0.0).scene, points.scene)
