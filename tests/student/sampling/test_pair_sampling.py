"""Pairs drawn without replacement: who is drawn, how often, by which weights."""

import math

import pytest
import torch

from clever.student.sampling.pair_sampling import (
    density_and_class_weights,
    uniform_pairs,
    weighted_pairs,
)


def test_the_smallest_draws_are_taken_in_ascending_order() -> None:
    draw = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.7])
    assert uniform_pairs(draw, 2).tolist() == [1, 3]
    assert uniform_pairs(draw, 5).tolist() == [0, 1, 2, 3, 4]
    assert uniform_pairs(draw, 9).tolist() == [0, 1, 2, 3, 4]
    assert uniform_pairs(torch.zeros(0), 3).tolist() == []


def test_chances_are_those_of_draws_one_after_the_other() -> None:
    weight = torch.tensor([1.0, 2.0, 5.0])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(3)
    repeats = 20_000
    for draw in torch.rand(repeats, 3, generator=generator):
        counts[weighted_pairs(draw, weight, 2)] += 1
    for i in range(3):
        # First, or second after j went first.
        chance = weight[i] / 8 + sum(
            weight[j] / 8 * weight[i] / (8 - weight[j]) for j in range(3) if j != i
        )
        assert counts[i] / repeats == pytest.approx(chance.item(), abs=0.012)


def test_weights_of_density_and_class() -> None:
    radius = torch.tensor([3.0, 3, 3, 50, 51, 200])
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    weights = density_and_class_weights(radius, labels, 2)
    mean = sum(radius.tolist()) / 6
    deviation = math.sqrt(sum((r - mean) ** 2 for r in radius.tolist()) / 5)
    width = 1.06 * deviation * 6**-0.2
    for i in range(6):
        density = sum(
            math.exp(-0.5 * ((radius[i].item() - r) / width) ** 2) for r in radius.tolist()
        ) / (6 * width * math.sqrt(2 * math.pi))
        assert weights[i].item() == pytest.approx(1 / (density * 3), rel=1e-9)


def test_one_distance_alone_has_weights_of_classes() -> None:
    weights = density_and_class_weights(torch.full((4,), 7.0), torch.tensor([0, 0, 0, 1]), 3)
    assert weights.isfinite().all()
    assert (weights[3] / weights[0]).item() == pytest.approx(3)
    assert density_and_class_weights(torch.tensor([7.0]), torch.tensor([1]), 3).isfinite().all()


def test_no_pair_has_no_weight() -> None:
    assert density_and_class_weights(torch.zeros(0), torch.zeros(0).long(), 3).shape == (0,)
