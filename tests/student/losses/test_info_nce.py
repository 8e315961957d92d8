"""InfoNCE against a loop, and its closed forms."""

import math

import pytest
import torch
from torch import Tensor

from clever.student.losses.info_nce import info_nce


def rows(n: int, seed: int) -> Tensor:
    values = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values / values.norm(dim=1, keepdim=True)


def by_loop(anchors: Tensor, keys: Tensor, temperature: float, same: list[int]) -> float:
    total = 0.0
    for i, anchor in enumerate(anchors):
        terms = [math.exp(float(anchor @ key) / temperature) for key in keys]
        own = sum(term for j, term in enumerate(terms) if same[j] == same[i])
        total -= math.log(own / sum(terms))
    return total / len(anchors)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_a_loop(temperature: float) -> None:
    a, k = rows(7, 0), rows(7, 1)
    assert info_nce(a, k, temperature).item() == pytest.approx(
        by_loop(a, k, temperature, list(range(7))), rel=1e-5
    )
    same = torch.tensor([0, 1, 0, 2, 2, 0, 9])
    assert info_nce(a, k, temperature, same).item() == pytest.approx(
        by_loop(a, k, temperature, same.tolist()), rel=1e-5
    )
    distinct = info_nce(a, k, temperature, torch.arange(7))
    torch.testing.assert_close(distinct, info_nce(a, k, temperature))
    assert info_nce(a, k).item() == pytest.approx(by_loop(a, k, 0.07, list(range(7))), rel=1e-5)


def test_closed_forms() -> None:
    equal = rows(1, 0).expand(6, -1)
    assert info_nce(equal, equal).item() == pytest.approx(math.log(6), abs=1e-6)
    # Orthogonal rows: one key of similarity 1, n - 1 of 0.
    basis = torch.eye(5)
    expected = math.log(1 + 4 * math.exp(-1 / 0.07))
    assert info_nce(basis, basis).item() == pytest.approx(expected, abs=1e-6)
    assert info_nce(equal, equal, same=torch.zeros(6).long()).item() == pytest.approx(0, abs=1e-6)


def test_the_softmax_runs_over_the_keys() -> None:
    a, k = rows(4, 2), rows(4, 3)
    assert info_nce(a, k).item() != pytest.approx(info_nce(k, a).item(), rel=1e-3)


def test_gradients_flow_into_both() -> None:
    a, k = rows(4, 2).float().requires_grad_(), rows(4, 3).float().requires_grad_()
    info_nce(a, k).backward()
    assert a.grad is not None
    assert k.grad is not None
    assert a.grad.abs().min() > 0
    assert k.grad.abs().min() > 0


def test_no_rows_are_zero_with_a_gradient() -> None:
    a = torch.zeros(0, 5, requires_grad=True)
    loss = info_nce(a, torch.zeros(0, 5))
    loss.backward()
    assert loss.item() == 0
