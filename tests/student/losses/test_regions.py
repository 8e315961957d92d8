"""Means over regions against loops over points and over upsampled pixels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clever.student.losses.info_nce import info_nce
from clever.student.losses.regions import (
    NO_REGION,
    RegionMeans,
    consistency_loss,
    cosine_consistency,
    global_ids,
    pool_pixels,
    pool_points,
    region_loss,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(row: Tensor) -> Tensor:
    return row / row.norm()


def test_means_of_unit_vectors_are_not_scaled_again() -> None:
    features, region = random(6, 3), torch.tensor([4, 0, 4, 4, 0, 2])
    pooled = pool_points(features, region, 6)
    for number in range(6):
        members = [unit(features[i]) for i in range(6) if region[i] == number]
        expected = torch.stack(members).mean(0) if members else torch.zeros(3)
        torch.testing.assert_close(pooled.means[number], expected)
        assert pooled.present[number] == bool(members)
    opposite = pool_points(torch.tensor([[2.0, 0], [-5.0, 0]]), torch.tensor([0, 0]), 1)
    assert opposite.means.tolist() == [[0, 0]]


@pytest.mark.parametrize("align_corners", [True, False])
def test_all_upsampled_pixels_of_a_region(align_corners: bool) -> None:
    grid = random(2, 3, 2, 4)
    maps = torch.randint(0, 3, (2, 7, 9), generator=torch.Generator().manual_seed(1))
    maps[0, :2] = NO_REGION
    pooled = pool_pixels(grid, maps, 4, align_corners=align_corners)
    upsampled = F.interpolate(grid, size=(7, 9), mode="bilinear", align_corners=align_corners)
    for number in range(4):
        members = [
            unit(upsampled[m, :, i, j])
            for m in range(2)
            for i in range(7)
            for j in range(9)
            if maps[m, i, j] == number
        ]
        expected = torch.stack(members).mean(0) if members else torch.zeros(3)
        torch.testing.assert_close(pooled.means[number], expected, rtol=1e-4, atol=1e-5)
        assert pooled.present[number] == bool(members)
    tokens = F.normalize(grid, dim=1).mean((0, 2, 3))
    assert not torch.allclose(pooled.means[:3].mean(0), tokens, atol=1e-3)


def test_corners_of_a_small_map_are_the_tokens() -> None:
    grid = random(1, 3, 2, 2)
    pooled = pool_pixels(grid, torch.arange(4).reshape(1, 2, 2), 4)
    tokens = F.normalize(grid, dim=1)[0].flatten(1).T
    torch.testing.assert_close(pooled.means, tokens)
    larger = pool_pixels(grid, torch.arange(9).reshape(1, 3, 3), 9)
    torch.testing.assert_close(larger.means[[0, 2, 6, 8]], tokens)
    assert NO_REGION == 2**16 - 1


def test_a_subgrid_is_every_other_pixel() -> None:
    grid, maps = random(1, 3, 3, 3), torch.arange(48).reshape(1, 6, 8)
    every, some = pool_pixels(grid, maps, 48), pool_pixels(grid, maps, 48, stride=2)
    places = maps[0, 1::2, 1::2].flatten()
    assert some.present.nonzero().squeeze(1).tolist() == sorted(places.tolist())
    torch.testing.assert_close(some.means[places], every.means[places])


@pytest.mark.parametrize(("stride", "lowest", "highest"), [(2, 0.99, 0.12), (4, 0.91, 0.41)])
def test_a_subgrid_is_near_all_pixels(stride: int, lowest: float, highest: float) -> None:
    """On a map of 112x224 in cells of about 16x16 pixels over a grid of 14x28 tokens of random
    features, rougher than a teacher's."""
    rows, columns = torch.meshgrid(torch.arange(112), torch.arange(224), indexing="ij")
    wave = (3 * torch.sin(columns / 9)).round().long()
    maps = ((rows + wave).clamp(0, 111) // 16 * 14 + (columns + wave).clamp(0, 223) // 16)[None]
    grid = random(1, 16, 14, 28)
    every, some = pool_pixels(grid, maps, 98), pool_pixels(grid, maps, 98, stride)
    assert every.present.all()
    assert some.present.all()
    error = (some.means - every.means).norm(dim=1) / every.means.norm(dim=1)
    assert F.cosine_similarity(every.means, some.means).min() > lowest
    assert 0.05 < error.max() < highest


def test_ids_beyond_255_stay_apart() -> None:
    region = torch.tensor([1, 257, 300, 1 + 256])
    pooled = pool_points(torch.eye(4), region, 400)
    assert pooled.present.nonzero().squeeze(1).tolist() == [1, 257, 300]
    assert pooled.means[257].tolist() == [0, 0.5, 0, 0.5]


def test_segments_of_images_stay_apart_and_classes_of_a_sample_meet() -> None:
    maps = torch.tensor([[[0, 1]], [[1, NO_REGION]], [[0, 0]]])
    sample = torch.tensor([0, 0, 1])
    assert global_ids(maps, 2, sample, shared=False).tolist() == [
        [[0, 1]], [[3, NO_REGION]], [[4, 4]],
    ]  # fmt: skip
    assert global_ids(maps, 2, sample, shared=True).tolist() == [
        [[0, 1]], [[1, NO_REGION]], [[2, 2]],
    ]  # fmt: skip


def means(seed: int, *present: int) -> RegionMeans:
    rows = random(5, 3, seed=seed)
    there = torch.zeros(5, dtype=torch.bool)
    there[list(present)] = True
    return RegionMeans(rows * there[:, None], there)


def test_regions_without_points_take_no_part() -> None:
    points, pixels = means(0, 0, 2, 3), means(1, 0, 1, 2, 3, 4)
    expected = info_nce(points.means[[0, 2, 3]], pixels.means[[0, 2, 3]])
    assert torch.equal(region_loss(points, pixels), expected)


def test_consistency_is_of_what_both_have() -> None:
    one, other = means(0, 0, 2, 3), means(1, 2, 3, 4)
    expected = info_nce(one.means[[2, 3]], other.means[[2, 3]], 0.2)
    assert torch.equal(consistency_loss(one, other, 0.2), expected)
    cosines = [unit(one.means[i]) @ unit(other.means[i]) for i in (2, 3)]
    torch.testing.assert_close(cosine_consistency(one, other), 1 - torch.stack(cosines).mean())
    apart = means(1, 1)
    assert consistency_loss(one, apart) == 0
    assert cosine_consistency(one, apart) == 0
