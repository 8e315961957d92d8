"""How many worker processes a loader has."""

import multiprocessing

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
