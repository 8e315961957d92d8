"""Augmentation: distributions, geometry, order of points, and who depends on whom."""

import math
from collections.abc import Callable

import pytest
import torch

from clever.student.clouds.augment import PRESETS, Augmentation
from clever.student.draws import Draws
from clever.student.points import PointBatch

Make = Callable[..., PointBatch]
QUIET = {"rotate_p": 0.0, "scale": (1.0, 1.0), "flip_p": 0.0, "jitter_sigma": 0.0}


def batch(scenes: int, points: int = 1) -> tuple[PointBatch, Draws]:
    """Clouds of points at the origin."""
    clouds = PointBatch.from_clouds([torch.zeros(points, 4)] * scenes)
    return clouds, Draws(clouds, range(scenes))


def matrices(scenes: int = 4000, **options) -> torch.Tensor:
    return Augmentation(**{**QUIET, **options})(*batch(scenes))[1].double()


def near(share: float, expected: float, spread: float, draws: int) -> bool:
    """Within five standard errors."""
    return abs(share - expected) < 5 * spread / math.sqrt(draws)


def test_everything_off_changes_nothing(make_batch: Make):
    points = make_batch(50, 0, 30)
    moved, applied = Augmentation(**QUIET)(points, Draws(points, range(3)))
    assert torch.equal(moved.xyz, points.xyz)
    assert torch.equal(applied, torch.eye(3).expand(3, 3, 3))


def test_rotation_is_about_z_uniform_and_half_of_the_time():
    turned = matrices(rotate_p=0.5)
    assert torch.equal(turned[:, 2], torch.tensor([0.0, 0.0, 1.0]).double().expand(4000, 3))
    torch.testing.assert_close(
        turned @ turned.mT, torch.eye(3).double().expand_as(turned), atol=1e-6, rtol=0
    )
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    share = (angle != 0).double().mean().item()
    assert near(share, 0.5, 0.5, 4000)
    angle = angle[angle != 0]
    assert near(angle.mean().item(), 0.0, math.pi / math.sqrt(3), len(angle))
    assert near(
        angle.square().mean().item(), math.pi**2 / 3, math.pi**2 * math.sqrt(4 / 45), len(angle)
    )
    assert angle.abs().max() > 3.1
    assert torch.linalg.det(turned).min() > 0.99  # no mirroring


def test_flips_are_independent_along_x_and_y():
    diagonal = torch.diagonal(matrices(flip_p=0.5), dim1=1, dim2=2)
    assert set(map(tuple, diagonal.tolist())) == {
        (x, y, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)
    }
    for sign in (diagonal[:, 0], diagonal[:, 1], diagonal[:, 0] * diagonal[:, 1]):
        assert near(sign.mean().item(), 0.0, 1.0, 4000)


def test_scale_is_uniform_and_the_same_along_every_axis():
    scaled = matrices(scale=(0.9, 1.1))
    factor = scaled[:, 0, 0]
    torch.testing.assert_close(
        scaled, factor[:, None, None] * torch.eye(3).double(), atol=1e-7, rtol=0
    )
    assert 0.9 <= factor.min() < 0.901
    assert 1.099 < factor.max() <= 1.1
    assert near(factor.mean().item(), 1.0, 0.2 / math.sqrt(12), 4000)


def test_jitter_is_clipped_noise_that_differs_from_point_to_point():
    moved, _ = Augmentation(**{**QUIET, "jitter_sigma": 0.005})(*batch(1, 20_000))
    assert near(moved.xyz.std().item(), 0.005, 0.005 / math.sqrt(2), 60_000)
    assert len(moved.xyz.unique()) > 50_000
    clipped, _ = Augmentation(**{**QUIET, "jitter_sigma": 0.1, "jitter_clip": 0.02})(
        *batch(1, 20_000)
    )
    assert clipped.xyz.abs().max().item() == pytest.approx(0.02)


