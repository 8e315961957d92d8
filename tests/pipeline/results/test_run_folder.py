"""A run folder belongs to one training at a time."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clever.cli.environment import VARIABLES
from clever.cli.main import main
from clever.errors import CleverError
from clever.pipeline.process.team import Team
from clever.pipeline.results.run_folder import (
    INPUTS_FILE,
    RESULT_FILE,
    RUNS,
    Run,
    RunResult,
    newest_run,
    run_folder,
    warn_unfinished,
)
from clever.pipeline.settings.pretrain import PretrainSettings

from ...processes import start

ALONE = Team(0, 1, torch.device("cpu"))
INPUTS = {"frames": "abc"}


def test_a_second_training_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    settings = PretrainSettings(cache=tmp_path / "a.zarr")
    with Run.training(tmp_path / "run", settings, ALONE, INPUTS) as run:
        assert run.folder == tmp_path / "run"
        with (
            pytest.raises(CleverError, match=f"run is being written by process {os.getpid()} on "),
            Run.training(tmp_path / "run", settings, ALONE, INPUTS),
        ):
            pass
        with Run.training(tmp_path / "other", settings, ALONE, INPUTS):
            pass
    with pytest.raises(ZeroDivisionError), Run.training(tmp_path / "run", settings, ALONE, INPUTS):
        raise ZeroDivisionError
    with Run.training(tmp_path / "run", settings, ALONE, INPUTS):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


def test_a_finished_run_is_only_looked_at(tmp_path: Path) -> None:
    settings = PretrainSettings(cache=tmp_path / "a.zarr")
    with Run.training(tmp_path / "run", settings, ALONE, INPUTS) as run:
        (run.folder / RESULT_FILE).write_text("{}")
    with (
        Run.training(tmp_path / "run", settings, ALONE, INPUTS),
        Run.training(tmp_path / "run", settings, ALONE, INPUTS),
    ):
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_is_known_by_what_it_reads_not_by_a_path(tmp_path: Path) -> None:
    places = frozenset({"cache"})
    settings = PretrainSettings(cache=tmp_path / "a.zarr")
    with Run.training(tmp_path / "run", settings, ALONE, INPUTS, places) as run:
        (run.folder / RESULT_FILE).write_text("{}")
    moved = PretrainSettings(cache=tmp_path / "b.zarr")
    with Run.training(tmp_path / "run", moved, ALONE, INPUTS, places):
        pass
    with (
        pytest.raises(CleverError, match="run read other frames than now; choose another `out`"),
        Run.training(tmp_path / "run", settings, ALONE, {"frames": "abd"}, places),
    ):
        pass
    (tmp_path / "run" / INPUTS_FILE).write_text("{")
    with (
        pytest.raises(CleverError, match=r"inputs\.json is damaged .*run and start again"),
        Run.training(tmp_path / "run", settings, ALONE, INPUTS, places),
    ):
        pass


def test_a_folder_with_nothing_but_settings_binds_nobody(tmp_path: Path) -> None:
    """Such as one whose evaluation failed for every frame."""
    mistyped, right = (PretrainSettings(cache=tmp_path / "a", seed=seed) for seed in (0, 1))
    with Run.training(tmp_path / "run", mistyped, ALONE, INPUTS):
        pass
    with Run.training(tmp_path / "run", right, ALONE, {"frames": "other"}) as run:
        (run.folder / "log.jsonl").touch()
    assert PretrainSettings.resolve(tmp_path / "run/settings.yaml", {}).seed == 1
    with pytest.raises(CleverError, match=r"other settings \(seed: 1 -> 0\)"):
        Run.open(tmp_path / "run", mistyped)
    for content in ("points: [a.bin]\n", "seed: [", ""):  # of another command, or torn
        folder = tmp_path / f"claim-{len(content)}"
        folder.mkdir()
        (folder / "settings.yaml").write_text(content)
        (folder / "classes.json").touch()
        with pytest.raises(CleverError):
            Run.open(folder, right)
        (folder / "classes.json").unlink()
        Run.open(folder, right)
        assert PretrainSettings.recorded(folder / "settings.yaml").seed == 1
        Run.open(folder, mistyped, claim=frozenset({"settings.yaml", "classes.json"}))
        assert PretrainSettings.recorded(folder / "settings.yaml").seed == 0


def test_settings_of_another_command_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("points: [a.bin]\norigin: [0, 0, 0]\nout: a\n")
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(CleverError) as caught:
        Run.open(tmp_path, PretrainSettings(cache=tmp_path / "a"))
    assert str(caught.value) == (
        f"{tmp_path}/settings.yaml holds settings of another command, or of another version: "
        "origin is nothing that is set here; choose another folder"
    )


def test_the_newest_run_passes_over_results_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {
        "a": '{"job": "pretrain", "finished": "2026-01-02"}',
        "b": '{"job": "pretrain", "finished": "2026-01-01", "more": 1}',
        "c": '{"job": "finetune", "finished": "2026-01-03"}',
        "d": "[]",
        "e": '{"job": 3}',
        "f": '{"model_type": "bert"}',
        "g": "\udcff{",
    }
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / RESULT_FILE).write_bytes(content.encode(errors="surrogateescape"))
    assert newest_run("pretrain", tmp_path) == tmp_path / "a"
    passed = capsys.readouterr().err.splitlines()
    assert passed == [
        *(f"{tmp_path / name / RESULT_FILE} cannot be read; passed over" for name in "deg"),
        f"`checkpoint={tmp_path / 'a'}`, the newest finished pretrain run",
    ]


def test_weights_of_an_unfinished_run_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_unfinished(tmp_path)  # no run at all
    (tmp_path / "settings.yaml").touch()
    warn_unfinished(tmp_path)
    (tmp_path / RESULT_FILE).touch()
    warn_unfinished(tmp_path)
    message = f"{tmp_path} is not finished; its newest weights are used\n"
    assert capsys.readouterr().err == message


def test_the_newest_unfinished_run_of_the_same_settings_and_data_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = frozenset({"cache"})

    def begin(name: str, inputs: dict[str, str], **changes: object) -> Path:
        settings = PretrainSettings(cache=tmp_path / name).decided(**changes)
        with Run.training(RUNS / name, settings, ALONE, inputs, places) as run:
            return run.folder

    older, newer = begin("pretrain-a-1", INPUTS), begin("pretrain-a-2", INPUTS)
    begin("pretrain-a-3", INPUTS, lr=0.5)
    begin("pretrain-a-4", {"frames": "abd"})
    (begin("pretrain-a-5", INPUTS) / RESULT_FILE).write_text("{}")
    (begin("pretrain-a-6", INPUTS) / "settings.yaml").write_text("future: 1\n")
    torn = begin("pretrain-a-8", INPUTS) / INPUTS_FILE
    torn.write_text('["frames"]')
    begin("pretrain-b-7", INPUTS)
    moved_settings = PretrainSettings(cache=tmp_path / "moved")

    def folder_of(settings: PretrainSettings, new: bool, team: Team) -> Path:
        return run_folder("pretrain-a", settings, INPUTS, places, new, team, RunResult)

    assert folder_of(moved_settings, False, ALONE) == newer
    assert capsys.readouterr().err == (
        f"{torn} is damaged (ValidationError); delete {torn.parent} and start again; passed over\n"
        f"{newer} is unfinished and goes on; `new=yes` begins another run\n"
    )
    monkeypatch.setattr(Team, "agree", lambda team, value: "the first one's")
    second = Team(1, 2, torch.device("cpu"))
    assert folder_of(moved_settings, False, second) == "the first one's"
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    fresh = folder_of(moved_settings, True, ALONE)
    assert not fresh.exists()
    assert (fresh.parent, fresh.name[:11]) == (RUNS, "pretrain-a-")
    (newer / RESULT_FILE).write_text("{}")
    assert folder_of(moved_settings, False, ALONE) == older
    (older / RESULT_FILE).write_text("{}")
    assert not folder_of(moved_settings, False, ALONE).exists()


def test_the_newest_finished_run_is_found_where_none_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = frozenset({"cache", "init"})
    record = RunResult(job="pretrain", finished="now", seed=0, seconds=1, versions={})

    def make(name: str, result: str, **values: object) -> Path:
        settings = PretrainSettings(cache=tmp_path / "a").decided(**values)
        with Run.training(RUNS / f"x-{name}", settings, ALONE, INPUTS, places) as run:
            (run.folder / RESULT_FILE).write_text(result)
            return run.folder

    def folder_of(new: bool = False, **values: object) -> Path:
        settings = PretrainSettings(cache=tmp_path / "b").decided(**values)
        undigested = frozenset({"init"})
        return run_folder("x", settings, INPUTS, places, new, ALONE, RunResult, undigested)

    older, newer = (make(name, record.model_dump_json()) for name in "12")
    make("3", "{}")
    make("4", record.model_dump_json(), lr=0.5)
    make("5", record.model_dump_json(), init=tmp_path)
    assert folder_of() == newer
    assert capsys.readouterr().err.splitlines() == [
        "cannot read runs/x-3/result.json: ValidationError; was it written by another version? It "
        "is passed over",
        "runs/x-2 has the same settings and data; `new=yes` begins another run",
    ]
    assert not folder_of(new=True).exists()
    assert folder_of(init=tmp_path).name == "x-5"  # what is not digested must be the same
    assert not folder_of(seed=7).exists()
    (newer / RESULT_FILE).unlink()
    assert folder_of() == newer  # it is unfinished now
    (newer / INPUTS_FILE).write_text('{"frames": "other"}')
    assert folder_of() == older


@pytest.mark.slow
def test_two_processes_in_one_folder(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first is held in its first step while the second tries; both are what a user types."""
    arguments = [
        "pretrain", "--cache", str(make_cache()), "--student", "minkunet-tiny", "--head-hidden",
        "16", "--voxel-size", "0.5", "--batch-size", "4", "--epochs", "2", "--rankme-every", "0",
        "--device", "cpu", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    output, run = tmp_path / "output", tmp_path / "run"
    output.touch()
    first = start(arguments, output)
    assert first.pid
    while "5 frames, 3 steps of 4" not in output.read_text():  # said before the first step
        assert first.is_alive()
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)
    before = {path: path.read_bytes() for path in run.glob("*") if path.is_file()}
    monkeypatch.setattr("sys.argv", ["clever", *arguments])
    for name, value in VARIABLES.items():  # which the command sets; taken back after the test
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {run} is being written by process {first.pid} on ")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    os.kill(first.pid, signal.SIGCONT)
    first.join(300)
    assert first.exitcode == 0, output.read_text()
    assert (run / RESULT_FILE).exists()
    assert not (tmp_path / ".run.lock").exists()
