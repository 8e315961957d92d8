"""The table of an ablation: rows of settings, cells of a row and a seed, what each measured.

It imports nothing heavy, so that a table can be read and drawn where no network is. ``table.json``
of a folder holds an `AblationTable`; `ablation_formats` writes it for readers.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import CleverError
from .account import Account
from .protocols import Facts, protocol_line
from .statistics import Difference, Spread, spearman

TABLE_FILE = "table.json"
GONE = "†"
"""Marks rows that are no longer in the grid."""
RANKME = "rankme"
"""Key of the column that measurements are correlated with."""


class Column(BaseModel):
    """A figure that cells have.

    Attributes:
        key: its name in `CellRecord.figures`; of a measurement with a digest of its settings.
        title: its heading, with the unit.
        places: decimal places.
        marked: whether the best and the second row are marked.
        lower: whether lower is better.
        measurement: name of the downstream measurement in the grid; empty for what pre-training
            tells.
        figure: which of its figures, of a measurement that has several.
        stage: key of the measurement in `CellRecord.facts`; empty where it is `key`.
        in_grid: whether the grid still asks for it with these settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    title: str
    places: int
    marked: bool = False
    lower: bool = False
    measurement: str = ""
    figure: str = ""
    stage: str = ""
    in_grid: bool = True

    @property
    def short(self) -> str:
        """Measurement and figure, without the unit."""
        return " ".join(filter(None, (self.measurement, self.figure)))

    @property
    def stage_key(self) -> str:
        """Key of its measurement in what a cell records by stage."""
        return self.stage or self.key


PRETRAINING_COLUMNS = (
    Column(key="distillation", title="distillation loss", places=4),
    Column(key=RANKME, title="RankMe", places=2, marked=True),
    Column(key="rankme_centred", title="RankMe, centred", places=2),
    Column(key="matrix_rank", title="matrix rank", places=1),
)
"""What pre-training itself tells of a cell."""


class RowRecord(BaseModel):
    """Settings of cells that differ in their seeds alone.

    Attributes:
        key: digest of the settings.
        name: as the grid calls them.
        in_grid: whether the grid still has them.
        untrained: random weights.
        base: key of the row that this one is compared with; None for none.
        settings: of pre-training, as they are typed, without seed, machine and what changes
            nothing; empty for random weights, and where an earlier version did not record them.
        changes: names of those that are not the recipe's.
        published: the paper's figures by column, where it measured the row.
        counterpart: what the paper calls the row, and in which table.
        source: which tables of the paper, a line each, and in what this row's settings differ from
            the paper's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str
    in_grid: bool = True
    untrained: bool = False
    base: str | None = None
    settings: dict[str, str] = {}
    changes: list[str] = []
    published: dict[str, float] = {}
    counterpart: str = ""
    source: str = ""

    @property
    def title(self) -> str:
        """Its name, marked where it is no longer in the grid."""
        return self.name if self.in_grid else f"{self.name} {GONE}"


class CellRecord(BaseModel):
    """What became of one row with one seed.

    Attributes:
        row: key of the row.
        seed: its seed.
        folder: of its runs, below the table's folder.
        figures: by key of the column.
        facts: protocol of each stage, ``pre-training`` or a measurement's key, in named parts.
        runs: run folder of each stage, below the table's folder.
        seconds: training time of each stage, of what is not trained the time it took.
        frames_seen: frames that pre-training took, passes counted.
        failure: why stages failed, in one line; empty where nothing did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    seed: int
    folder: str
    figures: dict[str, float] = {}
    facts: dict[str, Facts] = {}
    runs: dict[str, str] = {}
    seconds: dict[str, float] = {}
    frames_seen: int = 0
    failure: str = ""


