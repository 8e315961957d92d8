"""Stage one as tasks on Dask workers: the same shards with the same bytes, on the cores and GPUs of
one machine or of many."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from distributed import Client

from ...cache.store.records.commits import commit_path
from ...cache.store.store import Store
from ...cache.teacher import TeacherSettings, load_teachers
from ...errors import CleverError
from ..datasets import LidarDataset
from ..process.device import choose_device
from .calibration import FrameGroup, frames_per_batch, freeze_calibration
from .fill import LayerTask, Shards, StageOne, Statistic, layers_by_batch
from .frames import FrameReader
from .queue import TaskQueue, stop_check, task_runs


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


class Workers(TaskQueue):
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
        super().__init__(client, assignment, dataset)
        self.assignment, self.store = assignment, store
        self.infos = {layer: store.teacher(layer) for layer in assignment.layers}
        self.frames_per_batch = frames_per_batch(self.store, assignment.batch_images)

    def calibrate(
        self, samples: Mapping[str, Sequence[FrameGroup]], advance: Callable[[int], None]
    ) -> None:
        """Fit the int8 codec of each layer on its sample and freeze it in the store."""
        statistics: dict[str, dict[int, Statistic]] = {layer: {} for layer in samples}
        batches = list(layers_by_batch(samples).items())
        with closing(self.results(_statistics, task_runs(batches, self.threads()))) as results:
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
            sorted(point_shards.union(*map(set, grid_shards.values()))), self.threads()
        )
        tasks = [
            (
                point_shards & set(part),
                {layer: set(own) & set(part) for layer, own in grid_shards.items()},
            )
            for part in shards
        ]
        with closing(self.results(_fill, tasks)) as results:
            for frames in results:
                advance(frames)


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
    return worker_stage(assignment, dataset).statistics(samples, stop_check(assignment.run))


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
    stage.run(missing(stage.store.points.id, point_shards), grids, stop_check(assignment.run))
    touched = point_shards.union(*grid_shards.values())
    return sum(len(stage.store.shard_rows(shard)) for shard in touched)
