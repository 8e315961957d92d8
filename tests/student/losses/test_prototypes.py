"""Class prototypes: closed forms of their statistics, densities that integrate to one."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clever.student.losses.prototypes import Prototypes, log_normaliser


def features(n: int, seed: int = 0) -> Tensor:
    rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) + 1
    return F.normalize(rows, dim=1)


def gathered(steps: int, rate: float) -> tuple[Prototypes, Tensor, Tensor]:
    prototypes = Prototypes(3, 4, steps, rate)
    rows, labels = features(9), torch.tensor([0, 2, 0, 0, 2, 2, 2, 0, 0])
    for _ in range(steps):
        assert prototypes(rows, labels) == 0
    return prototypes, rows, labels


def test_the_running_mean_has_its_closed_form() -> None:
    prototypes, rows, labels = gathered(50, 0.02)
    share = 1 - 0.98**50
    for number in (0, 2):
        mean = rows[labels == number].mean(0)
        torch.testing.assert_close(prototypes.means[number], share * mean)
        direction, kappa = prototypes.estimates()
        length = share * mean.norm()
        torch.testing.assert_close(direction[number], mean / mean.norm())
        torch.testing.assert_close(kappa[number], length * (4 - length**2) / (1 - length**2))
    assert prototypes.means[1].tolist() == [0] * 4
    assert prototypes.step == 50


def test_the_loss_is_the_mean_over_classes_of_their_densities() -> None:
    prototypes, _, _ = gathered(50, 0.02)
    rows, labels = features(7, 1).requires_grad_(), torch.tensor([0, 0, 2, 1, 1, 2, 2])
    before = prototypes.means.clone()
    loss = prototypes(rows, labels)
    direction, kappa = prototypes.estimates()
    expected = []
    for number in (0, 2):  # class 1 was never seen
        logs = [
            log_normaliser(kappa[number], 4) + kappa[number] * (row @ direction[number])
            for row in rows[labels == number]
        ]
        expected.append(-torch.stack(logs).mean())
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert torch.equal(prototypes.means, before), "fixed for good"
    loss.backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad[0], -kappa[0] * direction[0] / 2 / 2)
    assert rows.grad[3].tolist() == [0] * 4


def test_a_single_member_makes_a_class_present() -> None:
    prototypes, row = Prototypes(2, 4, 1, 0.5), features(1)
    prototypes(row, torch.tensor([1]))
    torch.testing.assert_close(prototypes.means[1], row[0] / 2)
    loss = prototypes(row, torch.tensor([1]))
    _, kappa = prototypes.estimates()
    torch.testing.assert_close(loss, -(log_normaliser(kappa[1:], 4)[0] + kappa[1]))


def test_the_published_statistics_reach_63_percent_of_their_length() -> None:
    prototypes = Prototypes(1, 64)
    assert prototypes.steps == 10_000
    assert 1 - (1 - prototypes.rate) ** prototypes.steps == pytest.approx(0.632, abs=1e-3)


def test_classes_that_were_never_seen_cost_nothing() -> None:
    prototypes, rows, _ = gathered(5, 0.02)
    assert prototypes(rows, torch.ones(9).long()) == 0


def test_evaluation_gathers_nothing() -> None:
    prototypes = Prototypes(2, 4).eval()
    prototypes(features(3), torch.zeros(3).long())
    assert prototypes.step == 0
    assert not prototypes.means.any()


@pytest.mark.parametrize("kappa", [0.3, 5.0, 80.0])
def test_densities_integrate_to_one(kappa: float) -> None:
    """On the sphere in three dimensions, where the area between heights h and h + dh is 2 pi dh."""
    height = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    log_c = log_normaliser(torch.tensor(kappa, dtype=torch.float64), 3)
    density = torch.exp(log_c + kappa * height)
    assert torch.trapezoid(density, height).item() * 2 * math.pi == pytest.approx(1, rel=1e-6)


def test_large_concentrations_do_not_overflow() -> None:
    assert log_normaliser(torch.tensor(5000.0), 64).isfinite()
