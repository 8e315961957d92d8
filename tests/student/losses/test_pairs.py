"""Distillation losses against closed forms, their gradients, and the two ways to weigh camera
views."""

import math
from typing import Any

import pytest
import torch

from clever.student.losses.pairs import distillation_loss, pair_distances, pair_weights, unit

KINDS: list[Any] = ["l2", "mse", "cosine"]


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 5, generator=generator), torch.randn(12, 5, generator=generator)


@pytest.mark.parametrize(("kind", "expected"), [("l2", 1.0), ("mse", 1.0), ("cosine", 0.5)])
def test_closed_form_at_sixty_degrees(kind: Any, expected: float):
    student = torch.tensor([[3.0, 0.0]])
    teacher = 0.2 * torch.tensor([[math.cos(math.pi / 3), math.sin(math.pi / 3)]])
    assert distillation_loss(student, teacher, kind=kind).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_kinds_agree_with_the_cosine(pairs: tuple[torch.Tensor, torch.Tensor]):
    cosine = torch.nn.functional.cosine_similarity(*pairs)
    assert distillation_loss(*pairs, kind="cosine").item() == pytest.approx(
        (1 - cosine).mean().item(), rel=1e-5
    )
    assert distillation_loss(*pairs, kind="mse").item() == pytest.approx(
        (2 - 2 * cosine).mean().item(), rel=1e-5
    )
    assert distillation_loss(*pairs, kind="l2").item() == pytest.approx(
        (2 - 2 * cosine).sqrt().mean().item(), rel=1e-5
    )


def test_views_weigh_the_same_however_many_points_they_see(
    pairs: tuple[torch.Tensor, torch.Tensor],
):
    counts = [0, 3, 0, 7, 2, 0]
    each = [
        distillation_loss(a, b).item()
        for a, b in zip(*(half.split(counts) for half in pairs), strict=True)
        if len(a)
    ]
    weight = pair_weights(counts, "view")
    assert weight.dtype == torch.float32
    assert distillation_loss(*pairs, weight=weight).item() == pytest.approx(sum(each) / 3, rel=1e-6)
    alone = [distillation_loss(pairs[0][i : i + 1], pairs[1][i : i + 1]).item() for i in range(12)]
    weight = pair_weights(counts, "pair")
    assert distillation_loss(*pairs, weight=weight).item() == pytest.approx(
        sum(alone) / 12, rel=1e-6
    )
    assert distillation_loss(*pairs).item() == pytest.approx(sum(alone) / 12, rel=1e-6)


def test_weights_in_closed_form():
    view = pair_weights([2, 0, 4], "view")
    assert view.tolist() == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    assert pair_weights([2, 0, 4]).tolist() == view.tolist()
    torch.testing.assert_close(pair_weights([2, 0, 4], "pair"), torch.full((6,), 1 / 6))
    assert len(pair_weights([0, 0], "view")) == len(pair_weights([], "pair")) == 0
    with pytest.raises(ValueError, match="unknown weighting each; known: view, pair"):
        pair_weights([1], "each")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("weighting", ["view", "pair"])
def test_parts_of_a_step_add_up_to_the_whole(
    pairs: tuple[torch.Tensor, torch.Tensor], weighting: Any
):
    counts = [0, 3, 0, 7, 2, 0]
    step_loss = distillation_loss(*pairs, weight=pair_weights(counts, weighting)).item()
    total = 3 if weighting == "view" else 12
    parts = [
        distillation_loss(
            pairs[0][rows], pairs[1][rows], weight=pair_weights(part, weighting, total)
        ).item()
        for rows, part in (
            (slice(0, 3), counts[:2]),
            (slice(3, 12), counts[2:]),
            (slice(12, 12), [0, 0]),
        )
    ]
    assert sum(parts) == pytest.approx(step_loss, rel=1e-6)
    assert parts[2] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_turning_both_sides_changes_nothing(kind: Any, pairs: tuple[torch.Tensor, torch.Tensor]):
    draw = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = torch.linalg.qr(draw).Q
    student, teacher = ((half.double() @ turn).float() for half in pairs)
    torch.testing.assert_close(
        pair_distances(student, teacher, kind), pair_distances(*pairs, kind), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind: Any, pairs: tuple[torch.Tensor, torch.Tensor]):
    student = pairs[0].clone().requires_grad_()
    loss = distillation_loss(student, pairs[1], kind, pair_weights([5, 7]))
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [None, torch.zeros(0)])
def test_no_pairs_cost_nothing_but_keep_the_graph(kind: Any, weight: torch.Tensor | None):
    layer = torch.nn.Linear(3, 4)
    loss = distillation_loss(layer(torch.zeros(0, 3)), torch.zeros(0, 4), kind, weight)
    assert loss.item() == 0
    loss.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().max() == 0


def test_unknown_kind():
    with pytest.raises(ValueError, match="unknown distillation loss l1; known: l2, mse, cosine"):
        distillation_loss(torch.ones(1, 2), torch.ones(1, 2), "l1")  # type: ignore
