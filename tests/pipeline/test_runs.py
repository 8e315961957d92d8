"""A run folder belongs to one training at a time."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clever.cli.main import main
from clever.errors import CleverError
from clever.pipeline.runs import RESULT_FILE, Run
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.team import Team

ALONE = Team(0, 1, torch.device("cpu"))


def test_a_second_training_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    settings = PretrainSettings(cache=tmp_path / "a.zarr")
    with Run.training(tmp_path / "run", settings, ALONE) as run:
        assert run.folder == tmp_path / "run"
        with (
            pytest.raises(CleverError, match=f"run is being written by process {os.getpid()} on "),
            Run.training(tmp_path / "run", settings, ALONE),
        ):
            pass
        with Run.training(tmp_path / "other", settings, ALONE):
            pass
    with pytest.raises(ZeroDivisionError), Run.training(tmp_path / "run", settings, ALONE):
        raise ZeroDivisionError
    with Run.training(tmp_path / "run", settings, ALONE):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


def test_a_finished_run_is_only_looked_at(tmp_path: Path) -> None:
    settings = PretrainSettings(cache=tmp_path / "a.zarr")
    with Run.training(tmp_path / "run", settings, ALONE) as run:
        (run.folder / RESULT_FILE).write_text("{}")
    with (
        Run.training(tmp_path / "run", settings, ALONE),
        Run.training(tmp_path / "run", settings, ALONE),
    ):
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_two_processes_in_one_folder(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first is held in its first step while the second tries; both are what a user types."""
    arguments = [
        "clever", "pretrain", "--cache", str(make_cache()), "--student", "minkunet-tiny",
        "--head-hidden", "16", "--voxel-size", "0.5", "--batch-size", "4", "--epochs", "2",
        "--rankme-every", "0", "--device", "cpu", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    first = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert first.stderr
    assert "5 frames, 3 steps of 4" in first.stderr.readline()  # said before the first step
    first.send_signal(signal.SIGSTOP)
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*") if path.is_file()}
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ending:
        main()
    error = capsys.readouterr().err
    assert ending.value.code == 2
    assert error.startswith(
        f"error: {tmp_path / 'run'} is being written by process {first.pid} on "
    )
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    first.send_signal(signal.SIGCONT)
    assert first.wait(300) == 0, first.stderr.read()
    assert (tmp_path / "run" / RESULT_FILE).exists()
    assert not (tmp_path / ".run.lock").exists()
