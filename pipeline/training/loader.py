"""The loader of a run: batches of its frames, in this process or by worker processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ...errors import CleverError
from ..process.open_files import allow_open_files
from ..process.team import Team
from ..settings.shared.training import TrainingSettings
from .batches import Batch, FrameDraw, FrameOrder, Parts
from .job import Job
from .signals import ignore_interrupt

FILES, FILES_A_WORKER = 96, 8
"""Files open at once in a process: a store, and the tensors of the batches that are under way
between processes; and what each worker adds to its parent's."""


def loader_workers(settings: TrainingSettings, team: Team) -> int:
    """Number of worker processes of this process's loader: some where a GPU would wait, and one
    that reads ahead where a step would wait for a store elsewhere."""
    if settings.workers is not None:
        return settings.workers
    if multiprocessing.current_process().daemon:  # as a worker of a cluster: it may have none
        return 0
    fewest = int(settings.reads_elsewhere)
    if team.device.type != "cuda":
        return fewest
    return max(fewest, min(8, (os.cpu_count() or 1) // team.size - 1))


def load_batches(
    job: Job, order: FrameOrder, settings: TrainingSettings, team: Team, start: int, folder: Path
) -> Iterator[Batch]:
    """Batches of this process's parts of every step from `start` on, on the host.

    Workers are not forked, so open stores are safe.

    Args:
        folder: of the run, to name in errors.

    Raises:
        CleverError: a frame cannot be read, worker processes cannot start, or one has died.
    """
    workers = loader_workers(settings, team)
    if workers:
        allow_open_files(
            FILES + FILES_A_WORKER * workers, f"{workers} loader processes", "use fewer `workers`"
        )
    loader = DataLoader(
        _CheckedFrames(job),
        batch_sampler=Parts(order, start, settings.accumulate, team.rank, team.size),
        collate_fn=_CheckedCollate(job.collate),
        num_workers=workers,
        multiprocessing_context=_clean_processes(job.frames) if workers else None,
        worker_init_fn=ignore_interrupt,
        pin_memory=team.device.type == "cuda",
    )
    batches = iter(loader) if not workers else _watched(loader, folder)
    for batch in batches:
        if isinstance(batch, CleverError):
            raise batch
        yield batch


def _clean_processes(frames: Dataset[Any]) -> ForkServerContext:
    """Starts workers as copies of a process that has imported what they need and done nothing
    else: it is imported once, however many they are."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, type(frames).__module__])
    return context


def _watched(loader: DataLoader[Any], folder: Path) -> Iterator[Any]:
    """What a loader's worker processes give, and their end as one line."""
    again = f"the same command with `out={folder}` goes on from the last checkpoint"
    try:
        yield from loader
    except (OSError, EOFError) as error:
        raise CleverError(
            f"loader processes cannot start or be heard ({error}); use fewer `workers`; {again}"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise CleverError(
            f"{str(error).splitlines()[0]}; if memory ran out use fewer `workers` or a smaller "
            f"`batch_size`; {again}"
        ) from error


class _CheckedFrames(Dataset[Any]):
    """Frames of a job; what is wrong with one comes as a value, because a worker that raises it
    would add its traceback."""

    def __init__(self, job: Job) -> None:
        self._frames, self._ids = job.frames, job.ids

    def __getitem__(self, draw: FrameDraw) -> Any:
        try:
            return self._frames[draw]
        except CleverError as error:
            return error
        except OSError as error:
            return CleverError(f"frame {self._ids[draw.frame]} cannot be read: {error}")


class _CheckedCollate:
    """Makes a batch of a list of frames, or gives what is wrong with the first that is not one."""

    def __init__(self, collate: Callable[[list[Any]], Batch]) -> None:
        self._collate = collate

    def __call__(self, frames: list[Any]) -> Batch | CleverError:
        wrong = next((frame for frame in frames if isinstance(frame, CleverError)), None)
        return wrong or self._collate(frames)
