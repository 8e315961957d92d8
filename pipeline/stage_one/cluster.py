"""Dask workers: on this machine or at a scheduler's address, and what it means when they die."""

import logging
import os
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

import dask.config
import torch
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, wait

from ...errors import CleverError
from ...words import quantity
from ..process.device import choose_device, cores
from ..process.open_files import allow_open_files

PATIENCE = 10.0
"""Seconds to wait for a scheduler to answer."""
LOST = 60.0
"""Seconds without a single worker after which a run ends: a local one that died is back long
before."""
LOOK = 1.0
"""Seconds between two looks at the workers while no task ends."""
FILES, FILES_A_WORKER = 48, 12
"""Files open at once in the process that starts workers (measured: 24 and 10 a worker)."""
PRE_SPAWN, TRIM_THRESHOLD = "distributed.nanny.pre-spawn-environ", "MALLOC_TRIM_THRESHOLD_"
"""Setting of Dask, and a variable in it."""
IGNORE_INTERRUPT = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
"""Run by every local worker as it starts: Ctrl-C reaches the whole process group, the driver alone
decides."""


@contextmanager
def connect(
    workers: int, scheduler: str | None, device: str, threads: int | None = None
) -> Iterator[Client]:
    """A client of the scheduler at an address, or of a cluster of `workers` processes on this
    machine.

    Args:
        threads: tasks at once in each of these processes; default: see `local_cluster`.

    Raises:
        CleverError: no scheduler answers at that address, or no worker can start here.
    """
    if scheduler is None:
        with local_cluster(workers, device, threads) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise CleverError(
            f"no Dask scheduler answers at {scheduler}: {error}; check `scheduler`"
        ) from error
    with client:
        if not worker_threads(client):
            print(
                f"{scheduler} has no workers yet; waiting for the first",
                file=sys.stderr,
                flush=True,
            )
            _wait_for_first(client)
        yield client


def local_cluster(workers: int, device: str, threads: int | None = None) -> SpecCluster:
    """Worker processes on this machine; worker i has GPU i alone, counted round.

    Args:
        threads: tasks at once in each; default: they share the cores evenly, or 2 beside a GPU.

    Raises:
        CleverError: they cannot start.
    """
    allow_open_files(
        FILES + FILES_A_WORKER * workers, f"{workers} worker processes", "use fewer `workers`"
    )
    threads = threads or (2 if device == "cuda" else max(1, cores() // workers))
    options = {
        "nthreads": threads,
        "memory_limit": 0,
        "preload": [IGNORE_INTERRUPT],
        "dashboard": False,
        "silence_logs": logging.CRITICAL,  # what matters is said here, in one line
    }
    workers_spec = {
        number: {"cls": Nanny, "options": {**options, "env": worker_environment(number, device)}}
        for number in range(workers)
    }
    address = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": ":0"}
    scheduler = {"cls": Scheduler, "options": address}
    try:
        with dask.config.set({PRE_SPAWN: spawn_environment()}):
            return SpecCluster(
                workers=workers_spec,
                scheduler=scheduler,
                silence_logs=logging.CRITICAL,  # pyright: ignore[reportArgumentType]
            )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise CleverError(
            f"{workers} worker processes cannot start: {_root_cause(error)}; use fewer `workers` "
            "and run the same command again"
        ) from error


def spawn_environment() -> dict[str, str]:
    """What Dask sets before a worker starts, but for the threshold at which the allocator gives
    memory back: at Dask's 64 kB a training step returns its tensors' pages and takes new ones all
    the time, and the system needs nearly as long as the step."""
    variables: dict[str, object] = dask.config.get(PRE_SPAWN)
    return {name: str(value) for name, value in variables.items() if name != TRIM_THRESHOLD}


def _root_cause(error: BaseException) -> BaseException:
    """What an error came of in the end."""
    cause = error.__cause__ or error.__context__
    return _root_cause(cause) if cause else error


def worker_environment(number: int, device: str) -> dict[str, str]:
    """Environment of local worker `number`: its GPU, out of those that this process may use."""
    if device != "cuda":
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(gpu) for gpu in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}


def device_of_workers(client: Client, device: str) -> str:
    """``cuda`` or ``cpu``: where the workers will run the teacher."""
    future = client.submit(_device, device, pure=False)
    finished(client, [future])
    return result_of(client, future)


def _device(name: str) -> str:
    return choose_device(name).type


def finished(client: Client, futures: Collection[Future]) -> set[Future]:
    """Those of `futures` that have ended, at least one; waits for it while there are workers.

    Raises:
        CleverError: there has been no worker for `LOST` seconds, or the scheduler is gone.
    """
    deadline = time.monotonic() + LOST
    while True:
        # A cancelled future counts as ended; `result_of` tells why.
        with suppress(TimeoutError, CancelledError):
            wait(list(futures), LOOK, "FIRST_COMPLETED")
        if ended := {future for future in futures if future.done()}:
            return ended
        if worker_threads(client):
            deadline = time.monotonic() + LOST
        elif time.monotonic() > deadline:
            raise CleverError(
                f"no worker has been left for {LOST:.0f} s; look at the workers' logs, start some "
                "and run the same command again to go on"
            )


def _wait_for_first(client: Client) -> None:
    """Return when there is a worker, however long that takes.

    Raises:
        CleverError: the scheduler is gone.
    """
    while not worker_threads(client):
        with suppress(OSError, TimeoutError):
            client.wait_for_workers(1, LOST)


def worker_threads(client: Client) -> dict[str, int]:
    """Threads of every worker, by its address.

    Raises:
        CleverError: the scheduler is gone.
    """
    try:
        return client.nthreads()  # pyright: ignore[reportReturnType]
    except (OSError, RuntimeError, CancelledError) as error:
        raise CleverError(
            f"the Dask scheduler is gone ({error}); start it and run the same command again to go "
            "on"
        ) from error


def result_of(client: Client, future: Future) -> Any:
    """Result of a task that has ended; everything that Dask itself may report, as one line. Where
    its worker died before it gave the result away, that of the worker that does the task again.

    Raises:
        CleverError: no worker is left for that, or Dask gave the task up.
    """
    try:
        while True:
            try:
                return future.result(LOOK)
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                finished(client, [future])
    except KilledWorker as error:
        raise CleverError(
            f"{quantity(error.allowed_failures + 1, 'worker')} died in turn on task {error.task}, "
            "most likely out of memory; use fewer `workers` or smaller batches, and run the same "
            "command again to go on"
        ) from error
    except CancelledError as error:
        raise CleverError(
            f"the Dask scheduler gave up task {future.key}; look at its log and run the same "
            "command again to go on"
        ) from error
