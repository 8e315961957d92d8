"""What a task on a worker gives back, and what it is told."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import KilledWorker

from clever.errors import CleverError
from clever.pipeline.ablations import several
from clever.pipeline.ablations.cells import Cell, Measurement, Row
from clever.pipeline.results.ablation_table import CellRecord
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.pretrain import PretrainSettings


def make_cell(out: Path) -> Cell:
    pretraining = PretrainSettings.resolve(None, {"cache": "a.zarr", "init": "runs/first"})
    finetuning = FinetuneSettings.resolve(None, {"data_root": "drives", "checkpoint": "none"})
    row = Row("a row", "12345678", pretraining)
    return Cell(row, 3, out, (Measurement("probe", "finetune", "probe-1", finetuning),))


class Ended:
    """A future that has ended."""

    key = "cell-0"

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def result(self, timeout: float | None = None) -> object:
        assert timeout, "would wait for ever"
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KilledWorker("cell-0", cast(Any, None), 3), "4 workers died in turn on task cell-0"),
        (CleverError("no such cache"), "no such cache"),
        (OSError("disk\nfull"), "OSError: disk full"),
    ],
)
def test_a_task_that_fails_is_a_cell_that_failed(
    error: Exception, words: str, tmp_path: Path
) -> None:
    cell = make_cell(tmp_path)
    record = several._record(cast(Any, None), cell, cast(Any, Ended(error)))
    assert record.failure.startswith(words)
    assert "\n" not in record.failure
    assert (record.row, record.seed) == ("12345678", 3)
    assert record.folder == "cells/a-row-seed3-12345678"


def test_a_task_gives_its_record(tmp_path: Path) -> None:
    own = CellRecord(row="r", seed=0, folder="f")
    record = several._record(cast(Any, None), make_cell(tmp_path), cast(Any, Ended(own)))
    assert record is own


def test_paths_do_not_depend_on_the_workers_folder() -> None:
    cell = several.absolute(make_cell(Path("out")))
    here = Path.cwd()
    assert cell.out == here / "out"
    assert cell.row.settings.cache == here / "a.zarr"
    assert cell.row.settings.init == here / "runs/first"
    measured = cell.measurements[0].settings
    assert isinstance(measured, FinetuneSettings)
    assert measured.data_root == here / "drives"
    remote = PretrainSettings.resolve(None, {"cache": "s3://bucket/a.zarr"})
    assert several._absolute(remote) == remote


def test_what_a_cell_says_goes_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_cell(cell: Cell, threads: int) -> CellRecord:
        print(f"{cell.name} with {threads}", file=sys.stderr)
        return CellRecord(row=cell.row.key, seed=cell.seed, folder=cell.folder)

    monkeypatch.setattr(several, "run_cell", run_cell)
    cell = make_cell(tmp_path)
    for _ in range(2):
        several.run_alone(cell, 5)
    log = tmp_path / "cells/a-row-seed3-12345678/log.txt"
    assert log.read_text() == "a row, seed 3 with 5\n" * 2
    assert capsys.readouterr().err == ""
