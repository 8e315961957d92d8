"""Distillation losses against closed forms, their gradients, and the two ways to weigh cameras."""

import math
from typing import Any

import pytest
import torch

from clever.errors import CleverError
from clever.student.losses import distillation_loss, unit

KINDS: list[Any] = ["l2", "mse", "cosine"]


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 5, generator=generator), torch.randn(12, 5, generator=generator)


@pytest.mark.parametrize(("kind", "expected"), [("l2", 1.0), ("mse", 1.0), ("cosine", 0.5)])
def test_closed_form_at_sixty_degrees(kind: Any, expected: float):
    student = torch.tensor([[3.0, 0.0]])
    teacher = 0.2 * torch.tensor([[math.cos(math.pi / 3), math.sin(math.pi / 3)]])
    assert distillation_loss(student, teacher, kind=kind).item() == pytest.approx(expected, rel=1e-6)


def test_kinds_agree_with_the_cosine(pairs: tuple[torch.Tensor, torch.Tensor]):
    cosine = torch.nn.functional.cosine_similarity(*pairs)
    assert distillation_loss(*pairs, kind="cosine").item() == pytest.approx((1 - cosine).mean().item(), rel=1e-5)
    assert distillation_loss(*pairs, kind="mse").item() == pytest.approx((2 - 2 * cosine).mean().item(), rel=1e-5)
    assert distillation_loss(*pairs, kind="l2").item() == pytest.approx((2 - 2 * cosine).sqrt().mean().item(), rel=1e-5)


def test_views_weigh_the_same_however_many_points_they_see(pairs: tuple[torch.Tensor, torch.Tensor]):
    view = torch.tensor([7, 7, 7, 7, 7, 7, 7, 2, 2, 2, 31, 31])
    each = [distillation_loss(pairs[0][view == v], pairs[1][view == v]).item() for v in (2, 7, 31)]
    assert distillation_loss(*pairs, view).item() == pytest.approx(sum(each) / 3, rel=1e-6)
    alone = [distillation_loss(pairs[0][i : i + 1], pairs[1][i : i + 1]).item() for i in range(12)]
    assert distillation_loss(*pairs, view, weighting="pair").item() == pytest.approx(sum(alone) / 12, rel=1e-6)
    assert distillation_loss(*pairs).item() == pytest.approx(sum(alone) / 12, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind: Any, pairs: tuple[torch.Tensor, torch.Tensor]):
    student = pairs[0].clone().requires_grad_()
    view = torch.tensor([0] * 5 + [1] * 7)
    loss = distillation_loss(student, pairs[1], view, kind=kind)
    (gradient,) = torch.autograd.grad(loss, student)
    # In float64, from the definition, by central differences.
    first, second = pairs[0].double(), pairs[1].double()

    def value(x: torch.Tensor) -> torch.Tensor:
        a, b = x / x.norm(dim=1, keepdim=True), second / second.norm(dim=1, keepdim=True)
        square = (a - b).square().sum(1)
        each = {"l2": square.sqrt(), "mse": square, "cosine": square / 2}[kind]
        return (each[:5].mean() + each[5:].mean()) / 2

    step = 1e-6
    for index in range(first.numel()):
        shift = torch.zeros(first.numel(), dtype=torch.float64)
        shift[index] = step
        shift = shift.view_as(first)
        slope = (value(first + shift) - value(first - shift)) / (2 * step)
        assert gradient.view(-1)[index].item() == pytest.approx(slope.item(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_vectors_and_perfect_matches_have_finite_gradients(kind: Any):
    teacher = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0]])
    student = torch.tensor([[2.0, 4.0, 4.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    distillation_loss(student, teacher, kind=kind).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad[2].abs().max() == 0
    assert student.grad.abs().max() < 1


def test_unit_is_scale_free_over_the_range_of_float32():
    direction = torch.tensor([0.6, -0.8])
    for scale in (1e-9, 1e-3, 1.0, 1e9):
        torch.testing.assert_close(unit(direction * scale), direction)
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_no_pairs_is_an_error():
    with pytest.raises(CleverError, match="nothing to distil"):
        distillation_loss(torch.zeros(0, 4), torch.zeros(0, 4))
