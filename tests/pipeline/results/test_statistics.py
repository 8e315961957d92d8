"""Means, paired differences and rank correlation against closed forms."""

import math
import random

import pytest

from clever.pipeline.results.statistics import Difference, Spread, spearman


def test_spread_over_the_values_that_there_are() -> None:
    assert Spread.of([1.0, None, 3.0]) == Spread(2.0, math.sqrt(2))
    assert [Spread.of(values).text(1) for values in ([], [2], [1, None, 3])] == [
        "",
        "2.0",
        "2.0 ± 1.4",
    ]


def test_interval_of_two_seeds_in_closed_form() -> None:
    """Student's quantile of one degree of freedom: tan(pi (p - 1/2))."""
    two = Difference.paired({0: 3.0, 1: 7.0, 5: 9.0}, {1: 4.0, 0: 1.0, 9: 0.0})
    assert two is not None
    assert (two.mean, two.seeds) == (2.5, 2)
    assert two.half_width == pytest.approx(
        math.tan(math.pi * 0.475) * math.sqrt(0.5) / math.sqrt(2)
    )
    assert not two.clear


def test_an_interval_that_leaves_zero_out_is_clear() -> None:
    """Student's quantile of two degrees of freedom: c sqrt(2 / (1 - c^2)) of confidence c."""
    three = Difference.paired({0: 3.0, 1: 3.5, 2: 4.0}, {0: 1.0, 1: 1.0, 2: 1.0})
    assert three is not None
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert (three.clear, three.text(2)) == (True, "+2.50 ± 1.24")
    assert three.half_width == pytest.approx(quantile * 0.5 / math.sqrt(3))


def test_a_single_seed_has_no_interval_and_none_no_difference() -> None:
    alone = Difference.paired({0: 1.0, 2: 5.0}, {2: 7.0})
    assert alone is not None
    assert (alone.mean, alone.half_width, alone.seeds) == (-2.0, None, 1)
    assert not alone.clear
    assert alone.text(1) == "-2.0"
    assert Difference.paired({0: 1.0}, {1: 1.0}) is None


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(0)
    count = 2000
    covered = 0
    for _ in range(count):
        base = {seed: rng.gauss(0, 3) for seed in range(4)}
        row = {seed: base[seed] + 1 + rng.gauss(0, 0.5) for seed in range(4)}
        interval = Difference.paired(row, base)
        assert interval
        assert interval.half_width
        covered += abs(interval.mean - 1) <= interval.half_width
    assert abs(covered / count - 0.95) < 4 * math.sqrt(0.95 * 0.05 / count)


def ranks(values: list[float]) -> list[float]:
    """Rank of each value from 1, ties with the mean of theirs."""
    return [
        sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2
        for value in values
    ]


def test_rank_correlation_against_ranks_written_out() -> None:
    rng = random.Random(1)
    for _ in range(20):
        first = [float(rng.randrange(6)) for _ in range(9)]
        second = [float(rng.randrange(6)) for _ in range(9)]
        x, y = ranks(first), ranks(second)
        centred = [(a - 5, b - 5) for a, b in zip(x, y, strict=True)]
        covariance = sum(a * b for a, b in centred)
        scale = math.sqrt(sum(a * a for a, _ in centred) * sum(b * b for _, b in centred))
        assert spearman(first, second) == pytest.approx(covariance / scale)
    assert spearman([1, 2, 3, 4], [2, 4, 8, 16]) == pytest.approx(1)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
