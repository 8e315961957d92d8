"""Tasks of a run on Dask workers: sent in time, their results as they come, stopped together."""

import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol, TypeVar

from distributed import Client, Event, Future, wait

from ...errors import CleverError
from .cluster import LOOK, finished, result_of, worker_threads

QUEUED = 256
"""Tasks that the scheduler knows of at any time."""
SHARDS_A_TASK = 4
"""Longest run of shards in one task; a worker that dies loses no committed shard of it."""
Result = TypeVar("Result")


class RunAssignment(Protocol):
    """What a worker is told of a run."""

    @property
    def run(self) -> str:
        """Name of the run; what workers keep between tasks is kept for one run."""
        ...


class StoppedError(CleverError):
    """The driver asked for the end of the run; the shard under way was dropped."""


class TaskQueue:
    """Runs functions on Dask workers.

    The dataset is opened by one worker and sent to the others. When a worker dies, Dask gives its
    tasks to another.

    Args:
        client: connected to the cluster.
        assignment: what every task is told of the run.
        dataset: builds the dataset on a worker.
    """

    def __init__(
        self, client: Client, assignment: RunAssignment, dataset: Callable[[], Any]
    ) -> None:
        self.client, self._told = client, assignment
        self._dataset = client.submit(dataset, key=f"clever-dataset-{assignment.run}")
        self._stop = Event(f"clever-stop-{assignment.run}", client)
        self._workers: set[str] = set()

    def threads(self) -> int:
        """Threads of all workers; says so when a worker is gone."""
        workers = worker_threads(self.client)
        for worker in sorted(self._workers - set(workers)):
            print(f"worker {worker} is gone; others redo its shards", file=sys.stderr, flush=True)
        self._workers = set(workers)
        return max(1, sum(workers.values()))

    def results(
        self, work: Callable[[Any, Any, Any], Result], parts: Sequence[Any]
    ) -> Generator[Result, None, None]:
        """Results of ``work(assignment, dataset, part)`` on every part, as they come."""
        name = f"clever{work.__name__}-{self._told.run}"
        tasks = (
            self.client.submit(work, self._told, self._dataset, part, key=f"{name}-{number}")
            for number, part in enumerate(parts)
        )
        running: set[Future] = set(islice(tasks, QUEUED))
        try:
            while running:
                for future in finished(self.client, running):
                    yield result_of(self.client, future)
                    self.threads()
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


def stop_check(run: str) -> Callable[[int], None]:
    """Told after every batch; raises `StoppedError` once the driver wants no more."""
    stop = Event(f"clever-stop-{run}")

    def check(_: int) -> None:
        if stop.is_set():
            raise StoppedError("stopped by the driver")

    check(0)
    return check
