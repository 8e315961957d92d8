"""The table of runs: mean, spread and differences against those by hand."""

import statistics

import pytest

from clever.pipeline.detection_runs.benchmark import ScoreTable, mean_row
from clever.pipeline.detection_runs.results import DetectorResult
from clever.pipeline.detection_runs.table import DetectionTable, PlannedRun
from clever.pipeline.steps.labelled import BadFrame
from clever.pipeline.training.log import Losses

SCORES = {("none", 0, 0): 10.0, ("none", 0, 1): 14.0, ("a", 0, 0): 13.0, ("a", 0, 1): 19.0}


def result(value: float | None, seed: int) -> DetectorResult:
    return DetectorResult(
        job="detect", finished="", seed=seed, seconds=1, versions={}, start="", fraction=0.05,
        draw=0, steps=1, losses=Losses({}, {}, 1),
        tables=[ScoreTable(title="AP %", scores={"Car": value, "mean": value})],
        facts={"detector": "point-head", "training": "3 epochs"},
        bad=[BadFrame(id="f", reason="gone")], device="cpu",
    )  # fmt: skip


@pytest.fixture
def table() -> DetectionTable:
    runs = [
        PlannedRun(
            start=start, fraction=0.05, draw=draw, seed=seed, folder="", result=result(value, seed)
        )
        for (start, draw, seed), value in SCORES.items()
    ]
    failed = PlannedRun(start="a", fraction=0.05, draw=0, seed=2, folder="", failure="no weights")
    return DetectionTable(dataset="kitti", detector="point-head", runs=[*runs, failed])


def test_a_column_has_mean_and_spread_of_its_runs(table: DetectionTable) -> None:
    text = str(table)
    spread = statistics.stdev([13.0, 19.0])
    assert f"16.00 ± {spread:.2f}" in text
    assert "12.00 ± 2.83" in text
    assert table.columns == [("none", 0.05), ("a", 0.05)]
    lines = [line for line in text.splitlines() if line.startswith("| runs")]
    assert lines[0].split() == ["|", "runs", "|", "2", "|", "2", "|"]


def test_differences_are_of_the_same_draw_and_seed(table: DetectionTable) -> None:
    # 3 and 5: mean 4, t(1) = 12.706 standard errors of 1.
    assert "AP %, mean, a less none at 5 %: +4.00 ± 12.71 (95 % interval of 2 pairs" in str(table)


def test_pairs_of_one_draw_are_taken_together(table: DetectionTable) -> None:
    more = [
        PlannedRun(start=start, fraction=0.05, draw=1, seed=0, folder="", result=result(value, 0))
        for start, value in {"none": 10.0, "a": 16.5}.items()
    ]
    assert "draws)" not in str(table)
    both = table.model_copy(update={"runs": [*table.runs, *more]})
    # Of 4 (the mean of 3 and 5) and 6.5: a standard error of 1.25, t(1) = 12.706.
    interval = "of 3 pairs of the same draw and seed; ± 15.88 of the means of 2 draws)"
    assert interval in str(both)
    assert "a less none at 5 %: +4.83 ± " in str(both)


def test_what_failed_and_the_papers_figures_are_said(table: DetectionTable) -> None:
    assert table.bad == ["failed: a, 5 %, draw 0, seed 2: no weights", "skipped frame f: gone"]
    assert "Table A3" in str(table)
    assert "random weights 56.1, distilled 59.8" in str(table)
    assert "point-head, 3 epochs; seeds 0, 1, 2, mean ± sample standard" in str(table)
    other = table.model_copy(update={"dataset": "nuscenes"})
    assert "Table A3" not in str(other)


def test_a_class_without_objects_has_no_figure() -> None:
    run = PlannedRun(start="a", fraction=1, draw=0, seed=0, folder="", result=result(None, 0))
    table = DetectionTable(dataset="kitti", detector="centre", runs=[run])
    assert "| Car" in str(table)
    assert "nan" not in str(table)
    assert run.result
    assert run.result.summary is None
    assert mean_row({"a": None, "b": 2.0, "c": 4.0}) == 3
    assert mean_row({"a": None}) is None