def test_scalr_always_turns_and_mirrors_at_most_one_axis_two_times_in_three():
    points, draws = batch(6000)
    moved, applied = PRESETS["scalr"](points, draws)
    assert torch.equal(moved.xyz, points.xyz)  # points at the origin stay there: no jitter
    applied = applied.double()
    factor = applied[:, 2, 2]
    assert 0.9 <= factor.min() < 0.901
    assert 1.099 < factor.max() <= 1.1
    turned = applied / factor[:, None, None]
    torch.testing.assert_close(
        turned @ turned.mT, torch.eye(3).double().expand_as(turned), atol=1e-6, rtol=0
    )
    mirrored = (
        torch.linalg.det(turned) < 0
    )  # exactly one axis: with both or none the determinant is 1
    assert near(mirrored.double().mean().item(), 2 / 3, math.sqrt(2) / 3, 6000)
    # A rotation by a uniform angle hides which axis; without it the two are told apart.
    still = matrices(6000, flip="one", flip_p=2 / 3)
    kinds, counts = torch.unique(torch.diagonal(still, dim1=1, dim2=2), dim=0, return_counts=True)
    assert kinds.tolist() == [[-1, 1, 1], [1, -1, 1], [1, 1, 1]]
    assert ((counts - 2000) ** 2 / 2000).sum() < 2 + 5 * 2
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])[~mirrored]
    assert near(angle.mean().item(), 0.0, math.pi / math.sqrt(3), len(angle))
    assert near(
        angle.square().mean().item(), math.pi**2 / 3, math.pi**2 * math.sqrt(4 / 45), len(angle)
    )


def test_pointcept_is_the_default():
    assert (
        PRESETS["pointcept"]
        == Augmentation()
        == Augmentation(0.5, (0.9, 1.1), "each", 0.5, 0.005, 0.02)
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_matrices_are_scaled_mirrors_after_rotations(preset: str):
    augmentation = PRESETS[preset]
    points, draws = batch(50)
    _, applied = augmentation(points, draws)
    for matrix, (turn, place, size, first, second) in zip(
        applied, draws.for_scenes("augment", 5).tolist(), strict=True
    ):
        angle = (2 * place - 1) * math.pi if turn < augmentation.rotate_p else 0.0
        x, y = first < augmentation.flip_p, second < augmentation.flip_p
        if augmentation.flip == "one":
            x, y = x and second < 0.5, x and not second < 0.5
        mirror = torch.diag(
            torch.tensor([-1.0 if x else 1.0, -1.0 if y else 1.0, 1.0], dtype=torch.float64)
        )
        cosine, sine = math.cos(angle), math.sin(angle)
        rotation = torch.tensor(
            [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64
        )
        expected = (0.9 + 0.2 * size) * mirror @ rotation
        torch.testing.assert_close(matrix.double(), expected, atol=1e-7, rtol=0)


def test_every_scene_gets_its_own_matrix_and_keeps_its_points(make_batch: Make):
    points = make_batch(100, 0, 200)
    augmentation, draws = Augmentation(jitter_sigma=0.0), Draws(points, [5, 6, 7])
    moved, applied = augmentation(points, draws)
    assert not torch.allclose(applied[0], applied[2])
    for scene in range(3):
        mask = points.scene == scene
        expected = points.xyz[mask].double() @ applied[scene].double().T
        torch.testing.assert_close(moved.xyz[mask].double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(moved.intensity, points.intensity)
    assert torch.equal(moved.scene, points.scene)
    assert moved.counts == points.counts
    again, _ = augmentation(points, Draws(points, [5, 6, 7]))
    assert torch.equal(moved.xyz, again.xyz)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_scene_is_augmented_the_same_in_any_batch(make_batch: Make, preset: str):
    both = make_batch(40, 60)
    clouds = torch.cat([both.xyz, both.intensity[:, None]], 1)
    alone = PointBatch.from_clouds([clouds[40:]])
    together, matrix = PRESETS[preset](both, Draws(both, [3, 4]))
    single, own = PRESETS[preset](alone, Draws(alone, [4]))
    assert torch.equal(together.xyz[40:], single.xyz)
    assert torch.equal(matrix[1:], own)


def test_distances_within_a_scene_grow_by_its_factor(make_batch: Make):
    points = make_batch(60, 50)
    moved, applied = PRESETS["scalr"](points, Draws(points, [1, 2]))
    for scene in range(2):
        mask = points.scene == scene
        before, after = (torch.pdist(xyz[mask].double()) for xyz in (points.xyz, moved.xyz))
        torch.testing.assert_close(
            after, before * applied[scene, 2, 2].double(), atol=1e-5, rtol=1e-5
        )
