"""The loader of a run: batches of its frames, in this process or by worker processes."""

import os
from typing import Any

from torch.utils.data import DataLoader

from ..settings.training import TrainingSettings
from ..team import Team
from .batches import FrameOrder, Parts
from .job import Job
from .signals import ignore_interrupt


def loader_workers(settings: TrainingSettings, team: Team) -> int:
    """Number of worker processes of this process's loader: some where a GPU would wait."""
    if settings.workers is not None:
        return settings.workers
    if team.device.type != "cuda":
        return 0
    return max(0, min(8, (os.cpu_count() or 1) // team.size - 1))


def batch_loader(
    job: Job, order: FrameOrder, settings: TrainingSettings, team: Team, start: int
) -> DataLoader[Any]:
    """Batches of this process's parts of every step from `start` on.

    Workers are not forked, so open stores are safe.
    """
    workers = loader_workers(settings, team)
    return DataLoader(
        job.frames,
        batch_sampler=Parts(order, start, settings.accumulate, team.rank, team.size),
        collate_fn=job.collate,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers > 0 else None,
        worker_init_fn=ignore_interrupt,
        pin_memory=team.device.type == "cuda",
    )
