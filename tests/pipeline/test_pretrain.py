"""Pre-training on a small store written frame by frame: resume, determinism, isolation, bad
numbers."""

import json
import multiprocessing
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clever.cache import FeatureCache
from clever.cache.sampling import sample_tokens
from clever.cache.store.layout import row_texts
from clever.cli.main import main
from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import DistillationBatch, PairedFrames
from clever.pipeline.steps.distillation import DistillationStep
from clever.pipeline.training.batches import FrameDraw
from clever.student.backbones.sparse import DownConv, SubmanifoldConv, UpConv
from clever.student.clouds.augment import Augmentation
from clever.student.draws import Draws
from clever.student.registry import build_student

from ..processes import start, team

WEIGHTS = ("student.safetensors", "head.safetensors", "occupancy.safetensors")


def toy_settings(cache: Path, out: Path, **changes: Any) -> PretrainSettings:
    values = {
        "cache": cache,
        "out": out,
        "student": "minkunet-tiny",
        "head_hidden": 16,
        "voxel_size": 0.5,
    }
    values |= {
        "epochs": 3,
        "batch_size": 3,
        "device": "cpu",
        "seed": 5,
        "rankme_every": 0,
        **changes,
    }
    return PretrainSettings.resolve(None, values)


def bits(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in WEIGHTS]


def records(folder: Path) -> list[dict[str, float]]:
    """The log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clock = ("frames_per_s", "data_wait", "memory_mb")
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


def test_the_loss_falls_and_the_result_says_what_was_done(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    result = pretrain(toy_settings(make_cache(), tmp_path / "run", epochs=15, lr=0.01, mix3d=0.5))
    assert result.losses.last["distillation"] < 0.8 * result.losses.first["distillation"]
    assert result.losses.last["occupancy"] < result.losses.first["occupancy"]
    log = records(tmp_path / "run")
    assert (result.steps, result.losses.window, len(log)) == (25, 2, 25)
    assert result.losses.first["loss"] == pytest.approx(np.mean([line["loss"] for line in log[:2]]))
    for line in log:
        parts = line["distillation"] + 0.05 * (line["occupancy"] + line["intensity"])
        assert line["loss"] == pytest.approx(parts, rel=1e-5)
    assert max(line["lr"] for line in log) == pytest.approx(0.01)
    assert log[0]["lr"] == pytest.approx(0.001)
    assert log[-1]["lr"] == pytest.approx(1e-5)
    assert (result.teachers, result.dataset, result.seed, result.frames) == (
        ["drawn at random"],
        "toy",
        5,
        5,
    )
    assert not (tmp_path / "run/state.safetensors").exists()


def test_a_run_says_at_once_what_is_to_come(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the first step; taken up again it also says what is done."""
    heads: list[str] = []
    forward = DistillationStep.forward

    def stop_at_third(step: DistillationStep, *arguments: Any) -> Any:
        heads.append(capsys.readouterr().err)
        if len(heads) == 3:
            raise Killed
        return forward(step, *arguments)

    monkeypatch.setattr(DistillationStep, "forward", stop_at_third)
    settings = toy_settings(make_cache(), tmp_path / "run", save_every=1)
    with pytest.raises(Killed):
        pretrain(settings)
    pretrain(settings)
    assert heads[0] == f"{tmp_path / 'run'}: 5 frames, 5 steps of 3, cpu\n"
    assert heads[3] == f"{tmp_path / 'run'}: 5 frames, 5 steps of 3, 2 done, cpu\n"


