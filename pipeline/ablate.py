"""A table of ablations: every row of a grid with every seed is pre-trained and measured once."""

import shlex
from collections.abc import Generator
from contextlib import closing

from ..cache.store.files.lock import writer_lock
from ..errors import CleverError
from ..files import atomic_write
from ..words import quantity
from .ablations.account import Layer, account_of, layers_of, measure_online
from .ablations.cells import Cell, Plan, Row, resolve_grid, untrained_twin
from .ablations.paper import counterpart, published_figures
from .ablations.run_cell import finished, run_cell
from .pictures.ablation import cost_bars, rank_scatter
from .pretraining.recipe_changes import changed_names, told_settings
from .results import ablation_formats
from .results.ablation_table import (
    PRETRAINING_COLUMNS,
    TABLE_FILE,
    AblationTable,
    CellRecord,
    RowRecord,
    grown,
)
from .results.account import OnlineCost
from .results.run_folder import notice
from .results.run_names import folder_name
from .results.statistics import FEWEST_RANKS
from .settings.ablate import AblateSettings

FORMATS = {
    "table.md": ablation_formats.markdown,
    "table.csv": ablation_formats.csv,
    "table.tex": ablation_formats.latex,
}
"""Files of the table beside ``table.json``."""
COST_PICTURE = "account.png"


def ablate(settings: AblateSettings) -> AblationTable:
    """Do every cell that is not finished yet and write the table after each.

    A cell that fails is recorded with its reason and costs no other; the same command tries it
    again. The table of a folder grows: what an earlier grid measured there stays in it.

    Raises:
        CleverError: see `resolve_grid`; a table that cannot be read or written, or that another
            process is at work on.
        KeyboardInterrupt: the user stopped it; the message says how it goes on.
    """
    if settings.workers and settings.scheduler:
        raise CleverError("`workers` starts a cluster and `scheduler` uses one; give one of them")
    plan = resolve_grid(settings)
    with writer_lock(plan.out, "out"):
        return _ablate(settings, plan)


def _ablate(settings: AblateSettings, plan: Plan) -> AblationTable:
    """The table of a plan, written after each cell."""
    layers = layers_of(plan)
    online = measure_online(settings, plan, layers)
    records: list[CellRecord] = []
    waiting = [cell for cell in plan.cells if not finished(cell)]
    for cell in plan.cells:
        if cell not in waiting:
            records.append(run_cell(cell, settings.threads))
    table = _write(plan, records, layers, online)
    try:
        with closing(_run(settings, waiting, len(plan.cells))) as fresh:
            for record in fresh:
                records.append(record)
                table = _write(plan, records, layers, online)
    except KeyboardInterrupt:
        count = sum(not record.failure for record in records)
        raise KeyboardInterrupt(
            f"stopped; {count} of {quantity(len(plan.cells), 'cell')} are finished and stay, "
            "and so does what "
            f"the others have done; this goes on: {command_line(settings)}"
        ) from None
    _draw(plan, table)
    notice(f"written to {plan.out}")
    return table


def _run(
    settings: AblateSettings, cells: list[Cell], total: int
) -> Generator[CellRecord, None, None]:
    """Records of cells as they end, here one after another or several at once on workers."""
    if not cells:
        return
    first = total - len(cells) + 1
    if not settings.workers and not settings.scheduler:
        for number, cell in enumerate(cells, first):
            notice(f"cell {number} of {total}: {cell.name}")
            yield run_cell(cell, settings.threads)
        return
    from .ablations.several import run_on_workers  # Dask takes a second to import

    names = {(cell.row.key, cell.seed): cell.name for cell in cells}
    workers = settings.workers or 0
    records = run_on_workers(cells, settings.threads, workers, settings.scheduler, settings.device)
    with closing(records):
        for number, record in enumerate(records, first):
            outcome = f"failed: {record.failure}" if record.failure else "done"
            notice(f"cell {number} of {total}: {names[record.row, record.seed]}, {outcome}")
            yield record


def command_line(settings: AblateSettings) -> str:
    """The command of some settings, as it is typed."""
    words = ["clever", "ablate", settings.grid]
    values = settings.model_dump(mode="json", exclude_defaults=True, exclude={"grid"})
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "set":
            words += [word for text in value for word in (flag, text)]
        elif value is not None:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def _write(
    plan: Plan, records: list[CellRecord], layers: list[Layer], online: list[OnlineCost]
) -> AblationTable:
    """Bring the table of the folder up to date in all its forms."""
    path = plan.out / TABLE_FILE
    earlier = AblationTable.read(path) if path.exists() else None
    table = grown(earlier, _table(plan, records))
    measured = online or (earlier.account.online if earlier and earlier.account else [])
    ids = {layer.cache.teacher.id for layer in layers}
    table.account = account_of(table, layers, [cost for cost in measured if cost.layer in ids])
    atomic_write(path, table.model_dump_json(indent=1) + "\n")
    for name, text_of in FORMATS.items():
        atomic_write(plan.out / name, f"{text_of(table)}\n")
    return table


def _draw(plan: Plan, table: AblationTable) -> None:
    """Write the pictures of a table."""
    for column in table.measured():
        picture = plan.out / f"rankme-{folder_name(column.short)}.png"
        if len(table.rank_pairs(column.key)) < FEWEST_RANKS:
            picture.unlink(missing_ok=True)  # of fewer rows than an earlier grid had
        else:
            rank_scatter(table, column, picture)
    if table.account and table.account.cells:
        cost_bars(table.account, table.grid, plan.out / COST_PICTURE)


def _table(plan: Plan, records: list[CellRecord]) -> AblationTable:
    """The table of the grid as it is."""
    return AblationTable(
        grid=plan.grid.title or plan.name,
        columns=[
            *PRETRAINING_COLUMNS,
            *(column for one in plan.measurements for column in one.columns.values()),
        ],
        rows=[_row_record(plan, row) for row in plan.rows],
        cells=records,
    )


def _row_record(plan: Plan, row: Row) -> RowRecord:
    twin = untrained_twin(row, plan.rows)
    base = plan.base or (twin.key if twin else None)
    figures, source = published_figures(row, plan.measurements)
    return RowRecord(
        key=row.key,
        name=row.name,
        untrained=row.untrained,
        base=None if base == row.key else base,
        settings={} if row.untrained else told_settings(row.settings),
        changes=[] if row.untrained else changed_names(row.settings),
        published=figures,
        source=source,
        counterpart=counterpart(row) if figures else "",
    )
