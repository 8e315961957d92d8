"""Curves of logs: which panels there are, and where their lines lie."""

import math

import numpy as np
import pytest

from clever.pipeline.report_page.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST,
    RIGHT,
    TOP,
    WIDTH,
    LoggedRun,
    chart_data,
    charts,
    number,
)


def places(text: str) -> np.ndarray:
    return np.array([part.split(",") for part in text.split()], float)


def test_panels_by_command_and_scalar_rates_last() -> None:
    record = {"steps": 2, "epoch": 1, "lr": 0.1, "loss": 2.0, "data_wait": 0.5}
    steps = [{"step": n, **record} for n in (1, 2)]
    measured = [*steps, {"step": 2, "epoch": 1, "val_miou": 0.25}]
    own = charts([LoggedRun(0, "a", "pretrain", steps), LoggedRun(1, "b", "finetune", measured)])
    assert [chart.title for chart in own] == [
        "pretrain: loss",
        "finetune: loss",
        "finetune: mIoU on the validation part, %",
        "pretrain: learning rate",
        "finetune: learning rate",
    ]
    assert own[2].lines[0].values == [25.0]
    assert len(own[2].lines[0].dots) == 1
    assert own[2].words == "finetune: mIoU on the validation part, %, first to last: b 25 to 25"
    (alone, _) = charts([LoggedRun(0, "a", "pretrain", steps)])
    assert alone.title == "loss"
    assert charts([LoggedRun(0, "a", "pretrain", [])]) == []


def test_lines_lie_where_their_axes_say() -> None:
    """Two ticks of each axis give the scale; every value lies on it."""
    records = [{"step": n, "occupancy": 3 + math.sin(n)} for n in range(10, 51)]
    other = [{"step": n, "occupancy": 1.0} for n in (1, 60)]
    (chart,) = charts(
        [LoggedRun(0, "a", "pretrain", records), LoggedRun(3, "b", "pretrain", other)]
    )
    assert chart.title == "occupancy loss"
    assert chart.reach == (0, 60)

    def scale(ticks):
        (low, *_, high) = [(float(tick.text), tick.at) for tick in ticks]
        return lambda values: (
            low[1] + (np.array(values) - low[0]) / (high[0] - low[0]) * (high[1] - low[1])
        )

    for line in chart.lines:
        expected = np.column_stack([scale(chart.x)(line.steps), scale(chart.y)(line.values)])
        np.testing.assert_allclose(places(line.raw), expected, atol=0.11)
    everything = np.concatenate([places(line.raw) for line in chart.lines])
    assert everything.min(0).tolist() >= [LEFT, TOP]
    assert everything[:, 0].max() == WIDTH - RIGHT
    assert everything[:, 1].max() <= HEIGHT - BOTTOM
    # The strong line: the mean of two neighbours, at the later one.
    line = chart.lines[0]
    assert (line.run, line.label, line.window) == (0, "a", 2)
    means = np.convolve(line.values, [0.5, 0.5], "valid")
    np.testing.assert_allclose(places(line.smooth)[:, 1], scale(chart.y)(means), atol=0.11)
    np.testing.assert_allclose(places(line.smooth)[:, 0], places(line.raw)[1:, 0])
    assert (chart.lines[1].window, chart.lines[1].run) == (1, 3)
    assert not chart.thinned


def test_a_long_log_is_shown_as_means_and_says_so() -> None:
    count = 7 * MOST
    records = [{"step": n, "loss": float(n)} for n in range(count)]
    (chart,) = charts([LoggedRun(0, "a", "pretrain", records)])
    (line,) = chart.lines
    assert len(line.values) == MOST
    assert line.values == [7 * n + 3.0 for n in range(MOST)] == line.steps
    assert chart.thinned
    assert chart_data(chart)["lines"][0]["values"][1] == 10.0  # type: ignore[index]


def test_values_that_are_not_finite_are_counted() -> None:
    records = [{"step": 1, "grad_norm": math.inf}, {"step": 2, "grad_norm": 1.5}]
    (chart,) = charts([LoggedRun(0, "a", "pretrain", records)])
    assert chart.lines[0].values == [1.5]
    assert chart.lines[0].label == "a (1 values that are not finite)"


@pytest.mark.parametrize(
    ("value", "text"), [(45.0, "45"), (1200.0, "1,200"), (0.00425913, "0.004259"), (-2.5, "-2.5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
