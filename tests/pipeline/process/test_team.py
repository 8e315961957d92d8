"""Several processes: the others wait for the first one, however long it measures."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.process.team import MEETING, Team

from ...interpreter import Interpreter

BEGINNING = """
import os, signal, socket, sys, time
from datetime import timedelta

import torch
import torch.distributed as distributed

from clever.pipeline.process.team import Team
"""
PAIR = """
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
processes = []
for rank in range(2):
    processes.append(os.fork())
    if not processes[-1]:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        break
else:
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) != 0 for one in processes))

signal.alarm(120)
distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
team = Team.join(torch.device("cpu"))
if team.first:
    time.sleep(4)  # as one that measures; torch's own limit is 2 s here
    if dies:
        os._exit(3)
team.wait()
print(f"process {team.rank} of {team.size} goes on")
"""
"""Two processes, with the variables that torchrun sets."""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """One that has imported what both processes need."""
    with Interpreter(BEGINNING) as interpreter:
        yield interpreter


@pytest.mark.slow
def test_a_long_wait_for_the_first_process(interpreter: Interpreter) -> None:
    waited = interpreter.run("dies = False" + PAIR)
    assert waited.returncode == 0, waited.stderr
    for rank in (0, 1):
        assert f"process {rank} of 2 goes on" in waited.stdout


def test_the_end_of_the_first_process_is_noticed(interpreter: Interpreter) -> None:
    ended = interpreter.run("dies = True" + PAIR)
    assert ended.returncode != 0
    assert "goes on" not in ended.stdout


@pytest.mark.slow
def test_torchrun_starts_a_team(tmp_path: Path) -> None:
    """As a user starts several processes, on this machine."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from clever.pipeline.process.team import Team\n"
        'team = Team.join(torch.device("cpu"))\n'
        "team.wait()\n"
        # One write a line: both write into one pipe.
        'print(f"process {team.rank} of {team.size}\\n", end="", flush=True)\n'
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("process ")]
    assert sorted(lines) == ["process 0 of 2", "process 1 of 2"]


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
