"""Stage one as tasks on Dask workers: the same shards with the same bytes, on the cores and GPUs of
one machine or of many."""

import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from distributed import Client, Event, Future, wait

from ...cache.store.records import commit_path
from ...cache.store.store import Store
from ...cache.teacher import TeacherSettings, load_teachers
from ...errors import CleverError
from ..datasets import LidarDataset
from ..process.device import choose_device
from .calibration import FrameGroup, frames_per_batch, freeze_calibration
from .cluster import LOOK, finished, result_of, worker_threads
from .fill import LayerTask, Shards, StageOne, Statistic, layers_by_batch
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
        layers: ids of the teacher's layers.
        teachers: what decides each.
        device: ``auto``, ``cpu`` or ``cuda``, decided by each worker.
        batch_images, decoders, strict: see `StageOne`.
    """

    run: str
    store: Path
    layers: tuple[str, ...]
    teachers: tuple[TeacherSettings, ...]
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
        self.infos = {layer: store.teacher(layer) for layer in assignment.layers}
        self.frames_per_batch = frames_per_batch(self.store, assignment.batch_images)
        self._dataset = client.submit(dataset, key=f"clever-dataset-{assignment.run}")
        self._stop = Event(f"clever-stop-{assignment.run}", client)
        self._workers: set[str] = set()

    def calibrate(
        self, samples: Mapping[str, Sequence[FrameGroup]], advance: Callable[[int], None]
    ) -> None:
        """Fit the int8 codec of each layer on its sample and freeze it in the store."""
        statistics: dict[str, dict[int, Statistic]] = {layer: {} for layer in samples}
        batches = list(layers_by_batch(samples).items())
        with closing(self._map(_statistics, task_runs(batches, self._threads()))) as results:
            for parts in results:
                for layer, part in parts.items():
                    statistics[layer] |= part
                advance(len(set().union(*parts.values())))
        for layer, part in statistics.items():
            freeze_calibration(self.store, self.infos[layer], part)

    def run(
        self, point_shards: set[int], grid_shards: Shards, advance: Callable[[int], None]
    ) -> None:
        """Write and commit shards of points and pairs and of the teacher's layers; see
        `StageOne.run`."""
        shards = task_runs(
            sorted(point_shards.union(*map(set, grid_shards.values()))), self._threads()
        )
        tasks = [
            (
                point_shards & set(part),
                {layer: set(own) & set(part) for layer, own in grid_shards.items()},
            )
            for part in shards
        ]
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
            teachers = load_teachers(assignment.teachers, choose_device(assignment.device))
            tasks = [
                LayerTask(store.teacher(layer), teacher)
                for layer, teacher in zip(assignment.layers, teachers, strict=True)
            ]
            for task in tasks:
                if differing := task.info.fingerprint.differences(task.teacher.fingerprint):
                    raise CleverError(
                        f"a worker's teacher is another one: {differing}; "
                        "give every worker the same weights and the same clever"
                    )
            reader = FrameReader(store, dataset)
            _STAGES[assignment.run] = StageOne(
                store,
                tasks,
                reader,
                assignment.batch_images,
                assignment.decoders,
                assignment.strict,
                1,
            )
        return _STAGES[assignment.run]


def _statistics(
    assignment: Assignment,
    dataset: LidarDataset,
    batches: Sequence[tuple[FrameGroup, Sequence[str]]],
) -> dict[str, dict[int, Statistic]]:
    samples = {
        layer: [batch for batch, layers in batches if layer in layers]
        for layer in assignment.layers
    }
    return worker_stage(assignment, dataset).statistics(samples, _stopper(assignment))


def _fill(
    assignment: Assignment, dataset: LidarDataset, shards: tuple[set[int], dict[str, set[int]]]
) -> int:
    """Write shards of all layers; returns the number of their frames. A worker that died may have
    done some."""
    stage = worker_stage(assignment, dataset)
    point_shards, grid_shards = shards

    def missing(layer: str, part: set[int]) -> set[int]:
        return {shard for shard in part if not commit_path(assignment.store, layer, shard).exists()}

    for layer in assignment.layers:
        stage.store.reread(layer)  # the driver may have frozen the calibration since
    grids = {layer: missing(layer, part) for layer, part in grid_shards.items()}
    stage.run(missing(stage.store.points.id, point_shards), grids, _stopper(assignment))
    touched = point_shards.union(*grid_shards.values())
    return sum(len(stage.store.shard_rows(shard)) for shard in touched)


def _stopper(assignment: Assignment) -> Callable[[int], None]:
    """Told after every batch; raises `StoppedError` once the driver wants no more."""
    stop = Event(f"clever-stop-{assignment.run}")

    def check(_: int) -> None:
        if stop.is_set():
            raise StoppedError("stopped by the driver")

    check(0)
    return check
