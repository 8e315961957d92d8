"""Learning rates against their formulas, and which parameters learn at which."""

import math

import pytest
from torch import nn

from clever.pipeline.training.optimisation import make_optimizer, make_schedule
from clever.student.registry import build_student


def rates(kind: str, steps: int, warmup: float, lr: float = 0.002) -> list[list[float]]:
    """Learning rate of every group at every step."""
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = make_optimizer(layers, list(layers[1].parameters()), lr, lr / 10, 0.01)
    schedule = make_schedule(optimizer, kind, steps, warmup)  # pyright: ignore[reportArgumentType]
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    return rates


def test_one_cycle_rises_and_falls_by_cosines() -> None:
    curve = rates("onecycle", 101, 0.2)
    peak, low, end = 0.002, 0.0002, 0.000002
    rise = 0.2 * 101 - 1
    for step, (fast, slow) in enumerate(curve):
        first, last, share = (
            (low, peak, step / rise) if step <= rise else (peak, end, (step - rise) / (100 - rise))
        )
        assert fast == pytest.approx(last + (first - last) / 2 * (1 + math.cos(math.pi * share)))
        assert slow == pytest.approx(fast / 10)


def test_cosine_rises_linearly_to_the_peak_and_falls_to_scalr_s_end() -> None:
    curve = [fast for fast, _ in rates("cosine", 1000, 0.04)]
    assert curve[:41] == pytest.approx([0.002 * step / 40 for step in range(41)])
    assert curve[520] == pytest.approx((0.002 + 1e-5) / 2)
    last = 1e-5 + (0.002 - 1e-5) / 2 * (1 + math.cos(math.pi * 959 / 960))
    assert curve[-1] == pytest.approx(last)


def test_one_over_a_square_root_as_scalr_plus() -> None:
    epochs = [epoch / 10 for epoch in range(650)]
    curve = [fast for fast, _ in rates("rsqrt", 650, 1 / 65)]
    for epoch, rate in zip(epochs, curve, strict=True):
        if epoch < 1:
            expected = epoch
        else:
            expected = 1 / math.sqrt(1 + (min(epoch, 63) - 1) / 0.45) * min(1, (65 - epoch) / 2)
        assert rate == pytest.approx(0.002 * expected)
    assert curve[630] == pytest.approx(1.7e-4, abs=1e-6)  # as its authors' configuration gives


def test_short_runs_take_two_steps_to_the_peak() -> None:
    assert max(fast for fast, _ in rates("onecycle", 10, 0.0)) == pytest.approx(0.002, rel=0.1)
    assert rates("onecycle", 10, 0.0)[0][0] == pytest.approx(0.0002)


def test_the_attention_blocks_of_ptv3_learn_at_a_tenth() -> None:
    student = build_student("ptv3-tiny", 0.1)
    slow = student.backbone.block_parameters()
    optimizer = make_optimizer(student, slow, 0.002, 0.0002, 0.005)
    groups = [{id(parameter) for parameter in group["params"]} for group in optimizer.param_groups]
    assert [group["lr"] for group in optimizer.param_groups] == [0.002, 0.0002]
    assert not groups[0] & groups[1]
    assert len(groups[0]) + len(groups[1]) == len(list(student.parameters()))
    of = {id(parameter): name for name, parameter in student.named_parameters()}
    assert all(
        of[number].startswith(("backbone.encoder.", "backbone.decoder.")) for number in groups[1]
    )
    assert not any(
        of[number].startswith(("backbone.encoder.", "backbone.decoder.")) for number in groups[0]
    )


def test_frozen_parameters_are_left_out() -> None:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    layers[0].requires_grad_(False)
    optimizer = make_optimizer(layers, [], 0.1, 0.01, 0.0)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]
