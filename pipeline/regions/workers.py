"""Shards of a layer of regions as tasks on Dask workers."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from ...cache.store.records.commits import commit_path
from ...cache.store.store import Store
from ..datasets import LidarDataset
from ..stage_one.queue import TaskQueue, stop_check, task_runs
from .fill import RegionStage
from .maps import RegionReader


@dataclass(frozen=True, slots=True)
class RegionAssignment:
    """What a worker is told of a run, beside the dataset.

    Attributes:
        run: name of the run.
        store: absolute path that every worker can write to.
        layer: id of the layer.
        folder: of the masks, absolute; None for superpixels.
        strict: see `RegionStage`.
    """

    run: str
    store: Path
    layer: str
    folder: Path | None
    strict: bool


class RegionWorkers(TaskQueue):
    """Does what `RegionStage` does, by tasks on Dask workers; the caller holds the store's lock.

    Args:
        client: connected to the cluster.
        assignment: the run.
        dataset: builds the dataset on a worker; it may build none.
    """

    def __init__(
        self,
        client: Client,
        assignment: RegionAssignment,
        dataset: Callable[[], LidarDataset | None],
    ) -> None:
        super().__init__(client, assignment, dataset)

    def run(self, shards: Sequence[int], advance: Callable[[int], None]) -> None:
        """Write and commit shards; see `RegionStage.run`."""
        parts = task_runs(sorted(shards), self.threads())
        with closing(self.results(_fill, parts)) as results:
            for frames in results:
                advance(frames)


_STAGES: dict[str, RegionStage] = {}
_BUILDING = threading.Lock()


def _fill(assignment: RegionAssignment, dataset: LidarDataset | None, shards: Sequence[int]) -> int:
    """Write shards; returns the number of their frames. A worker that died may have done some."""
    with _BUILDING:
        if assignment.run not in _STAGES:
            _STAGES.clear()
            store = Store(assignment.store)
            info = store.region(assignment.layer)
            reader = RegionReader(store, info, dataset, assignment.folder)
            _STAGES[assignment.run] = RegionStage(reader, store, 1, assignment.strict)
    stage, check = _STAGES[assignment.run], stop_check(assignment.run)
    missing = [
        shard
        for shard in shards
        if not commit_path(assignment.store, assignment.layer, shard).exists()
    ]
    stage.run(missing, check)
    return sum(len(stage.store.shard_rows(shard)) for shard in shards)
