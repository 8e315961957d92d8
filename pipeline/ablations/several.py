"""Several cells at once, on Dask workers: a cell is a task, and a process does one at a time."""

import threading
import uuid
from collections.abc import Generator, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import dask.config
from distributed import Client, Future

from ..process.device import choose_device
from ..process.termination import sigterm_interrupts
from ..results.ablation_table import CellRecord
from ..settings.shared.base import JobSettings
from ..stage_one.cluster import connect, finished, result_of
from .cells import Cell
from .run_cell import one_line, run_cell

PLACES = ("cache", "init", "data_root", "frames_file", "corrupted_root", "baseline")
"""Settings that are paths which a worker may see from another folder."""
LOG = "log.txt"
"""What a cell on a worker says while it runs, in its folder."""
Settings = TypeVar("Settings", bound=JobSettings)
_ALONE = threading.Lock()
"""Held by the cell that a process runs: threads of torch and its random numbers belong to the
process."""


def run_on_workers(
    cells: Sequence[Cell], threads: int, workers: int, scheduler: str | None, device: str
) -> Generator[CellRecord, None, None]:
    """Records of cells as they end, on local processes or on the workers of a scheduler.

    A cell gives the figures that it gives alone: it computes with `threads` threads wherever it
    runs. A worker that dies costs its cell, which another worker takes up where it was saved; a
    cell on which workers keep dying fails alone. Leaving the iterator ends local processes, and
    takes from a scheduler what has not begun.

    Raises:
        CleverError: no scheduler there, or no worker is left.
    """
    kind = "cpu" if scheduler else choose_device(device).type
    # A loader of batches beside a GPU has processes of its own, which daemons may not have.
    with (
        sigterm_interrupts(),
        dask.config.set({"distributed.worker.daemon": False}),
        connect(workers, scheduler, kind, threads=1) as client,
    ):
        tasks = _submit(client, cells, threads)
        try:
            while tasks:
                for future in finished(client, tasks.keys()):
                    yield _record(client, tasks.pop(future), future)
        finally:
            client.cancel(list(tasks))


def _submit(client: Client, cells: Sequence[Cell], threads: int) -> dict[Future, Cell]:
    """A task a cell; the first ones are begun first."""
    run = uuid.uuid4().hex
    return {
        client.submit(
            run_alone, absolute(cell), threads, key=f"cell-{number}-{run}", priority=-number
        ): cell
        for number, cell in enumerate(cells)
    }


def _record(client: Client, cell: Cell, future: Future) -> CellRecord:
    """What a task gave; where it could not begin, or its workers died, the cell has failed."""
    try:
        return result_of(client, future)
    except Exception as error:
        return CellRecord(
            row=cell.row.key, seed=cell.seed, folder=cell.folder, failure=one_line(error)
        )


def run_alone(cell: Cell, threads: int) -> CellRecord:
    """`run_cell` on a worker, when no other cell runs in its process; what it says goes to a file
    beside its runs."""
    path = cell.out / cell.folder / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    with _ALONE, path.open("a", encoding="utf-8", buffering=1) as log, redirect_stderr(log):
        return run_cell(cell, threads)


def absolute(cell: Cell) -> Cell:
    """The cell with paths that do not depend on the folder that a worker was started in."""
    row = replace(cell.row, settings=_absolute(cell.row.settings))
    measurements = tuple(
        replace(measurement, settings=_absolute(measurement.settings))
        for measurement in cell.measurements
    )
    return replace(cell, row=row, out=cell.out.absolute(), measurements=measurements)


def _absolute(settings: Settings) -> Settings:
    places = {name: getattr(settings, name, None) for name in PLACES}
    return settings.decided(
        **{
            name: tuple(map(_absolute_place, place))
            if isinstance(place, tuple)
            else _absolute_place(place)
            for name, place in places.items()
            if isinstance(place, Path | tuple | str)
        }
    )


def _absolute_place(place: Path | str) -> Path | str:
    """A path from the root, also of a file that is named by text; a URL as it is."""
    if isinstance(place, str):
        return str(Path(place).absolute()) if Path(place).is_file() else place
    return place.absolute()
