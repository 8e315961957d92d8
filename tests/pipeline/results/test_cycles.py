"""A finished run that is asked for more passes: one more cycle, whatever stops it on the way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.result import PretrainResult
from clever.pipeline.results.cycles import Cycle, cycle_words
from clever.pipeline.results.run_folder import Run, read_result
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import DistillationBatch
from clever.pipeline.steps.distillation import DistillationStep
from clever.pipeline.training.state import TrainingState

WEIGHTS = ("student.safetensors", "head.safetensors", "occupancy.safetensors")
CLOCK = ("frames_per_s", "data_wait", "memory_mb")
MakeCache = Callable[..., Path]


class Killed(BaseException):
    """Ends a run on the spot, as a signal that cannot be caught would."""


def settings(cache: Path, out: Path, epochs: int, **changes: Any) -> PretrainSettings:
    """Five frames in batches of three."""
    values = {"cache": cache, "out": out, "student": "minkunet-tiny", "head_hidden": 16}
    values |= {"voxel_size": 0.5, "batch_size": 3, "device": "cpu", "rankme_every": 0}
    return PretrainSettings.resolve(None, {**values, "epochs": epochs, **changes})


def bits(folder: Path) -> list[bytes]:
    return [(folder / part / name).read_bytes() for part in ("", "best") for name in WEIGHTS]


def log(folder: Path) -> list[dict[str, float]]:
    """Without what depends on the clock."""
    records = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [{name: record[name] for name in record if name not in CLOCK} for record in records]


def test_lengths_and_words_of_cycles() -> None:
    assert (Cycle().lengths(50), Cycle().passes_before) == ([50], 0)
    twice = Cycle((50, 80))
    assert (twice.lengths(100), twice.passes_before) == ([50, 30, 20], 80)
    assert cycle_words(100, [50, 30, 20]) == "100 epochs (50 + 30 + 20, a cycle each)"
    assert cycle_words(50, [50]) == "50 epochs"
    assert cycle_words(50, [50], 50.9) == "50 epochs"
    # Three frames twice are six draws, but a batch holds sixteen.
    assert cycle_words(2, [2], 16 / 3) == "5.3 epochs (2 asked for, but a step draws more)"
    assert cycle_words(2, [2], 3) == "3.0 epochs (2 asked for, but a step draws more)"


def test_added_passes_are_one_more_cycle_from_the_last_weights(
    make_cache: MakeCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, out = make_cache(), tmp_path / "run"
    short = pretrain(settings(cache, out, 3))
    before, first = (out / WEIGHTS[0]).read_bytes(), log(out)
    capsys.readouterr()
    result = pretrain(settings(cache, out, 9))
    assert (
        f"{out} is finished after 3 epochs and prolonged: 6 more from its last weights, which are "
        "one more onecycle cycle with warm-up and peak 0.001, and a new optimiser\n"
        f"{out}: 5 frames, 15 steps of 3, 5 done, cpu\n"
    ) in capsys.readouterr().err
    assert (result.epochs, result.cycles, result.steps) == (9, [3, 6], 15)
    assert "9 epochs (3 + 6, a cycle each), 15 steps" in str(result)
    assert result.seconds > short.seconds
    assert read_result(out / "result-3.json", PretrainResult) == short
    assert PretrainSettings.resolve(out / "settings.yaml", {}).epochs == 9
    assert (out / WEIGHTS[0]).read_bytes() != before
    records = log(out)
    assert records[:5] == first
    assert [record["step"] for record in records] == list(range(1, 16))
    rates = [record["lr"] for record in records]
    whole = pretrain(settings(cache, tmp_path / "six", 6))  # a run of as many steps as are added
    assert whole.steps == 10
    assert rates[5:] == [record["lr"] for record in log(tmp_path / "six")]
    assert rates[4] < 1e-5 < rates[5] < max(rates[5:])
    assert pretrain(settings(cache, out, 9)) == result
    assert "finished already (9 epochs)" in capsys.readouterr().err


def test_added_passes_go_on_in_the_order_of_frames_and_draws(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    forward = DistillationStep.forward

    def spy(step: DistillationStep, batch: DistillationBatch, totals: Any) -> Any:
        seen.extend(zip(batch.ids, batch.keys, strict=True))
        return forward(step, batch, totals)

    monkeypatch.setattr(DistillationStep, "forward", spy)
    cache = make_cache()
    pretrain(settings(cache, tmp_path / "a", 3))
    pretrain(settings(cache, tmp_path / "a", 6))
    prolonged, seen = seen, []
    monkeypatch.setattr(DistillationStep, "forward", spy)
    pretrain(settings(cache, tmp_path / "b", 6))
    assert prolonged == seen
    assert len(set(prolonged)) == 30


@pytest.mark.slow
def test_prolonged_twice_from_the_same_run_gives_the_same_bytes(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = make_cache()
    pretrain(settings(cache, tmp_path / "a", 2))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        pretrain(settings(cache, tmp_path / name, 4))
        pretrain(settings(cache, tmp_path / name, 5))
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert log(tmp_path / "a") == log(tmp_path / "b")
    result = read_result(tmp_path / "a/result.json", PretrainResult)
    assert result.cycles == [2, 2, 1]


@pytest.mark.parametrize("kill", ["step 1", "step 2", "save 1", "save 2", "rename", "settings"])
def test_killed_at_any_instant_it_ends_with_the_same_bytes(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: str
) -> None:
    cache = make_cache()
    pretrain(settings(cache, tmp_path / "a", 3, save_every=1))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    kind, _, number = kill.partition(" ")
    target = {
        "step": (DistillationStep, "forward"),
        "save": (TrainingState, "save"),
        "rename": (Run, "begin_cycle"),
        "settings": ("clever.pipeline.results.run_folder", "write_settings"),
    }[kind]
    owner = __import__(target[0], fromlist=[""]) if isinstance(target[0], str) else target[0]
    original, calls = getattr(owner, target[1]), 0

    def killed(*values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(number or 1):
            raise Killed
        return original(*values, **named)

    monkeypatch.setattr(owner, target[1], killed)
    with pytest.raises(Killed):
        pretrain(settings(cache, tmp_path / "a", 5, save_every=1))
    monkeypatch.undo()
    for name in "ab":
        pretrain(settings(cache, tmp_path / name, 5, save_every=1))
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert log(tmp_path / "a") == log(tmp_path / "b")


def test_the_best_pass_and_the_time_are_those_of_all_cycles(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    cache, out = make_cache(), tmp_path / "run"
    changes = {"mix3d": 0, "augmentation": "none"}
    short = pretrain(settings(cache, out, 6, lr=0.01, **changes))
    result = pretrain(settings(cache, out, 7, lr=0.01, **changes))
    losses: dict[float, list[float]] = {}
    for record in log(out):
        losses.setdefault(record["epoch"], []).append(record["loss"])
    means = {epoch: sum(values) / len(values) for epoch, values in losses.items()}
    assert result.best_epoch == min(means, key=lambda epoch: means[epoch])
    assert result.seconds == pytest.approx(
        sum(3 / json.loads(line)["frames_per_s"] for line in (out / "log.jsonl").open())
    )
    assert short.seconds < result.seconds


def test_what_cannot_be_prolonged_is_one_line(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, out = make_cache(), tmp_path / "run"
    forward = DistillationStep.forward

    def stop(step: DistillationStep, *values: Any) -> Any:
        raise KeyboardInterrupt

    pretrain(settings(cache, out, 2, batch_size=10))
    written = bits(out)
    with pytest.raises(CleverError, match=r"run with other settings \(epochs: 2 -> 1\); choose"):
        pretrain(settings(cache, out, 1, batch_size=10))
    alone = r"choose another `out`; more `epochs` alone would prolong it$"
    with pytest.raises(CleverError, match=rf"\(seed: 0 -> 1, epochs: 2 -> 3\); {alone}"):
        pretrain(settings(cache, out, 3, batch_size=10, seed=1))
    with pytest.raises(CleverError, match=r"settings \(seed: 0 -> 1\); choose another `out`$"):
        pretrain(settings(cache, out, 2, batch_size=10, seed=1))
    odd = settings(cache, tmp_path / "odd", 1, batch_size=10)
    pretrain(odd)
    line = "2 epochs of 5 frames are no step of 10 more than 1; choose more `epochs`"
    with pytest.raises(CleverError, match=line):
        pretrain(odd.decided(epochs=2))
    assert (tmp_path / "odd/result.json").exists()
    monkeypatch.setattr(DistillationStep, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings(cache, out, 4, batch_size=10))
    monkeypatch.setattr(DistillationStep, "forward", forward)
    assert bits(out) == written
    with pytest.raises(CleverError, match=r"epochs: 4 -> 6\); choose another `out`, or finish it"):
        pretrain(settings(cache, out, 6, batch_size=10))
    assert pretrain(settings(cache, out, 4, batch_size=10)).cycles == [2, 2]
