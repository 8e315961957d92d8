"""A table of ablations for readers: Markdown (which is also what a terminal shows), CSV, LaTeX."""

from collections.abc import Callable, Sequence
from functools import partial

from ...words import quantity
from .ablation_table import GONE, AblationTable, CellRecord, Column, RowRecord
from .row_settings import setting_lines
from .statistics import CONFIDENCE, FEWEST_RANKS
from .tables import csv_text, markdown_table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "−": "$-$",
    "→": r"$\to$",
}
"""Characters that mean something else in LaTeX, or that not every font has."""
Mark = Callable[[str, int], str]
"""Text of a figure and its place, 1, 2 or 0, to the text as it is marked."""


def markdown(table: AblationTable) -> str:
    """The table, then a line for everything that a reader has to know of it; best bold, second
    italic."""
    header, rows = table_cells(table, _markdown_mark)
    return "\n".join([markdown_table(header, rows), "", *notes(table)])


def latex(table: AblationTable) -> str:
    """A ``tabular`` of booktabs and the notes as comments; best bold, second underlined."""
    header, rows = table_cells(table, _latex_mark)
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule"]
    lines.append(" & ".join(map(latex_text, header)) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join([latex_text(row[0]), *row[1:]]) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {line}" for line in notes(table))])


def latex_text(text: str) -> str:
    """`text` with what LaTeX would take for something else."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def csv(table: AblationTable) -> str:
    """A line a cell with every figure that it ever had, means left to the reader."""
    columns = table.columns
    header = ["row", "in_grid", "seed", *(column.key for column in columns), "failure", "folder"]
    lines = [_csv_line(table.row(cell.row), cell, columns) for cell in table.cells]
    return csv_text([header, *lines])


def _csv_line(row: RowRecord, cell: CellRecord, columns: Sequence[Column]) -> list[object]:
    figures = [cell.figures.get(column.key) for column in columns]
    return [
        row.name,
        "yes" if row.in_grid else "no",
        cell.seed,
        *figures,
        cell.failure,
        cell.folder,
    ]


def notes(table: AblationTable) -> list[str]:
    """What stands under a table: how its figures are made and what its marks mean."""
    seeds = ", ".join(map(str, table.seeds()))
    several = len(table.seeds()) > 1
    spread = f"mean ± sample standard deviation over seeds {seeds}" if several else f"seed {seeds}"
    marked = any(table.places_of(column) for column in table.shown_columns())
    lines = [spread + ("; best bold, second italic or underlined" if marked else "")]
    bases = dict.fromkeys(table.row(row.base).title for row in table.rows if row.base)
    if any(column.lower for column in table.measured()):
        titles = ", ".join(column.title for column in table.measured() if column.lower)
        lines.append(f"lower is better in {titles}")
    if bases and table.measured():
        lines.append(
            f"− base: mean difference to the row's base ({' or '.join(bases)}) over the seeds of "
            "both, seed by seed"
            + f", ± half width of its {100 * CONFIDENCE:g} % t-interval"
            * several
        )
    lines += [*setting_lines(table.rows), *table.protocol()]
    lines += _correlations(table)
    lines += _counterparts(table.rows)
    lines += dict.fromkeys(line for row in table.rows for line in row.source.splitlines())
    if any(not row.in_grid for row in table.rows):
        lines.append(f"{GONE} no longer in the grid; figures of an earlier one")
    hidden = dict.fromkeys(column.title for column in table.columns if not column.in_grid)
    if hidden:
        lines.append(f"not shown, of other settings than the grid's: {', '.join(hidden)}")
    lines += table.account.lines() if table.account else []
    for cell in table.bad:
        lines.append(f"failed: {table.row(cell.row).name}, seed {cell.seed}: {cell.failure}")
    return lines


def _counterparts(rows: Sequence[RowRecord]) -> list[str]:
    """Which of the paper's rows stand beside ours."""
    pairs = [f"{row.title} beside {row.counterpart}" for row in rows if row.counterpart]
    return [f"paper's rows: {'; '.join(pairs)}"] if pairs else []


def _correlations(table: AblationTable) -> list[str]:
    """A line a measurement, and one for all that too few cells have."""
    lines, few = [], 0
    for column in table.measured():
        pairs = len(table.rank_pairs(column.key))
        if pairs < FEWEST_RANKS:
            few = max(few, pairs)
        elif (correlation := table.correlation(column.key)) is not None:
            lines.append(
                f"rank correlation (Spearman) of RankMe and {column.title}: {correlation:.2f} over "
                f"{quantity(pairs, 'pre-trained cell')}"
            )
    if few:
        cells = quantity(few, "pre-trained cell")
        lines.append(f"{cells}: too few for a rank correlation with RankMe, or its picture")
    return lines


def table_cells(table: AblationTable, mark: Mark) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of text; `mark` makes the best and the second stand out."""
    shown = _shown(table, mark)
    rows = [[row.title, *(text(row) for _, text in shown)] for row in table.rows]
    return ["", *(heading for heading, _ in shown)], rows


def _shown(table: AblationTable, mark: Mark) -> list[tuple[str, Callable[[RowRecord], str]]]:
    """Headings of what is shown of every row, and its text."""
    shown: list[tuple[str, Callable[[RowRecord], str]]] = [("seeds", partial(_seeds, table))]
    for column in table.shown_columns():
        shown.append((column.title, partial(_mean, table, column, table.places_of(column), mark)))
        compared = any(table.difference(row.key, column.key) for row in table.rows)
        if column.measurement and compared:
            shown.append((f"{column.short} − base", partial(_difference, table, column, mark)))
        if any(column.key in row.published for row in table.rows if row.in_grid):
            shown.append((f"{column.title}, paper", partial(_published, column)))
    return shown


def _seeds(table: AblationTable, row: RowRecord) -> str:
    return str(sum(bool(cell.figures) for cell in table.cells_of(row.key)))


def _mean(
    table: AblationTable, column: Column, places: dict[str, int], mark: Mark, row: RowRecord
) -> str:
    return mark(table.spread(row.key, column.key).text(column.places), places.get(row.key, 0))


def _difference(table: AblationTable, column: Column, mark: Mark, row: RowRecord) -> str:
    difference = table.difference(row.key, column.key)
    return mark(difference.text(column.places) if difference else "", 0)


def _published(column: Column, row: RowRecord) -> str:
    figure = row.published.get(column.key)
    return "" if figure is None else f"{figure:g}"


def _markdown_mark(text: str, place: int) -> str:
    return {0: text, 1: f"**{text}**", 2: f"*{text}*"}[place]


def _latex_mark(text: str, place: int) -> str:
    own = latex_text(text)
    return {0: own, 1: rf"\textbf{{{own}}}", 2: rf"\underline{{{own}}}"}[place]
