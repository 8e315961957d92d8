"""`clever cache-teacher`: what it prints and how it leaves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clever.cache.fidelity import Fidelity
from clever.cache.store.records.models import Fingerprint, SweepInfo, TeacherInfo
from clever.cli import cache_teacher
from clever.cli.main import build_app
from clever.pipeline.cache_teacher import CacheSummary, LayerResult
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.cache_sweeps import SweepResult

INFO = TeacherInfo(
    "vits14-f00d",
    "vits14",
    "random:0 (untrained)",
    (2, 4),
    8,
    "int8-zstd",
    "grid",
    Fingerprint(model="vits14"),
)
GOOD = replace(Fidelity.none(), tokens=1000, cosine_sum=999.5)
POOR = replace(GOOD, cosine_sum=998.0)
SUMMARY = CacheSummary(
    Path("x.zarr"),
    [LayerResult(INFO, GOOD)],
    requested=100,
    attempted=90,
    written=90,
    failed=[],
    unseen=0,
    seconds=45.0,
    images=540,
)


@pytest.fixture
def call(write_kitti: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Runs the command on a drive of four frames."""
    root = write_kitti({"00": 4}, points=50)
    app = build_app("cache-teacher")
    flags = [
        "--dataset",
        "semantickitti",
        "--data-root",
        str(root),
        "--cache",
        str(tmp_path / "x.zarr"),
    ]
    flags += [
        "--model",
        "resnet10t",
        "--weights",
        "random:0",
        "--image-size",
        "32x64",
        "--device",
        "cpu",
    ]
    return lambda *more: CliRunner().invoke(app, ["cache-teacher", *flags, *more])


def test_a_run_and_the_same_again(call: Callable[..., Any]) -> None:
    first = call()
    assert first.exit_code == 0
    assert "x.zarr: 4 frames, 4 images in " in first.stdout
    assert "random:0 (untrained)" in first.stdout
    again = call()
    assert again.exit_code == 0
    assert again.stdout.startswith("nothing to do: ")
    assert "is complete for these 4 frames" in again.stdout
    plan = call("--plan")
    assert plan.exit_code == 0
    assert plan.stdout.startswith("nothing to do: ")


def test_bad_frames_leave_with_their_own_code(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "kitti/sequences/00/image_2/000002.png").write_bytes(b"no image")
    for _ in range(2):
        result = call()
        assert result.exit_code == 3
        assert "skipped 00/000002: " in result.stdout
        assert "1 of 4 frames skipped; repair them and add --retry-failed" in result.stdout
    strict = call("--strict", "--codec", "fp16")
    assert strict.exit_code == 2
    assert strict.stderr.startswith("error: frame 00/000002: ")


def test_a_plan_stores_nothing(call: Callable[..., Any], tmp_path: Path) -> None:
    result = call("--plan")
    assert result.exit_code == 0
    assert "  images    4 in 4 frames (4 asked for)" in result.stdout
    assert not list(tmp_path.glob("*x.zarr*"))


def test_skipped_sweeps_leave_with_the_code_of_bad_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweeps = SweepResult(SweepInfo.of(2, False), 3, 6, 600, 4, [("frame-1", "no file")], 9600)
    settings = CacheTeacherSettings(data_root=Path())
    assert cache_teacher.print_result(settings, SUMMARY) == 0
    assert cache_teacher.print_result(settings, replace(SUMMARY, sweeps=sweeps)) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "skipped frame-1 [sweeps/2]: no file",
        "sweeps/2: 1 of 4 frames skipped; repair them and add --retry-failed",
    ]


def test_many_skipped_frames_are_listed_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    failed = [(f"frame-{number}", "no image") for number in range(25)]
    cache_teacher.print_summary(replace(SUMMARY, failed=failed))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "x.zarr: 90 frames, 540 images in 45.0 s (12.00 images/s)"
    assert lines[2] == "skipped frame-0: no image"
    assert lines[-2] == "skipped 5 more: `clever cache info x.zarr` lists them"
    assert lines[-1] == "25 of 100 frames skipped; repair them and add --retry-failed"
    # In Python the result says the same, settings by their own names.
    own = str(replace(SUMMARY, failed=failed)).splitlines()
    assert own[:-1] == lines[:-1]
    assert own[-1] == "25 of 100 frames skipped; repair them and add `retry_failed=yes`"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        (
            {"unseen": 3},
            "warning: 3 of 100 frames have no point that a camera sees: stored, no pairs",
        ),
        (
            {"layers": [SUMMARY.layers[0], replace(SUMMARY.layers[0], fidelity=POOR)]},
            "warning: features of vits14-f00d stored as int8-zstd have a mean cosine of 0.99800 to "
            "their originals, below 0.999; take another --codec (fp16 is closest)",
        ),
    ],
)
def test_warnings(capsys: pytest.CaptureFixture[str], change: dict[str, Any], text: str) -> None:
    cache_teacher.print_summary(replace(SUMMARY, **change))
    assert capsys.readouterr().err.strip() == text


def test_several_layers_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [
        LayerResult(replace(INFO, fingerprint=Fingerprint(model="x", layer=name)), GOOD)
        for name in ("pre-norm", "block:4")
    ]
    cache_teacher.print_summary(replace(SUMMARY, layers=layers))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "teacher vits14-f00d (pre-norm): random:0 (untrained)"
    assert lines[2] == "teacher vits14-f00d (block:4): random:0 (untrained)"
    cache_teacher.print_summary(SUMMARY)
    assert "teacher vits14-f00d: random:0 (untrained)" in capsys.readouterr().out
