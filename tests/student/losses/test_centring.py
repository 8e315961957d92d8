"""Means of frames and patches against loops."""

import pytest
import torch
from torch import Tensor

from clever.student.losses.centring import Centre, patch_numbers


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 12, 3, generator=random)
    return student, teacher, torch.rand(12, generator=random) + 0.1


FRAME = torch.tensor([0] * 7 + [2] * 5)
PATCH = torch.tensor([0, 0, 1, 1, 1, 4, 4, 6, 6, 7, 7, 7])


def test_frames_lose_their_mean(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, weight = rows
    a, b, factor = Centre(FRAME, 3)(student, teacher, weight)
    for side, centred in ((student, a), (teacher, b)):
        for frame in (0, 2):
            own = side[frame == FRAME]
            torch.testing.assert_close(centred[frame == FRAME], own - own.mean(0))
    torch.testing.assert_close(factor, torch.ones(12))


def test_patches_count_once_and_frames_as_before(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, weight = rows
    a, b, factor = Centre(FRAME, 3, PATCH, 9)(student, teacher, weight)
    for side, centred in ((student, a), (teacher, b)):
        for frame in (0, 2):
            patches = PATCH[frame == FRAME].unique().tolist()
            means = torch.stack([side[patch == PATCH].mean(0) for patch in patches])
            for patch, mean in zip(patches, means - means.mean(0), strict=True):
                torch.testing.assert_close(
                    centred[patch == PATCH], mean.expand(int((patch == PATCH).sum()), 3)
                )
    equal = torch.ones(12)
    _, _, factor = Centre(FRAME, 3, PATCH, 9)(student, teacher, equal)
    for frame, patches in ((0, 3), (2, 2)):
        own = factor[frame == FRAME]
        assert own.sum() == pytest.approx(len(own))
        for patch in PATCH[frame == FRAME].unique():
            assert factor[patch == PATCH].sum() == pytest.approx(len(own) / patches)


def test_a_frame_does_not_feel_its_batch(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, weight = rows
    whole = Centre(FRAME, 3, PATCH, 9)(student, teacher, weight)
    own = FRAME == 2
    alone = Centre(FRAME[own] - 2, 1, PATCH[own], 9)(student[own], teacher[own], weight[own])
    for part, expected in zip(alone, whole, strict=True):
        torch.testing.assert_close(part, expected[own])


def test_pairs_fall_in_patches() -> None:
    view = torch.tensor([0, 0, 1, 1])
    uv = torch.tensor([[0.0, 0.0], [0.99, 0.51], [0.34, 0.0], [1.0, 1.0]])
    assert patch_numbers(view, uv, (2, 3)).tolist() == [0, 5, 7, 11]
