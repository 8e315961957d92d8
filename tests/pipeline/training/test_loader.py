"""How many worker processes a loader has, and how they start."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clever.pipeline.process.team import Team
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.training import TrainingSettings
from clever.pipeline.training.loader import loader_workers


@pytest.mark.parametrize(
    ("workers", "device", "processes", "cores", "expected"),
    [
        (None, "cpu", 1, 16, 0),
        (None, "cuda", 1, 16, 8),
        (None, "cuda", 1, 6, 5),
        (None, "cuda", 4, 16, 3),
        (None, "cuda", 4, 2, 0),
        (3, "cpu", 1, 2, 3),
        (0, "cuda", 1, 16, 0),
    ],
)
def test_workers_where_a_gpu_would_wait(
    workers: int | None,
    device: str,
    processes: int,
    cores: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    team = Team(0, processes, torch.device(device))
    assert loader_workers(TrainingSettings(workers=workers), team) == expected


@pytest.mark.parametrize(
    ("cache", "workers", "device", "expected"),
    [
        ("s3://bucket/run.zarr", None, "cpu", 1),
        ("s3://bucket/run.zarr", None, "cuda", 1),
        ("s3://bucket/run.zarr", 0, "cpu", 0),
        (("run.zarr", "https://host/run.zarr"), None, "cpu", 1),
        ("run.zarr", None, "cpu", 0),
        ("file:///data/run.zarr", None, "cpu", 0),
        ("memory://run.zarr", None, "cpu", 0),  # no other process has it
        (("run.zarr", "other.zarr"), None, "cuda", 0),
    ],
)
def test_a_store_elsewhere_is_read_ahead(
    cache: object,
    workers: int | None,
    device: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    settings = PretrainSettings.resolve(None, {"cache": cache, "workers": workers})
    team = Team(0, 1, torch.device(device))
    assert loader_workers(settings, team) == expected
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore
    assert loader_workers(settings, team) == (workers or 0)


MODULE = """
import os
from torch.utils.data import Dataset
IMPORTED_IN = os.getpid()
class Frames(Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return index
class Process:
    def __call__(self, frames): return IMPORTED_IN, os.getpid(), os.getppid()
"""
SCRIPT = """
from types import SimpleNamespace
from pathlib import Path
import torch
from clever.pipeline.process.team import Team
from clever.pipeline.settings.shared.training import TrainingSettings
from clever.pipeline.training import loader
from frames_of_test import Frames, Process

if __name__ == "__main__":
    job = SimpleNamespace(frames=Frames(), ids=list("abcd"), collate=Process())
    loader.Parts = lambda *_: [[], []]
    settings, team = TrainingSettings(workers=2), Team(0, 1, torch.device("cpu"))
    for batch in loader.load_batches(job, None, settings, team, 0, Path("run")):
        print(*batch)
"""


@pytest.mark.slow
def test_workers_are_copies_of_one_process_that_has_imported_all(tmp_path: Path) -> None:
    (tmp_path / "frames_of_test.py").write_text(MODULE)
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [tuple(map(int, line.split())) for line in ended.stdout.splitlines()]
    imported, workers, parents = map(set, zip(*rows, strict=True))
    assert len(workers) == 2
    # The modules were imported in the process that the workers are copies of.
    assert imported == parents
    assert len(parents) == 1