def test_every_epoch_sees_every_frame_once_in_another_order(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []
    keys: list[int] = []
    forward = DistillationStep.forward

    def spy(step: DistillationStep, batch: DistillationBatch, totals: Any) -> Any:
        ids.extend(batch.ids)
        keys.extend(batch.keys)
        return forward(step, batch, totals)

    monkeypatch.setattr(DistillationStep, "forward", spy)
    pretrain(toy_settings(make_cache(), tmp_path / "run"))
    epochs = [ids[start : start + 5] for start in range(0, 15, 5)]
    assert [sorted(epoch) for epoch in epochs] == [[f"frame-{number}" for number in range(5)]] * 3
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert len(set(keys)) == len(keys) == len(ids) == 15


def test_a_seed_decides_every_bit_and_workers_none(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    for name, seed, workers in (("a", 5, 0), ("b", 5, 1), ("c", 6, 0)):
        pretrain(toy_settings(cache, tmp_path / name, seed=seed, workers=workers))
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert records(tmp_path / "a")[0]["loss"] != records(tmp_path / "c")[0]["loss"]


class Killed(BaseException):
    """Ends a run on the spot, as a signal that cannot be caught would."""


@pytest.mark.parametrize(
    ("killed_at", "save_every", "student"),
    [
        (1, 1, "minkunet-tiny"),
        (2, None, "minkunet-tiny"),
        (3, 2, "minkunet-tiny"),
        (4, 2, "ptv3-tiny"),
        (4, None, "minkunet-tiny"),
        (5, 1, "minkunet-tiny"),
    ],
)
def test_killed_at_any_step_and_taken_up_again_equals_uninterrupted(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    save_every: int | None,
    student: str,
) -> None:
    cache, forward, steps = make_cache(), DistillationStep.forward, 0

    def kill(step: DistillationStep, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == killed_at:
            raise Killed
        return forward(step, *arguments)

    monkeypatch.setattr(DistillationStep, "forward", kill)
    with pytest.raises(Killed):
        pretrain(toy_settings(cache, tmp_path / "killed", save_every=save_every, student=student))
    monkeypatch.setattr(DistillationStep, "forward", forward)
    pretrain(toy_settings(cache, tmp_path / "killed", save_every=save_every, student=student))
    pretrain(toy_settings(cache, tmp_path / "whole", student=student))
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")
    assert bits(tmp_path / "killed/best") == bits(tmp_path / "whole/best")
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "last"), [(signal.SIGINT, 3), (signal.SIGTERM, 3), (signal.SIGINT, 5)]
)
def test_a_signal_lets_the_step_end_and_keeps_it(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    last: int,
) -> None:
    cache, forward, steps = make_cache(), DistillationStep.forward, 0

    def interrupt(step: DistillationStep, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == last:
            signal.raise_signal(number)
        return forward(step, *arguments)

    monkeypatch.setattr(DistillationStep, "forward", interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt,
        match=rf"stopped after step {last} of 5; the same command with `out=.*` goes on",
    ):
        pretrain(toy_settings(cache, tmp_path / "stopped", save_every=100))
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping after this step" in capsys.readouterr().err
    assert len(records(tmp_path / "stopped")) == last
    assert (tmp_path / "stopped/student.safetensors").exists()
    pretrain(toy_settings(cache, tmp_path / "stopped", save_every=100))
    assert steps == 5
    pretrain(toy_settings(cache, tmp_path / "whole"))
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")
    assert records(tmp_path / "stopped") == records(tmp_path / "whole")


def command(cache: Path, out: Path, *more: str) -> list[str]:
    return [
        "clever", "pretrain", "--cache", str(cache), "--out", str(out), "--student",
        "minkunet-tiny", "--device", "cpu",
        "--head-hidden", "16", "--voxel-size", "0.5", "--batch-size", "4", "--seed", "5",
        "--epochs", "8",
        "--rankme-every", "0", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_goes_on(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    """Killed in its ninth step, after the checkpoint of the sixth."""
    cache, out = make_cache(), tmp_path / "killed"
    script = (
        "import os, signal, sys\n"
        "from clever.cli.main import main\n"
        "from clever.pipeline.steps.distillation import DistillationStep\n"
        "forward, steps = DistillationStep.forward, []\n"
        "def kill(*given):\n"
        "    steps.append(1)\n"
        "    if len(steps) == 9:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return forward(*given)\n"
        "DistillationStep.forward = kill\n"
        "main()\n"
    )
    arguments = command(cache, out, "--save-every", "3", "--epochs", "12")[1:]
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not (out / "result.json").exists()
    assert 6 <= len(records(out)) < 9
    for name in ("killed", "whole"):
        pretrain(toy_settings(cache, tmp_path / name, epochs=12, batch_size=4))
    assert bits(out) == bits(tmp_path / "whole")
    assert [line["step"] for line in records(out)] == list(range(1, 16))


@pytest.mark.slow
def test_a_loader_process_that_dies_is_one_line(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, forward, steps = make_cache(), DistillationStep.forward, 0

    def kill_loader(step: DistillationStep, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            (loader,) = multiprocessing.active_children()
            loader.kill()
        return forward(step, *arguments)

    monkeypatch.setattr(DistillationStep, "forward", kill_loader)
    values = {"epochs": 12, "save_every": 2}
    with pytest.raises(CleverError) as failure:
        pretrain(toy_settings(cache, tmp_path / "run", workers=1, **values))
    # Its death is noticed by a signal, or first by the pipe to it.
    assert re.fullmatch(
        r"(DataLoader worker \(pid\(s\) \d+\) exited unexpectedly; if memory ran out use fewer "
        r"`workers` or a smaller `batch_size`|loader processes cannot start or be heard \(.*\); "
        r"use fewer `workers`); the same command with `out=.*/run` goes on from the last "
        r"checkpoint",
        str(failure.value),
    )
    monkeypatch.setattr(DistillationStep, "forward", forward)
    assert 2 <= len(records(tmp_path / "run")) < 20
    for name in ("run", "whole"):
        pretrain(toy_settings(cache, tmp_path / name, **values))
    assert bits(tmp_path / "run") == bits(tmp_path / "whole")
    assert records(tmp_path / "run") == records(tmp_path / "whole")


def test_a_frame_that_cannot_be_read_is_one_line_of_workers_too(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    (shard,) = (path for path in (cache / "points/xyzi/c").rglob("*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:-8])
    errors = []
    for workers in (0, 1):
        with pytest.raises(CleverError) as failure:
            pretrain(toy_settings(cache, tmp_path / f"run{workers}", workers=workers))
        errors.append(str(failure.value))
    assert errors[0] == errors[1]
    assert str(shard) in errors[0]
    assert "\n" not in errors[0]


@pytest.mark.slow
def test_few_file_handles_are_one_line(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    process = subprocess.run(
        ["bash", "-c", 'ulimit -n 64; exec "$@"', "-",
         *command(make_cache(), tmp_path / "run", "--workers", "2")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.splitlines()[1:] == [
        "error: 2 loader processes need 112 open files at once and this process may have 64; use "
        "fewer --workers, or raise the limit (ulimit -n)"
    ]


@pytest.mark.slow
def test_two_processes_do_what_one_does(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started as torchrun starts them; draws, losses, statistics and gradients are of the whole
    batch. The learning rate is small, so that rounding does not grow from step to step."""
    cache, rate = make_cache(), ("--lr", "3e-4")
    monkeypatch.setattr("sys.argv", command(cache, tmp_path / "one", *rate))
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 0
    output = tmp_path / "output"
    arguments = command(cache, tmp_path / "two", *rate)[1:]
    processes = [start(arguments, output, environment) for environment in team(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0], output.read_text()
    assert output.read_text().count("minkunet-tiny distilled") == 1
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert len(one) == len(two) == 10
    assert two[0]["grad_norm"] == pytest.approx(one[0]["grad_norm"], rel=1e-5)
    for ours, theirs in zip(two, one, strict=True):
        for name in ("loss", "distillation", "occupancy", "intensity"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    first = [load_file(tmp_path / name / "student.safetensors") for name in ("one", "two")]
    apart = torch.cat(
        [(first[0][name] - first[1][name]).abs().flatten().float() for name in first[0]]
    )
    assert apart.median() < 1e-5
    assert json.loads((tmp_path / "two/result.json").read_text())["processes"] == 2


def test_parts_of_a_step_add_up(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    """Losses and gradients of two parts are those of the whole where nothing is normalised over the
    batch."""
    cache = FeatureCache(make_cache(unpaired=(1,)))
    frames = PairedFrames([cache])
    settings = toy_settings(tmp_path, tmp_path, augmentation="none", mix3d=0)
    draws = [FrameDraw(number, 100 + number) for number in (0, 1, 2, 4)]
    results = []
    for parts in ([draws], [draws[:2], draws[2:]]):
        step = build_step(settings, [cache]).eval()
        batches = [DistillationBatch.collate([frames[draw] for draw in part]) for part in parts]
        counts = [step.counts(batch) for batch in batches]
        totals = {
            name: torch.tensor(float(sum(count[name] for count in counts))) for name in counts[0]
        }
        losses = [step(batch, totals) for batch in batches]
        torch.stack([loss["loss"] for loss in losses]).sum().backward()
        gradients = torch.cat([p.grad.flatten() for p in step.parameters() if p.grad is not None])
        results.append(
            ({name: sum(loss[name].item() for loss in losses) for name in losses[0]}, gradients)
        )
    (whole, gradients), (split, shared) = results
    assert split == pytest.approx(whole, rel=1e-6)
    torch.testing.assert_close(shared, gradients, atol=1e-7, rtol=1e-4)
    assert totals["distillation"] == 6
    with pytest.raises(
        CleverError, match=r"`batch_size=6` cannot be shared by 1 processes x 2 parts, in pairs for"
    ):
        pretrain(toy_settings(Path(cache.path), tmp_path / "run", batch_size=6, accumulate=2))


def test_a_finished_run_is_left_alone(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make_cache()
    first = pretrain(toy_settings(cache, tmp_path / "run"))
    before = bits(tmp_path / "run")
    assert pretrain(toy_settings(cache, tmp_path / "run")) == first
    assert "finished already" in capsys.readouterr().err
    assert bits(tmp_path / "run") == before


def test_another_run_at_out_is_an_error_with_the_differing_fields(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    pretrain(toy_settings(cache, tmp_path / "run"))
    with pytest.raises(CleverError, match=r"other settings \(lr: 0.001 -> 0.5, epochs: 3 -> 5\)"):
        pretrain(toy_settings(cache, tmp_path / "run", epochs=5, lr=0.5))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(CleverError, match="holds no run; choose another `out`"):
        pretrain(toy_settings(cache, tmp_path / "full"))


@pytest.mark.slow
def test_a_run_from_before_points_were_chosen_goes_on_with_all(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    assert pretrain(toy_settings(cache, tmp_path / "all", points="all")).points == "all"
    assert pretrain(toy_settings(cache, tmp_path / "voxel")).points == "voxel"
    assert records(tmp_path / "all")[0]["loss"] != records(tmp_path / "voxel")[0]["loss"]
    forward, steps = DistillationStep.forward, iter(range(2))

    def stop_at_third(step: DistillationStep, *arguments: Any) -> Any:
        if next(steps, None) is None:
            raise Killed
        return forward(step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationStep, "forward", stop_at_third)
        with pytest.raises(Killed):
            pretrain(toy_settings(cache, tmp_path / "old", points="all", save_every=1))
    settings_file = tmp_path / "old/settings.yaml"
    settings_file.write_text(settings_file.read_text().replace("points: all\n", ""))
    with pytest.raises(CleverError, match=r"other settings \(points: all -> voxel\); choose"):
        pretrain(toy_settings(cache, tmp_path / "old", points="voxel"))
    assert pretrain(toy_settings(cache, tmp_path / "old")).points == "all"
    assert bits(tmp_path / "old") == bits(tmp_path / "all")


def test_a_grown_cache_is_not_mixed_into_a_run(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    settings = toy_settings(cache, tmp_path / "run")
    forward, calls = DistillationStep.forward, 0

    def stop(step: DistillationStep, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return forward(step, *arguments)

    monkeypatch.setattr(DistillationStep, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings)

    def renamed(rows: np.ndarray) -> list[str]:
        return [f"other {text}" if text else "" for text in row_texts(rows)]

    monkeypatch.setattr("clever.cache.store.layout.row_texts", renamed)
    with pytest.raises(CleverError, match="read other frames than now"):
        pretrain(settings)


def test_a_store_that_moved_is_the_same(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make_cache()
    first = pretrain(toy_settings(cache, tmp_path / "run"))
    cache.rename(tmp_path / "moved.zarr")
    assert pretrain(toy_settings(tmp_path / "moved.zarr", tmp_path / "run")) == first
    assert "finished already" in capsys.readouterr().err


def test_the_train_split_is_used_where_the_cache_knows_splits(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache(splits=("train", "val", "train", "val", ""))
    result = pretrain(toy_settings(cache, tmp_path / "run", epochs=1))
    assert (result.frames, result.part) == (2, "split train, 2 of 5 frames")
    assert ", split train, 2 of 5 frames, " in str(result)
    assert "started from" not in str(result)
    meta = json.loads((tmp_path / "run/student.json").read_text())["meta"]
    assert (meta["dataset"], meta["scenes"]) == ("toy", ["scene-0", "scene-1"])


def test_a_setting_that_nothing_uses_is_named(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(toy_settings(make_cache(), tmp_path / "run", epochs=1, temperature=0.5))
    idle = "temperature changes nothing in this run: it takes a term with a temperature\n"
    assert idle in capsys.readouterr().err


def test_a_finished_run_is_a_start(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make_cache()
    pretrain(toy_settings(cache, tmp_path / "a"))
    changes = {"init": tmp_path / "a", "lr": 1e-12, "weight_decay": 0, "epochs": 1}
    result = pretrain(toy_settings(cache, tmp_path / "b", **changes))
    assert "student, occupancy, head of toy-3x5" in capsys.readouterr().err
    assert f"), started from {tmp_path / 'a'}, points " in str(result)
    assert ", recipe clever (voxel_size " in str(result)
    assert "lr 1e-12, weight_decay 0.0), started" in str(result)
    trained = {name for name, _ in build_student("minkunet-tiny", 0.5).named_parameters()}
    for name in WEIGHTS:
        before, after = (load_file(tmp_path / run / name) for run in "ab")
        for key in trained if name == WEIGHTS[0] else before:
            torch.testing.assert_close(after[key], before[key], rtol=1e-6, atol=1e-8)
    pretrain(toy_settings(cache, tmp_path / "c", **changes | {"head_hidden": 8}))
    assert "student, occupancy; new: head of toy-3x5" in capsys.readouterr().err
    with pytest.raises(CleverError, match=r"holds a minkunet-tiny with voxels of 0\.5 m, not a"):
        pretrain(toy_settings(cache, tmp_path / "d", **changes | {"voxel_size": 0.4}))
    with pytest.raises(CleverError, match=r"run in .* read other initial weights than now"):
        pretrain(toy_settings(cache, tmp_path / "b", **changes | {"init": tmp_path / "c"}))


@pytest.mark.slow
def test_the_form_of_a_ptv3_is_that_of_its_start(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, ptv3 = make_cache(), {"student": "ptv3-tiny", "epochs": 1}
    refreshed = {**ptv3, "ptv3_form": "refreshed"}
    pretrain(toy_settings(cache, tmp_path / "a", **refreshed, patch=32))
    with pytest.raises(CleverError, match="a holds the refreshed form of PTv3, another network"):
        pretrain(toy_settings(cache, tmp_path / "b", **ptv3, init=tmp_path / "a"))
    capsys.readouterr()
    pretrain(toy_settings(cache, tmp_path / "b", **refreshed, init=tmp_path / "a", patch=16))
    assert (
        ", patches of 16 voxels, not 32; optimiser and schedule begin anew\n"
        in capsys.readouterr().err
    )


def test_pretrain_needs_neither_dataset_nor_teacher_nor_images(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    script = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['nuscenes', 'timm', 'PIL', 'torchvision'])\n"
        "from clever.pipeline.pretrain import PretrainSettings, pretrain\n"
        f"values = dict(cache={str(cache)!r}, out={str(tmp_path / 'run')!r}, "
        "student='minkunet-tiny', epochs=1)\n"
        "values |= dict(head_hidden=8, voxel_size=0.5, device='cpu')\n"
        "print(pretrain(PretrainSettings.resolve(None, values)).steps)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (0, "1\n"), process.stderr


def test_nan_stops_with_the_frames_of_the_batch_and_keeps_the_checkpoint(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    settings = toy_settings(make_cache(broken=(3,)), tmp_path / "run", batch_size=1)
    with pytest.raises(CleverError, match=r"loss nan .* in frames frame-3;"):
        pretrain(settings)
    assert all(np.isfinite(line["loss"]) for line in records(tmp_path / "run"))


def test_frames_without_pairs_are_named_and_serve_occupancy(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = toy_settings(make_cache(unpaired=(1, 4)), tmp_path / "run", batch_size=1, epochs=1)
    result = pretrain(settings)
    assert result.unpaired == ["frame-1", "frame-4"]
    assert (
        "2 of 5 frames have no point that a camera sees: frame-1, frame-4"
        in capsys.readouterr().err
    )
    log = records(tmp_path / "run")
    assert sum("distillation" in line for line in log) == 3
    assert all("occupancy" in line for line in log)


def test_a_cache_without_pairs_is_refused(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"no point of the 5 frames .* nothing to distil"):
        pretrain(toy_settings(make_cache(unpaired=(0, 1, 2, 3, 4)), tmp_path / "run"))
    assert (
        pretrain(
            toy_settings(make_cache((4,), name="b.zarr"), tmp_path / "run2", limit=4, epochs=1)
        ).unpaired
        == []
    )


def test_losses_of_a_batch_are_those_of_its_frames(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    """Against a loop over frames and cameras: indices of points, views and image sizes are shifted
    rightly."""
    cache = FeatureCache(make_cache())
    settings = toy_settings(
        tmp_path, tmp_path, occupancy_weight=0, augmentation="none", mix3d=0, voxel_size=0.001
    )
    step = build_step(settings, [cache]).eval()
    frames = cache[0:3]
    paired = PairedFrames([cache])
    batch = DistillationBatch.collate([paired[number, 7] for number in range(3)])
    totals = {name: torch.tensor(float(count)) for name, count in step.counts(batch).items()}
    assert totals == {"distillation": 6, "frames": 3}
    with torch.no_grad():
        losses = step(batch, totals)
        features = step.student(
            batch.points
        )  # every point has a voxel of its own, so there is nothing to draw
        views, first = [], 0
        for frame in frames:
            own = features[first : first + len(frame.points)]
            first += len(frame.points)
            for camera in range(2):
                members = frame.pair_camera == camera
                target = sample_tokens(
                    frame.tokens,
                    frame.pair_camera[members],
                    frame.pair_uv[members],
                    frame.image_size,
                    None,
                )
                ours = torch.nn.functional.normalize(step.heads[0](own[frame.pair_point[members]]))
                views.append((ours - torch.nn.functional.normalize(target)).norm(dim=1).mean())
    torch.testing.assert_close(losses["loss"], torch.stack(views).mean())
    assert set(losses) == {"loss", "distillation"}


def test_queries_lie_on_the_rays_of_the_augmented_points(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    """Queries are made before clouds are turned, scaled and mixed, and follow them."""
    cache = FeatureCache(make_cache())
    step = build_step(toy_settings(tmp_path, tmp_path, mix3d=1), [cache])
    step.augmentation = Augmentation(rotate_p=1, jitter_sigma=0)
    batch = DistillationBatch.collate(
        [PairedFrames([cache])[number, number] for number in range(4)]
    )
    points, queries = step.clouds(batch.points, Draws(batch.points, batch.keys))
    assert points.size == 4
    assert queries is not None
    source = points.xyz[queries.source]
    place = source + queries.offset
    torch.testing.assert_close(
        torch.linalg.cross(source, place), torch.zeros_like(place), atol=1e-4, rtol=0
    )
    farther = (place * source).sum(1) > (source * source).sum(1)
    assert torch.equal(farther, queries.occupied)
    assert len(queries.source) == 3 * 4 * 25


def test_a_step_waits_for_the_device_where_the_number_of_voxels_is_needed(
    make_cache: Callable[..., Path], tmp_path: Path, host_reads: Callable[..., list[str]]
) -> None:
    """Twice while voxelising (extents and number of voxels), once for the voxels that cameras see;
    nowhere later."""
    pytest.importorskip("spconv.pytorch", exc_type=ImportError)
    cache = FeatureCache(make_cache())
    step = build_step(toy_settings(tmp_path, tmp_path), [cache])
    for module in step.modules():
        if isinstance(module, SubmanifoldConv | DownConv | UpConv):
            module.by_spconv = True  # as on a GPU
    batch = DistillationBatch.collate(
        [PairedFrames([cache])[number, number] for number in range(4)]
    )
    totals = {name: torch.tensor(float(count)) for name, count in step.counts(batch).items()}

    def train() -> None:
        step(batch, totals)["loss"].backward()

    assert host_reads(train, batch, step, totals) == ["tolist", "_unique2", "_unique2"]
