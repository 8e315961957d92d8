"""`clever benchmark corruptions`: what it times and writes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clever.errors import CleverError
from clever.pipeline.benchmarks.corruptions import benchmark_corruptions, corruptions_table
from clever.pipeline.settings.benchmarks.corruptions import BenchmarkCorruptionsSettings


def test_every_corruption_is_timed_in_every_round(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"08": 1}, points=1500, images=False)
    flags = {
        "dataset": "semantickitti",
        "data_root": root,
        "rounds": 2,
        "severities": "light",
        "out": tmp_path / "times.json",
    }
    speeds = benchmark_corruptions(BenchmarkCorruptionsSettings.resolve(None, flags))
    assert len(speeds) == 8
    assert {len(speed.seconds["rounds"]) for speed in speeds} == {2}
    assert all(speed.points == 1500 and speed.seconds["median"] > 0 for speed in speeds)
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert rows[0]["corruption"] == "fog light"
    assert rows[0]["strength"] == {"beta": 0.008}
    median = 1000 * speeds[0].seconds["median"]
    assert f"{median:.1f} [" in corruptions_table(speeds).splitlines()[2]
    (root / "sequences/08/labels/000000.label").unlink()
    bare = benchmark_corruptions(BenchmarkCorruptionsSettings.resolve(None, flags))
    assert [speed.dose.name for speed in bare if speed.dose.name == "incomplete_echo"] == []
    assert len(bare) == 7
    with pytest.raises(CleverError, match=r"`frame=1`: the dataset has 1 frame"):
        benchmark_corruptions(BenchmarkCorruptionsSettings.resolve(None, {**flags, "frame": 1}))
