"""Sides of `clever benchmark step` do the same work on the same voxels, and its figures add up; no
timing is tested."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clever.cache import FeatureCache
from clever.cache.projection import project
from clever.cache.store.files.local import forget_shards
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.benchmarks.durations import Duration
from clever.pipeline.benchmarks.own_process import in_own_process
from clever.pipeline.benchmarks.random_frames import RandomSweeps
from clever.pipeline.benchmarks.random_store import write_random_store
from clever.pipeline.benchmarks.step import _others, benchmark_step, peak_of_pass
from clever.pipeline.benchmarks.step_parts import (
    ALL_PARTS,
    STEP,
    Event,
    StepProfile,
    analyse,
    profile_step,
)
from clever.pipeline.benchmarks.step_report import (
    AS_IT_IS,
    Memory,
    Round,
    StudentSpeed,
    WholeStep,
    step_tables,
)
from clever.pipeline.benchmarks.step_sides import Sides
from clever.pipeline.drives import LidarModel
from clever.pipeline.settings.benchmarks.step import BenchmarkStepSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.distillation import PARTS
from clever.pipeline.training.log import read_log

CPU = torch.device("cpu")


def toy(cache: Path, **changes: Any) -> PretrainSettings:
    values = {
        "cache": cache,
        "student": "minkunet-tiny",
        "head_hidden": 16,
        "voxel_size": 0.5,
        "batch_size": 4,
    }
    return PretrainSettings.resolve(
        None, {**values, "device": "cpu", "mix3d": 1.0, "seed": 3, **changes}
    )


@pytest.fixture
def make_sides(make_cache: Callable[..., Path], tmp_path: Path) -> Callable[..., Sides]:
    def make(steps: int = 8, second: bool = False, **changes: Any) -> Sides:
        teacher = {"teacher": ("toy-3x5", "other-2x2")} if second else {}
        return Sides(
            toy(make_cache(second=second), **teacher, **changes), CPU, tmp_path / "run", steps
        )

    return make


@pytest.mark.parametrize("student", ["minkunet-tiny", "ptv3-tiny"])
def test_all_sides_run_the_backbone_on_the_same_voxels(
    make_sides: Callable[..., Sides], student: str
) -> None:
    sides = make_sides(student=student)
    passes: list[tuple[Any, ...]] = []
    sides.backbone.register_forward_hook(
        lambda _, inputs, out: passes.append((*inputs, out.detach().clone()))
    )
    with sides.by_hand():
        batch = sides.batch(0)
        prepared = sides.prepare(batch)
        for side in ("bare", "network", "full"):  # the last one changes the weights
            sides.of(side, batch, prepared)()
    assert len(passes) == 3
    inputs, voxels, _, features = passes[-1]
    assert len(voxels.coords) > 50
    for other in passes[:-1]:
        assert torch.equal(other[0], inputs)
        assert torch.equal(other[1].coords, voxels.coords)
        assert torch.equal(other[3], features)


@pytest.mark.parametrize(
    "changes",
    [{"second": True, "occupancy": "also"}, {"student": "ptv3-tiny", "precision": "bf16"}],
)
def test_the_network_has_the_loss_of_the_step(
    make_sides: Callable[..., Sides], changes: dict[str, Any]
) -> None:
    sides = make_sides(**changes)
    with sides.by_hand():
        batch = sides.batch(0)
        totals = {
            name: torch.tensor(float(count)) for name, count in sides.step.counts(batch).items()
        }
        with sides.fit.stepper.accelerator.autocast():
            loss = sides.step.losses(sides.prepare(batch), totals)["loss"].item()
        sides.of("full", batch, None)()
    assert read_log(sides.fit.run.folder)[0]["loss"] == pytest.approx(loss, rel=1e-6)


def test_steps_with_other_settings_are_those_of_runs_of_their_own(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    """Made in one process before the run beside which they are timed, precisions mixed."""
    cache = make_cache()
    changes: dict[str, dict[str, Any]] = {"all": {"points": "all"}, "half": {"precision": "bf16"}}
    together = {
        name: Sides(toy(cache, **change), CPU, tmp_path / f"beside-{name}", 3)
        for name, change in {**changes, "plain": {}}.items()
    }
    alone = {
        name: Sides(toy(cache, **change), CPU, tmp_path / name, 3)
        for name, change in changes.items()
    }
    logs = {}
    for sides in (*together.values(), *alone.values()):
        with sides.by_hand():
            sides.of("full", sides.batch(1), None)()
        logs[sides.fit.run.folder.name] = read_log(sides.fit.run.folder)[0]
    losses = {name: log["loss"] for name, log in logs.items()}
    assert losses["beside-all"] == losses["all"] != losses["beside-plain"]
    assert losses["beside-half"] == losses["half"] != losses["beside-plain"]
    assert losses["half"] == pytest.approx(losses["beside-plain"], rel=0.02)
    frames = [together[name].batch(1) for name in ("plain", "all")]
    assert frames[0].ids == frames[1].ids
    assert frames[0].keys == frames[1].keys
    assert sum(frames[0].view_pairs) < sum(frames[1].view_pairs)


def test_backward_passes_are_whole_and_leave_nothing(make_sides: Callable[..., Sides]) -> None:
    sides = make_sides()
    touched: dict[str, int] = {}
    parameters = dict(sides.step.named_parameters())
    for name, parameter in parameters.items():
        parameter.register_post_accumulate_grad_hook(
            lambda _, name=name: touched.__setitem__(name, touched.get(name, 0) + 1)
        )
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with sides.by_hand():
        batch = sides.batch(0)
        prepared = sides.prepare(batch)
        sides.of("bare", batch, prepared, count=2)()
        assert touched == {name: 2 for name in parameters if name.startswith("student.backbone.")}
        sides.of("network", batch, prepared)()
        assert touched == {
            name: 3 if name.startswith("student.backbone.") else 1 for name in parameters
        }
        assert all(parameter.grad is None for parameter in parameters.values())
        assert all(torch.equal(parameter, before[name]) for name, parameter in parameters.items())
        sides.of("full", batch, prepared, count=3)()
        assert all(touched[name] >= 4 for name in parameters)
        assert not any(
            torch.equal(parameter, before[name]) for name, parameter in parameters.items()
        )
    assert [record["step"] for record in read_log(sides.fit.run.folder)] == [1, 2, 3]


def test_steps_by_hand_and_the_loop_are_one_run(make_sides: Callable[..., Sides]) -> None:
    sides = make_sides(steps=7)
    with sides.by_hand():
        sides.of("full", sides.batch(0), None, count=2)()
    waits = sides.loop()
    log = read_log(sides.fit.run.folder)
    assert [record["step"] for record in log] == [1, 2, 3, 4, 5, 6, 7]
    assert waits == [record["data_wait"] for record in log[3:]]
    assert all(0 < wait < 1 for wait in waits)
    draws = [draw for number in range(7) for draw in sides.fit.order.batch(number)]
    assert len({draw.frame for draw in draws}) == len({draw.key for draw in draws}) == 28


def test_every_part_is_found_and_they_add_up(make_sides: Callable[..., Sides]) -> None:
    sides = make_sides(second=True)
    with sides.by_hand():
        batch = sides.batch(0)
        sides.of("full", batch, None)()
        reports = []
        profile = profile_step(lambda: reports.append(sides.train_on(batch)), CPU)
        sides.read(reports[0])
    assert tuple(profile.parts) == ALL_PARTS
    assert set(PARTS) < set(ALL_PARTS)
    assert min(profile.parts.values()) > 0
    assert sum(profile.parts.values()) == pytest.approx(profile.seconds)
    assert profile.waits is None


def host_events() -> list[Event]:
    """A step of 100 microseconds, with something before and after it."""
    named = [(name, 10 + 5 * number, 14 + 5 * number) for number, name in enumerate(PARTS)]
    named += [("gather", 40, 41), ("autograd::engine::evaluate_function: A", 50, 60)]
    named += [
        ("autograd::engine::evaluate_function: B", 58, 70),
        ("aten::mul", 51, 52),
        ("aten::mul", 72, 73),
    ]
    named += [
        ("Optimizer.step#AdamW.step", 75, 85),
        ("Optimizer.zero_grad#AdamW.zero_grad", 86, 88),
    ]
    return [
        Event("before", -9, -1),
        Event(STEP, 0, 100),
        *(Event(*each) for each in named),
        Event("after", 101, 109),
    ]


def test_parts_on_the_clock() -> None:
    profile = analyse(host_events(), cuda=False)
    expected = dict.fromkeys(PARTS, 4.0) | {
        "gather": 5.0,
        "batch to device": 10.0,
        "backward": 20.0,
    }
    expected |= {"gradient norm": 5.0, "optimiser": 12.0, "everything else": 28.0}
    assert {name: 1e6 * seconds for name, seconds in profile.parts.items()} == pytest.approx(
        expected
    )
    assert profile.seconds == pytest.approx(100e-6)


def test_parts_on_a_gpu_go_by_the_moment_of_their_launch() -> None:
    launched = {
        "voxelise": 16,
        "backward": 65,
        "optimiser": 80,
        "everything else": 95,
        "outside": 105,
    }
    calls = [
        Event("cudaLaunchKernel", at, at + 0.5, number=number)
        for number, at in enumerate(launched.values())
    ]
    kernels = [
        Event("kernel", 200 + 10 * number, 203 + 11 * number, True, number)
        for number in range(len(launched))
    ]
    waits = [
        Event("cudaStreamSynchronize", 17, 18, number=20),
        Event("cudaStreamSynchronize", 66, 67, number=21),
    ]
    waits += [
        Event("cudaMemcpyAsync", 17.2, 17.4, number=22),
        Event("cudaDeviceSynchronize", 104, 105, number=23),
    ]
    waits += [
        Event("Memcpy DtoH (Device -> Pageable)", 260, 261, True, 22),
        Event("lost", 0, 50, True, 99),
    ]
    profile = analyse([*host_events(), *calls, *kernels, *waits], cuda=True)
    expected = dict.fromkeys(ALL_PARTS, 0.0) | {"voxelise": 4.0, "backward": 4.0, "optimiser": 5.0}
    expected |= {"everything else": 6.0}
    assert {name: 1e6 * seconds for name, seconds in profile.parts.items()} == pytest.approx(
        expected
    )
    assert profile.seconds == pytest.approx(19e-6)
    assert profile.waits == {
        "voxelise: cudaStreamSynchronize": 1,
        "voxelise: Memcpy DtoH (Device -> Pageable)": 1,
        "backward: cudaStreamSynchronize": 1,
    }


def speed(
    full: list[float], waits: list[float], student: str = "a", device: str = "cpu"
) -> StudentSpeed:
    rounds = [
        Round(
            100 * number,
            50 * number,
            7,
            12,
            {
                "full": Duration(seconds, 3.0),
                "network": Duration(2.0, 2.0),
                "bare": Duration(1.0, 1.5),
            },
            {"big": Duration(8.0, 8.0)},
            {
                AS_IT_IS: WholeStep(9, 7, Duration(0.5, 0.5), Duration(seconds, 3.0)),
                "precision=bf16": WholeStep(12, 8, Duration(0.25, 0.5), Duration(2.0, 1.5)),
            },
        )
        for number, seconds in enumerate(full, 1)
    ]
    parts = dict.fromkeys(ALL_PARTS, 0.0) | {"student": 0.3, "backward": 0.7}
    memory = [Memory("full", False, 3_000_000_000), Memory("full", True, 2_000_000)]
    profile = StepProfile(
        1.0, parts, {"voxelise: cudaStreamSynchronize": 3} if device == "cuda" else None
    )
    return StudentSpeed(student, device, "fp32", 2, False, rounds, [profile], waits, memory)


def test_ratios_are_of_the_same_round() -> None:
    slow = speed([2.0, 4.0, 8.0], [0.02, 0.04])
    assert slow.ratio("full", "bare") == {"median": 4, "low": 3, "high": 6, "rounds": [2, 4, 8]}
    assert slow.ratio("full", "network")["rounds"] == [1, 2, 4]
    assert slow.ratio("full", "bare", cores=True)["rounds"] == [2, 2, 2]
    assert slow.in_the_loop("big")["rounds"] == [5, 3, 2]
    assert slow.times_as_fast("precision=bf16")["rounds"] == [1, 2, 4]
    assert slow.times_as_fast("precision=bf16", cores=True)["rounds"] == [2, 2, 2]
    assert slow.waiting == pytest.approx(0.03)
    report = json.loads(json.dumps(slow.to_json()))
    assert report["full_over_bare"]["median"] == 4
    assert report["seconds"]["full"]["rounds"] == [2, 4, 8]
    assert report["core_seconds"]["bare"]["median"] == 1.5
    assert report["batches"] == {
        "points": [100, 200, 300],
        "voxels": [50, 100, 150],
        "pairs": [7] * 3,
        "images": [12] * 3,
    }
    assert report["teachers"]["big"]["in_the_loop"]["median"] == 3
    other = report["whole"]["precision=bf16"]
    assert (other["points"], other["pairs"], other["loading"]["median"]) == (
        [12] * 3,
        [8] * 3,
        0.25,
    )
    assert (other["seconds"]["median"], other["times_as_fast"]["median"]) == (2, 2)
    assert report["memory"][1] == {
        "side": "full",
        "recompute": True,
        "peak": 2_000_000,
        "recipe": "",
    }
    assert report["data_wait"]["steps"] == [0.02, 0.04]


def test_tables_and_goals() -> None:
    slow, quick = speed([2.0, 4.0, 8.0], [0.01]), speed([1.05] * 3, [0.0099], "b", "cuda")
    text = step_tables([slow, quick])
    lines = text.splitlines()
    assert "cpu, fp32, 2 frames a step, 3 rounds" in lines
    assert "goal full <= 1.05 of network: missed, 2.000 (a)" in lines
    assert "goal full <= 1.05 of bare: missed, 4.000 (a)" in lines
    assert "goal full <= 1.05 of bare: met, 1.050 (b)" in lines
    assert "goal waiting for data < 1%: missed, 1.00% (a)" in lines
    assert "goal waiting for data < 1%: met, 0.99% (b)" in lines
    assert "host waits for the device in a step (a): not measured on a CPU" in lines
    assert "host waits for the device in a step (b): voxelise: cudaStreamSynchronize x 3" in lines
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for line in lines
        if len(cells := line.split("|")) > 2
    }
    assert rows["a"][:6] == [
        "200",
        "100",
        "7",
        "4000 [3000-6000]",
        "2000 [2000-2000]",
        "1000 [1000-1000]",
    ]
    assert rows["a"][6:] == ["4.000 [3.000-6.000]", "2.000 [1.500-3.000]", "2.000 / 1.500"]
    assert rows[AS_IT_IS][:4] == ["b", "9", "7", "500 [500-500]"]
    assert rows["precision=bf16"][:3] == ["b", "12", "8"]
    assert rows["precision=bf16"][5:] == ["0.53 [0.53-0.53]", "2.00 [2.00-2.00]"]
    assert "goal whole step" not in text
    named = step_tables([replace(slow, student="minkunet34")])
    line = "goal whole step with precision=bf16 >= 2.5 times as fast: missed, 2.00 (minkunet34)"
    assert line in named.splitlines()
    assert rows["backward"] == ["70.0% (700.0 ms)"] * 2
    assert rows["full"] == ["3,000"] * 2
    assert rows["full, recompute"] == ["2"] * 2
    assert rows["big"][0] == "3.00 [2.50-4.00] (8,000 ms)"


TINY = {
    "students": "minkunet-tiny",
    "frames": 2,
    "cameras": 2,
    "grid": "2x3",
    "channels": 8,
    "points": 320,
}
TINY |= {"voxel_size": 0.5, "rounds": 2, "loader_steps": 2, "profiled": 1, "device": "cpu"}


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    app, out = build_app("benchmark"), tmp_path / "step.json"
    flags = {**TINY, "teachers": "test_vit", "image_size": "32x64", "out": out}
    arguments = [
        text
        for name, value in flags.items()
        for text in ("--" + name.replace("_", "-"), str(value))
    ]
    result = CliRunner().invoke(app, ["benchmark", "step", *arguments, "--no-memory"])
    forget_shards()
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    (student,) = report["students"]
    assert report["settings"]["points"] == 320
    assert (student["student"], student["batch_size"], student["memory"]) == (
        "minkunet-tiny",
        2,
        [],
    )
    assert student["batches"]["images"] == [4, 4]
    assert all(
        0 < voxels <= points
        for voxels, points in zip(*list(student["batches"].values())[1::-1], strict=True)
    )
    for side in ("full", "network", "bare"):
        assert len(student["seconds"][side]["rounds"]) == 2
    full, bare = (student["seconds"][side]["rounds"] for side in ("full", "bare"))
    assert student["full_over_bare"]["rounds"] == [a / b for a, b in zip(full, bare, strict=True)]
    teacher = student["teachers"]["test_vit"]
    together = [(a + b) / b for a, b in zip(teacher["seconds"]["rounds"], full, strict=True)]
    assert teacher["in_the_loop"]["rounds"] == pytest.approx(together)
    assert len(student["data_wait"]["steps"]) == 2
    whole = student["whole"]
    assert list(whole) == ["as above", "points=all", "precision=bf16"]
    assert whole["as above"]["seconds"]["rounds"] == full
    assert whole["as above"]["points"] == student["batches"]["points"]
    assert whole["precision=bf16"]["pairs"] == whole["as above"]["pairs"]
    for few, all_pairs in zip(
        whole["as above"]["pairs"], whole["points=all"]["pairs"], strict=True
    ):
        assert few < all_pairs
    for name in (
        "| minkunet-tiny |",
        "| backward ",
        "| test_vit ",
        "goal full <= 1.05 of bare: ",
        "goal waiting for data",
    ):
        assert name in result.output


def test_a_given_store_and_no_teachers(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    flags = {
        "cache": make_cache(second=True),
        "teacher": "other",
        "students": "minkunet-tiny",
        "teachers": "none",
        "against": "none",
    }
    flags |= {
        "voxel_size": 0.5,
        "rounds": 1,
        "warmup": 1,
        "loader_steps": 1,
        "profiled": 0,
        "memory": False,
    }
    settings = BenchmarkStepSettings.resolve(
        None, {**flags, "device": "cpu", "out": tmp_path / "step.json"}
    )
    (student,) = benchmark_step(settings)
    assert (student.teachers, student.profiles, student.batch_size, len(student.rounds)) == (
        [],
        [],
        2,
        1,
    )
    text = step_tables([student])
    assert "in_the_loop" not in text
    assert "part of the step" not in text
    assert "whole step" not in text


def test_regions_are_those_of_the_run() -> None:
    plain, own = BenchmarkStepSettings(), BenchmarkStepSettings(regions="sam")
    for settings, regions in ((plain, None), (own, "sam")):
        job = settings.job("x.zarr", "minkunet-tiny", "cpu", False, {"recipe": "slidr"})
        assert job.regions == regions


def test_an_unknown_student_is_told_first(tmp_path: Path) -> None:
    settings = BenchmarkStepSettings(
        students=("minkunet-tiny", "nobody"), out=tmp_path / "step.json"
    )
    with pytest.raises(CleverError, match="unknown student nobody; known: minkunet34"):
        benchmark_step(settings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("points", "`against`: points is not of the form name=value"),
        ("points=some", "`against`, points=some: `points` is 'some': should be 'voxel' or 'all'"),
        ("pionts=all", "unknown setting `pionts`"),
    ],
)
def test_another_setting_that_does_not_exist_is_told_first(
    tmp_path: Path, words: str, message: str
) -> None:
    settings = BenchmarkStepSettings(against=(words,), out=tmp_path / "step.json")
    with pytest.raises(CleverError, match=re.escape(message)):
        benchmark_step(settings)


def test_a_match_of_several_layers_is_compared_without_the_teacher_s_name() -> None:
    words = "match=a=last;b=last-1:2"
    settings = BenchmarkStepSettings(against=(words,), teacher="a")
    changes = _others(settings, "cpu")
    assert changes == {words: {"match": "a=last,b=last-1:2"}}
    job = settings.job("store", "minkunet-tiny", "cpu", False, changes[words])
    assert (job.match, job.teacher) == (("a=last", "b=last-1:2"), None)
    assert settings.job("store", "minkunet-tiny", "cpu", False).teacher == ("a",)


def test_settings_that_change_nothing_or_are_slow_here_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = BenchmarkStepSettings(out=tmp_path / "step.json", precision="bf16")
    assert _others(settings, "cuda") == {"points=all": {"points": "all"}}
    info = tmp_path / "cpuinfo"
    info.write_text("flags : fpu avx2\n")
    monkeypatch.setattr("clever.pipeline.process.device.CPU_INFO", info)
    plain = BenchmarkStepSettings(out=tmp_path / "step.json")
    assert list(_others(plain, "cpu")) == ["points=all"]
    assert capsys.readouterr().err.startswith("precision=bf16 is left out: ")
    assert list(_others(plain, "cuda")) == ["points=all", "precision=bf16"]


@pytest.mark.slow
@pytest.mark.parametrize("side", ["full", "bare"])
def test_memory_of_a_pass(make_cache: Callable[..., Path], side: Any) -> None:
    """In a process of its own, which holds no freed memory of other tests."""
    peak = in_own_process(side, "wait", peak_of_pass, toy(make_cache()), side)
    assert 2**20 < peak < 2**30


def test_sweeps_are_those_of_a_spinning_lidar() -> None:
    frames = RandomSweeps(cameras=3, grid=(2, 3), channels=4, points=32 * 180, seed=2)
    frame, pairs = frames.frame(1)
    x, y, z, intensity = frame.points.T.astype(np.float64)
    assert frame.points.dtype == np.float32
    assert 0.5 * frames.points < len(x) <= frames.points
    assert 0 <= intensity.min() < intensity.max() <= 1
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    off = np.abs(elevation[:, None] - LidarModel(180).elevations).min(axis=1)
    assert off.max() < 1e-3
    # Surfaces, not a ball: a third of the points or more lie on the road, 1.84 m below the sensor.
    assert np.mean(np.abs(z + 1.84) < 0.4) > 0.3
    assert (
        frames.names
        == tuple(camera.name for camera in frame.cameras)
        == ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT")
    )
    for camera, first, last in zip(frame.cameras, pairs.offsets, pairs.offsets[1:], strict=False):
        assert last - first > 100
        uv, depth = project(frame.points[pairs.point[first:last], :3], camera)
        np.testing.assert_allclose(uv, pairs.uv[first:last], atol=1e-6)
        assert depth.min() > 1
    again, other = frames.frame(1)[0], frames.frame(2)[0]
    assert again.points.tobytes() == frame.points.tobytes() != other.points.tobytes()


def test_a_store_of_sweeps(tmp_path: Path) -> None:
    frames = RandomSweeps(cameras=2, grid=(2, 3), channels=4, points=640, seed=2)
    write_random_store(tmp_path / "s.zarr", frames, 2, ("int8",))
    frame = FeatureCache(tmp_path / "s.zarr")[1]
    assert torch.equal(frame.points, torch.from_numpy(frames.frame(1)[0].points))
    forget_shards()
