"""`clever benchmark detection`: what it times and writes."""

import json
from pathlib import Path

import numpy as np

from clever.pipeline.benchmarks.detection import (
    _crowd,
    _polygons,
    benchmark_detection,
    detection_table,
)
from clever.pipeline.detection.overlap import bev_iou
from clever.pipeline.settings.benchmarks.detection import BenchmarkDetectionSettings


def test_both_sides_are_timed_in_every_round(tmp_path: Path) -> None:
    flags = {"boxes": 40, "proposals": 60, "rounds": 2, "out": tmp_path / "times.json"}
    settings = BenchmarkDetectionSettings.resolve(None, flags)
    sides = benchmark_detection(settings)
    assert [side.work for side in sides] == ["40 x 40 boxes"] * 3 + ["60 boxes"] * 3
    assert {len(side.seconds["rounds"]) for side in sides} == {2}
    ours, theirs = sides[0], sides[2]
    assert ours.ratio
    expected = theirs.seconds["rounds"][1] / ours.seconds["rounds"][1]
    np.testing.assert_allclose(ours.ratio["rounds"][1], expected)
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert rows[2]["name"] == "overlap from above, shapely"
    assert f"{ours.ratio['median']:.2f} [" in detection_table(sides).splitlines()[2]


def test_both_sides_compute_the_same() -> None:
    settings = BenchmarkDetectionSettings(boxes=200)
    boxes, others = _crowd(settings, 200, "first"), _crowd(settings, 200, "second")
    shared = _polygons(boxes.rows, others.rows)
    np.testing.assert_allclose(bev_iou(boxes, others), shared, atol=1e-9)
    assert (shared > 0).sum() > 500
