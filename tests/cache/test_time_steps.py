"""When times between frames are taken for those of a wrong unit."""

import numpy as np
import pytest

from clever.cache.time_steps import FASTEST, SLOWEST, step_fault, steps_of


def test_steps_lie_within_scenes() -> None:
    steps = steps_of(["a", "a", "b", "b", "b", "a"], [0, 100_000, 7, 500_007, 300_007, 8])
    assert steps.tolist() == [0.1, 0.5, -0.2]
    assert steps_of(["a"], [5]).tolist() == steps_of([], []).tolist() == []
    assert steps_of(["a", "b"], [0, 10]).tolist() == []


@pytest.mark.parametrize("rate", [5, 10, 20, 33, 100])
def test_a_unit_that_is_wrong_by_a_thousand(rate: int) -> None:
    """Steps of a LiDAR pass; the same in a neighbouring unit do not, but for the fastest."""
    true = np.array([1 / rate] * 7, np.float64)
    assert step_fault(true) == ""
    assert "less than 0.005, so the unit of their times seems wrong" in step_fault(true / 1000)
    assert bool(step_fault(true * 1000)) == (rate <= 33)
    keyframes = np.array([5.0, SLOWEST, 2.5], np.float64)
    assert step_fault(keyframes) == ""
    assert step_fault(keyframes / 1001)


def test_the_median_decides() -> None:
    assert step_fault([]) == ""
    assert step_fault([0.1, 0.1, 900.0]) == step_fault([0.0, 0.1, 0.1]) == ""
    assert step_fault([FASTEST]) == step_fault([SLOWEST]) == ""
    assert step_fault([0.0]) == (
        "frames follow every 0 s, less than 0.005, so the unit of their times seems wrong"
    )
    assert step_fault([100.0], "sweeps") == (
        "sweeps follow every 100 s, more than 30, so the unit of their times seems wrong"
    )
    assert step_fault([-0.1, -0.1, 0.1]) == "time runs backwards: frames follow every -0.1 s"
