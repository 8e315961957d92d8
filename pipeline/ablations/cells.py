"""The cells of a grid: every row with every seed, resolved before the first of them is trained."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import CleverError
from ..pretraining.stores import open_teachers
from ..results.ablation_table import TABLE_FILE
from ..results.run_names import digest, folder_name
from ..settings.ablate import AblateSettings
from ..settings.pretrain import PretrainSettings
from ..settings.shared.grid import Grid, Values, read_grid
from .assignments import with_assignments
from .identities import Memo, frames_digest, pretraining_digest
from .measurements import Measurement, resolve_measurements

UNTRAINED = "random weights"
CELLS = "cells"
"""Folder of the cells' runs."""
PRETRAINING, RANKS = "pretrain", "rankme"
"""Folders of stages in a cell's."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells that differ in their seeds alone.

    Attributes:
        name: for the table.
        key: digest of what decides it beside the seed.
        settings: of pre-training, without seed and folder; of random weights those of a row with
            the same student, of which only the student and the frames for RankMe matter.
        untrained: random weights.
        rank_key: of random weights: digest of the frames that RankMe is measured on.
    """

    name: str
    key: str
    settings: PretrainSettings
    untrained: bool = False
    rank_key: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A row with a seed, and the folder of its runs.

    Attributes:
        out: folder of the table.
        measurements: what is measured of it.
    """

    row: Row
    seed: int
    out: Path
    measurements: tuple[Measurement, ...]
    device: str = "auto"

    @property
    def name(self) -> str:
        """For a line of progress."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def stages(self) -> list[str]:
        """Folders of its runs, in the folder of the cell."""
        ranks = [f"{RANKS}-{self.row.rank_key}"] if self.row.rank_key else []
        first = ranks if self.row.untrained else [PRETRAINING]
        return [*first, *(measurement.key for measurement in self.measurements)]

    @property
    def folder(self) -> str:
        """Of its runs, below `out`: that of an earlier name of the row where there is one."""
        ending = f"seed{self.seed}-{self.row.key}"
        earlier = sorted((self.out / CELLS).glob(f"*-{ending}"))
        name = earlier[0].name if earlier else f"{folder_name(self.row.name)}-{ending}"
        return f"{CELLS}/{name}"


@dataclass(frozen=True)
class Plan:
    """A grid with everything resolved.

    Attributes:
        name: of the grid.
        grid: as the file says it.
        rows: random weights first.
        base: key of the row that others are compared with; None: random weights.
    """

    name: str
    grid: Grid
    out: Path
    seeds: tuple[int, ...]
    rows: list[Row]
    measurements: tuple[Measurement, ...]
    base: str | None
    device: str

    @cached_property
    def cells(self) -> list[Cell]:
        """All rows with the first seed, then with the second and so on."""
        return [
            Cell(row, seed, self.out, self.measurements, self.device)
            for seed in self.seeds
            for row in self.rows
        ]


def resolve_grid(settings: AblateSettings) -> Plan:
    """Read a grid and check every setting of every cell.

    Raises:
        CleverError: an unknown or wrong setting, two rows that are the same run, a base that is no
            row, a cache, dataset or initial weights that are not there, an `out` that holds
            something else.
    """
    name, grid = read_grid(settings.grid)
    grid = with_assignments(grid, settings)
    memo: Memo = {}
    trained = list(_trained_rows(grid, settings, memo))
    _refuse_twins(trained)
    dataset = open_teachers(trained[0].settings)[0].name
    measurements = resolve_measurements(grid, settings, dataset, memo)
    untrained = _untrained_rows(trained, memo) if grid.untrained and measurements else []
    rows = [*untrained, *trained]
    base = next((row.key for row in rows if row.name == grid.base), None)
    if grid.base is not None and base is None:
        raise CleverError(
            f"grid {settings.grid}: base is {grid.base!r}, which is no row; there are "
            f"{', '.join(row.name for row in rows)}"
        )
    out = settings.out or Path("ablations") / name
    _refuse_other(out)
    seeds = settings.seeds or grid.seeds
    return Plan(name, grid, out, seeds, rows, measurements, base, settings.device)


def _refuse_other(out: Path) -> None:
    """Raise CleverError where `out` is no folder, or holds something and no table."""
    if out.is_dir() and any((out / name).exists() for name in (TABLE_FILE, CELLS)):
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CleverError(f"{out} exists and holds no table of ablations; choose another `out`")


def combinations(vary: Mapping[str, list[Any]]) -> list[Values]:
    """Every combination of the values of some settings, the last one running fastest."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def name_of(values: Values) -> str:
    """``head=mlp occupancy_weight=0``."""
    return " ".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _trained_rows(grid: Grid, settings: AblateSettings, memo: Memo) -> Iterator[Row]:
    named = grid.rows or {"": {}}
    for (label, own), combination in itertools.product(named.items(), combinations(grid.vary)):
        name = " ".join(part for part in (label, name_of(combination)) if part) or "as given"
        where = f"grid {settings.grid}, row {name}"
        for setting in own.keys() & combination.keys():
            raise CleverError(
                f"{where}: {setting} is in the row and in vary; leave one of them out"
            )
        values = {**grid.pretrain, **own, **combination}
        choice = grid.caches.get(str(values.get("cache")))
        values |= {**choice.values()} if choice else {}
        try:
            resolved = PretrainSettings.resolve(None, {**values, "device": settings.device})
            yield Row(name, pretraining_digest(resolved, memo), resolved)
        except CleverError as error:
            raise CleverError(f"{where}: {error}") from error


def _untrained_rows(trained: list[Row], memo: Memo) -> list[Row]:
    """Random weights of every student of the grid."""
    students: dict[tuple[Any, ...], PretrainSettings] = {}
    for row in trained:
        students.setdefault(_student(row), row.settings)
    rows = []
    for student, own in students.items():
        words = f" ({own.student} at {own.voxel_size:g} m)" if len(students) > 1 else ""
        ranks = frames_digest(own, memo) if own.rankme_every else ""
        rows.append(Row(f"{UNTRAINED}{words}", digest("untrained", *student), own, True, ranks))
    return rows


def untrained_twin(row: Row, rows: list[Row]) -> Row | None:
    """Random weights of a row's student among `rows`, or None."""
    twins = (other for other in rows if other.untrained and _student(other) == _student(row))
    return next(twins, None)


def _student(row: Row) -> tuple[Any, ...]:
    """What random weights depend on beside the seed."""
    return row.settings.student, row.settings.voxel_size, row.settings.ptv3_form


def _refuse_twins(rows: list[Row]) -> None:
    """Refuse two rows that would be the same run.

    Raises:
        CleverError: see above.
    """
    earlier: dict[str, Row] = {}
    for row in rows:
        if row.key in earlier:
            raise CleverError(
                f"the grid has the same run twice: {earlier[row.key].name} and {row.name}; leave "
                "one of them out"
            )
        earlier[row.key] = row