class AblationTable(BaseModel):
    """Everything that the cells of a folder have measured, and how.

    Attributes:
        grid: name of the grid.
        columns, rows, cells: in the order in which they are shown.
        account: what the cells cost, and what they would have with the teacher in the loop.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["clever-ablation-1"] = "clever-ablation-1"
    grid: str
    columns: list[Column]
    rows: list[RowRecord]
    cells: list[CellRecord]
    account: Account | None = None

    @classmethod
    def read(cls, path: Path) -> "AblationTable":
        """Read a ``table.json``.

        Raises:
            CleverError: it cannot be read, or is none of this version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            if path.name != TABLE_FILE:
                raise CleverError(
                    f"{path} is no table of `clever ablate`; give its folder or its {TABLE_FILE}"
                ) from error
            raise CleverError(
                f"{path} is damaged or of another version ({type(error).__name__}); remove it, and "
                "the same command makes it again from its runs"
            ) from error

    def __str__(self) -> str:
        from .ablation_formats import markdown

        return markdown(self)

    @property
    def bad(self) -> list[CellRecord]:
        """Cells of the grid that failed."""
        rows = {row.key for row in self.rows if row.in_grid}
        return [cell for cell in self.cells if cell.failure and cell.row in rows]

    def row(self, key: str) -> RowRecord:
        """The row of a key."""
        return next(row for row in self.rows if row.key == key)

    def shown_columns(self) -> list[Column]:
        """Columns of the grid that any cell has a figure of."""
        return [
            column
            for column in self.columns
            if column.in_grid and any(column.key in cell.figures for cell in self.cells)
        ]

    def measured(self) -> list[Column]:
        """Those of them that are downstream measurements."""
        return [column for column in self.shown_columns() if column.measurement]

    def cells_of(self, row: str) -> list[CellRecord]:
        """Cells of a row, by seed."""
        return sorted((cell for cell in self.cells if cell.row == row), key=lambda cell: cell.seed)

    def by_seed(self, row: str, column: str) -> dict[int, float]:
        """Figures of a row by seed."""
        return {
            cell.seed: cell.figures[column] for cell in self.cells_of(row) if column in cell.figures
        }

    def spread(self, row: str, column: str) -> Spread:
        """Mean and sample deviation of a row's figure over its seeds."""
        return Spread.of(list(self.by_seed(row, column).values()))

    def difference(self, row: str, column: str) -> Difference | None:
        """A row's figure minus its base's, over the seeds of both; None without a base."""
        base = self.row(row).base
        if base is None or base == row:
            return None
        return Difference.paired(self.by_seed(row, column), self.by_seed(base, column))

    def places_of(self, column: Column) -> dict[str, int]:
        """1 for the rows with the best mean of a column, 2 for the second ones, by key: among the
        rows of the grid, as the means are printed. RankMe compares trained students alone."""
        if not column.marked:
            return {}
        rows = [row for row in self.rows if row.in_grid]
        if not column.measurement:
            rows = [row for row in rows if not row.untrained]
        means = {
            row.key: round(mean, column.places)
            for row in rows
            if (mean := self.spread(row.key, column.key).mean) is not None
        }
        ranking = sorted(set(means.values()), reverse=not column.lower)[:2]
        if len(ranking) < 2:
            return {}
        return {key: 1 + ranking.index(mean) for key, mean in means.items() if mean in ranking}

    def rank_pairs(self, column: str) -> list[tuple[CellRecord, float, float]]:
        """(cell, RankMe, figure) of the pre-trained cells of the grid that have both."""
        rows = {row.key for row in self.rows if row.in_grid and not row.untrained}
        return [
            (cell, cell.figures[RANKME], cell.figures[column])
            for cell in self.cells
            if cell.row in rows and {RANKME, column} <= cell.figures.keys()
        ]

    def correlation(self, column: str) -> float | None:
        """Spearman's rank correlation of RankMe and a measurement over pre-trained cells."""
        pairs = self.rank_pairs(column)
        return spearman([rank for _, rank, _ in pairs], [figure for _, _, figure in pairs])

    def protocol(self) -> list[str]:
        """How the figures were made, a line a stage; what is not equal in all cells is said to
        differ. Rows that are no longer in the grid have a line where it is another."""
        titles = {column.stage_key: column.measurement for column in self.measured()}
        lines = []
        for key, title in {"pre-training": "pre-training", **titles}.items():
            present, earlier = self._protocol(key, True), self._protocol(key, False)
            lines += [f"{title}: {present}"] if present else []
            lines += [f"{title} {GONE}: {earlier}"] if earlier not in ("", present) else []
        return lines

    def _protocol(self, stage: str, in_grid: bool) -> str:
        """Of a stage of the rows that are in the grid, or of the others; empty without any."""
        rows = {row.key for row in self.rows if row.in_grid == in_grid}
        return protocol_line(
            [cell.facts[stage] for cell in self.cells if cell.row in rows and stage in cell.facts]
        )

    def seeds(self) -> list[int]:
        """Seeds of the grid's rows."""
        shown = {row.key for row in self.rows if row.in_grid}
        return sorted({cell.seed for cell in self.cells if cell.row in shown})


def grown(earlier: AblationTable | None, present: AblationTable) -> AblationTable:
    """`present` with what an earlier table of the folder has beyond it: columns and rows that the
    grid no longer asks for, marked so, other seeds of its rows and earlier figures of its cells."""
    if earlier is None:
        return present
    column_keys = {column.key for column in present.columns}
    row_keys = {row.key for row in present.rows}
    cells = {(cell.row, cell.seed): cell for cell in earlier.cells}
    for cell in present.cells:
        place = (cell.row, cell.seed)
        cells[place] = _joined(cells[place], cell) if place in cells else cell
    return AblationTable(
        grid=present.grid,
        columns=[
            *present.columns,
            *(
                column.model_copy(update={"in_grid": False})
                for column in earlier.columns
                if column.key not in column_keys
            ),
        ],
        rows=[
            *present.rows,
            *(
                row.model_copy(update={"in_grid": False})
                for row in earlier.rows
                if row.key not in row_keys
            ),
        ],
        cells=list(cells.values()),
        account=present.account,
    )


def _joined(earlier: CellRecord, present: CellRecord) -> CellRecord:
    """A cell with what it measured before under other settings of measurements; of a stage that
    was done before, the protocol is that of then."""
    joined = {
        name: {**getattr(earlier, name), **getattr(present, name)}
        for name in ("figures", "runs", "seconds")
    }
    return present.model_copy(update={**joined, "facts": {**present.facts, **earlier.facts}})
