"""Several processes: the others wait for the first one, however long it measures."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.process.team import MEETING, Team

SCRIPT = """
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as distributed

distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
from clever.pipeline.process.team import Team

team = Team.join(torch.device("cpu"))
if team.first:
    time.sleep(4)  # as one that measures; torch's own limit is 2 s here
if sys.argv[1] == "dies" and team.first:
    sys.exit(3)
team.wait()
print(f"process {team.rank} of {team.size} goes on")
"""


def launch(tmp_path: Path, way: str) -> "subprocess.CompletedProcess[str]":
    """Two processes, as a user would start them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(tmp_path / "script.py"), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_a_long_wait_for_the_first_process(tmp_path: Path) -> None:
    waited = launch(tmp_path, "measures")
    assert waited.returncode == 0, waited.stderr
    for rank in (0, 1):
        assert f"process {rank} of 2 goes on" in waited.stdout


@pytest.mark.slow
def test_the_end_of_the_first_process_is_noticed(tmp_path: Path) -> None:
    ended = launch(tmp_path, "dies")
    assert ended.returncode != 0
    assert "goes on" not in ended.stdout


@pytest.mark.parametrize("text", ["", "1", " 1 "])
def test_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    assert Team.join(torch.device("cpu")) == Team(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.0", "2 4"])
def test_what_is_no_number_of_processes(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(CleverError, match=f"WORLD_SIZE is '{text}', no number of processes; unset"):
        Team.join(torch.device("cpu"))


def test_a_number_of_processes_that_was_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job script exports it for another program."""
    for name in MEETING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(CleverError, match="that 4 processes train together, but LOCAL_RANK, MASTE"):
        Team.join(torch.device("cpu"))


def test_processes_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"RANK": "x", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**values, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CleverError, match=r"cannot meet at 127\.0\.0\.1:1: .*; start all") as error:
        Team.join(torch.device("cpu"))
    assert len(str(error.value).splitlines()) == 1
