"""Which losses and gradient norms let a run go on."""

import math

import pytest

from clever.pipeline.training.finite import OVERFLOWS, FiniteCheck


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_is_finite(loss: float, scaled: bool) -> None:
    assert FiniteCheck(scaled).passes(1.0, 2.0)
    assert not FiniteCheck(scaled).passes(loss, 2.0)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_gradients_may_overflow_while_the_scale_is_looked_for(norm: float) -> None:
    assert not FiniteCheck(scaled=False).passes(1.0, norm)
    check = FiniteCheck(scaled=True)
    assert all(check.passes(1.0, norm) for _ in range(OVERFLOWS - 1))
    assert check.passes(1.0, 2.0)  # and begin anew
    assert all(check.passes(1.0, norm) for _ in range(OVERFLOWS - 1))
    assert not check.passes(1.0, norm)
