"""Stage one as tasks on Dask workers: the same shards with the same bytes, on the cores and GPUs of
one machine or of many."""

import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from distributed import Client, Event, Future, wait

from ...cache.codec import Statistics
from ...cache.store.records import commit_path
from ...cache.store.store import Store
from ...cache.teacher import TeacherSettings, load_teacher
from ...errors import CleverError
from ..datasets import LidarDataset
from ..process.device import choose_device
from .calibration import FrameGroup, frames_per_batch, freeze_calibration
from .cluster import LOOK, finished, result_of, worker_threads
from .fill import StageOne
from .frames import FrameReader

QUEUED = 256
"""Tasks that the scheduler knows of at any time."""
SHARDS_A_TASK = 4
"""Longest run of shards in one task; a worker that dies loses no committed shard of it."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told of a run, beside the dataset.

    Attributes:
        run: name of the run; what workers keep between tasks is kept for one run.
        store: absolute path that every worker can write to.
        layer: the teacher's layer.
        device: ``auto``, ``cpu`` or ``cuda``, decided by each worker.
        batch_images, decoders, strict: see `StageOne`.
    """

    run: str
    store: Path
    layer: str
    teacher: TeacherSettings
    device: str
    batch_images: int
    decoders: int
    strict: bool


class StoppedError(CleverError):
    """The driver asked for the end of the run; the shard under way was dropped."""


class Workers:
    """Does what `StageOne` does, by tasks on Dask workers; the caller holds the store's lock.

    A task is a run of shards and takes one thread of a worker; a worker builds its teacher once for
    all its threads. The dataset is opened by one worker and sent to the others. When a worker dies,
    Dask gives its tasks to another, which redoes the shards that were not committed.

    Args:
        client: connected to the cluster.
        assignment: the run.
        store: the store of the run, as this process opened it.
        dataset: builds the dataset on a worker.
    """

    def __init__(
        self,
        client: Client,
        assignment: Assignment,
        store: Store,
        dataset: Callable[[], LidarDataset],
    ) -> None:
        self.client, self.assignment, self.store = client, assignment, store
        self.info = store.teacher(assignment.layer)
        self.frames_per_batch = frames_per_batch(self.store, assignment.batch_images)
        self._dataset = client.submit(dataset, key=f"clever-dataset-{assignment.run}")
        self._stop = Event(f"clever-stop-{assignment.run}", client)
        self._workers: set[str] = set()

    def calibrate(self, sample: Sequence[FrameGroup], advance: Callable[[int], None]) -> None:
        """Fit the int8 codec on `sample` and freeze it in the store."""
        statistics: dict[int, Statistics | str] = {}
        with closing(self._map(_statistics, task_runs(sample, self._threads()))) as results:
            for part in results:
                statistics |= part
                advance(len(part))
        freeze_calibration(self.store, self.info, statistics)

    def run(
        self, point_shards: set[int], grid_shards: set[int], advance: Callable[[int], None]
    ) -> None:
        """Write and commit shards of points and pairs and of the teacher's grid; see
        `StageOne.run`."""
        shards = task_runs(sorted(point_shards | grid_shards), self._threads())
        tasks = [(point_shards & set(part), grid_shards & set(part)) for part in shards]
        with closing(self._map(_fill, tasks)) as results:
            for frames in results:
                advance(frames)

    def _threads(self) -> int:
        """Threads of all workers; says so when a worker is gone."""
        workers = worker_threads(self.client)
        for worker in sorted(self._workers - set(workers)):
            print(f"worker {worker} is gone; others redo its shards", file=sys.stderr, flush=True)
        self._workers = set(workers)
        return max(1, sum(workers.values()))

    def _map(
        self, work: Callable[[Assignment, LidarDataset, Any], Result], parts: Sequence[Any]
    ) -> Generator[Result, None, None]:
        """Results of `work` on every part, as they come."""
        name = f"clever{work.__name__}-{self.assignment.run}"
        tasks = (
            self.client.submit(work, self.assignment, self._dataset, part, key=f"{name}-{number}")
            for number, part in enumerate(parts)
        )
        running: set[Future] = set(islice(tasks, QUEUED))
        try:
            while running:
                for future in finished(self.client, running):
                    yield result_of(future)
                    self._threads()
                    running.discard(future)
                    running.update(islice(tasks, 1))
        finally:
            self._end(running)

    def _end(self, running: set[Future]) -> None:
        """Return when no task of this run writes any more."""
        if not running:
            return
        with suppress(OSError, CancelledError, CleverError):
            self._stop.set()
            while running and worker_threads(self.client):
                with suppress(TimeoutError):
                    wait(list(running), LOOK)
                    return


def task_runs(items: Sequence[Any], threads: int) -> list[Sequence[Any]]:
    """Runs of `items`: long enough to overlap reading and computing, short enough that all threads
    end together."""
    size = max(1, min(SHARDS_A_TASK, len(items) // (8 * threads)))
    return [items[start : start + size] for start in range(0, len(items), size)]


_STAGES: dict[str, StageOne] = {}
_BUILDING = threading.Lock()


def worker_stage(assignment: Assignment, dataset: LidarDataset) -> StageOne:
    """This process's stage of a run; the one of an earlier run is dropped."""
    with _BUILDING:
        if assignment.run not in _STAGES:
            _STAGES.clear()
            torch.set_num_threads(1)
            store = Store(assignment.store)
            info = store.teacher(assignment.layer)
            teacher = load_teacher(assignment.teacher, choose_device(assignment.device))
            if differing := info.fingerprint.differences(teacher.fingerprint):
                raise CleverError(
                    f"a worker's teacher is another one: {differing}; "
                    "give every worker the same weights and the same clever"
                )
            reader = FrameReader(store, dataset)
            _STAGES[assignment.run] = StageOne(
                store,
                info,
                reader,
                teacher,
                assignment.batch_images,
                assignment.decoders,
                assignment.strict,
                1,
            )
        return _STAGES[assignment.run]


def _statistics(
    assignment: Assignment, dataset: LidarDataset, sample: Sequence[FrameGroup]
) -> dict[int, Statistics | str]:
    return worker_stage(assignment, dataset).statistics(sample, _stopper(assignment))


def _fill(assignment: Assignment, dataset: LidarDataset, shards: tuple[set[int], set[int]]) -> int:
    """Write shards of both layers; returns the number of their frames. A worker that died may have
    done some."""
    stage = worker_stage(assignment, dataset)
    stage.store.reread(assignment.layer)  # the driver may have frozen the calibration since
    layers = (stage.store.points.id, assignment.layer)
    points, grid = (
        {shard for shard in part if not commit_path(assignment.store, layer, shard).exists()}
        for layer, part in zip(layers, shards, strict=True)
    )
    stage.run(points, grid, _stopper(assignment))
    return sum(len(stage.store.shard_rows(shard)) for shard in set.union(*shards))


def _stopper(assignment: Assignment) -> Callable[[int], None]:
    """Told after every batch; raises `StoppedError` once the driver wants no more."""
    stop = Event(f"clever-stop-{assignment.run}")

    def check(_: int) -> None:
        if stop.is_set():
            raise StoppedError("stopped by the driver")

    check(0)
    return check
