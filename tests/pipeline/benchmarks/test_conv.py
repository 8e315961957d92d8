"""`clever benchmark conv`: what it times, and what it makes of the times."""

import json
from pathlib import Path

import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.benchmarks import conv
from clever.pipeline.benchmarks.conv import ConvSpeed, benchmark_conv, conv_goals, conv_table
from clever.pipeline.benchmarks.durations import Duration
from clever.pipeline.settings.benchmarks.conv import BenchmarkConvSettings


def speed(student: str = "minkunet34") -> ConvSpeed:
    return ConvSpeed(
        student,
        0.05,
        ("spconv fp32", "clever fp32", "clever bf16"),
        [10, 30, 20],
        {
            "spconv fp32": [Duration(2.0, 3.0), Duration(4.0, 3.0), Duration(6.0, 3.0)],
            "clever fp32": [Duration(2.0, 2.0), Duration(2.0, 2.0), Duration(5.0, 2.0)],
            "clever bf16": [Duration(1.0, 1.0), Duration(2.0, 1.0), Duration(2.0, 1.0)],
        },
    )


def test_ratios_are_taken_round_by_round():
    ratio, core = speed().ratio("clever fp32"), speed().ratio("clever fp32", core=True)
    assert ratio is not None
    assert core is not None
    assert ratio["rounds"] == [1.0, 2.0, 1.2]
    assert ratio["median"] == 1.2
    assert core["median"] == 1.5
    assert conv_goals([speed()]) == [
        "goal minkunet34, clever fp32 >= 1.1 times spconv: met, 1.20",
        "goal minkunet34, clever bf16 >= 2.3 times spconv: missed, 2.00",
    ]
    assert conv_goals([speed("minkunet18")]) == []
    row = conv_table([speed()]).splitlines()[3]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "minkunet34 at 0.05 m", "20", "clever fp32", "2.000", "1.20 [1.10-1.60]", "1.50 [1.50-1.50]"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False])
def test_every_side_gets_the_same_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
):
    if installed:
        pytest.importorskip("spconv.pytorch", exc_type=ImportError)
    else:
        monkeypatch.setattr(conv, "find_spec", lambda _: None)
    cloud = torch.rand(400, 4, generator=torch.Generator().manual_seed(0)) * 20
    monkeypatch.setattr(conv, "_cloud", lambda _: cloud)
    settings = BenchmarkConvSettings.resolve(
        None,
        {"students": ["minkunet-tiny"], "voxel_size": 0.5, "rounds": 2, "out": tmp_path / "a.json"},
    )
    (measured,) = benchmark_conv(settings)
    assert measured.sides == (("spconv fp32",) if installed else ()) + (
        "clever fp32",
        "clever bf16",
    )
    assert [len(runs) for runs in measured.durations.values()] == [2] * len(measured.sides)
    first, second = measured.voxels
    assert first != second
    assert (measured.ratio("clever bf16") is None) == (not installed)
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["students"][0]["voxels"] == measured.voxels
    assert ("spconv fp32" in report["students"][0]["sides"]) == installed
    assert "clever bf16" in conv_table([measured])


def test_unknown_student_and_frame(tmp_path: Path, nuscenes_root: Path):
    flags = {"data_root": nuscenes_root, "version": "v1.0-mini", "out": tmp_path / "a.json"}
    with pytest.raises(CleverError, match="unknown student minkunet35"):
        benchmark_conv(BenchmarkConvSettings.resolve(None, flags | {"students": ["minkunet35"]}))
    with pytest.raises(CleverError, match="there is no frame 99; choose another `frame`"):
        benchmark_conv(BenchmarkConvSettings.resolve(None, flags | {"frame": 99}))
