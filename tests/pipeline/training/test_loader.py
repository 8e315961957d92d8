"""How many worker processes a loader has."""

import pytest
import torch

from clever.pipeline.process.team import Team
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
