"""Tables of ablations as parts of the page."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..results.ablation_formats import notes, table_cells
from ..results.ablation_table import TABLE_FILE, AblationTable
from .images import Picture, file_picture

PICTURES = (
    ("rankme-*.png", "RankMe of every pre-trained cell against what it reached with labels."),
    ("account.png", "What the teacher and the students cost."),
)
"""What `clever ablate` draws beside a table: names of the files, and what they show."""


@dataclass(frozen=True, slots=True)
class AblationPart:
    """A table of ablations.

    Attributes:
        name: of its grid.
        header: of the columns after the first.
        rows: name of the settings, then the other cells.
        notes: how the figures were measured and what marks mean, a line each.
        pictures: those that `clever ablate` drew beside the table.
    """

    name: str
    header: list[str]
    rows: list[tuple[str, list[str]]]
    notes: list[str]
    pictures: list[Picture]


def table_file(place: Path) -> Path | None:
    """The file of the table that `place` names, itself or by its folder; None for what is none."""
    if place.is_file() and place.suffix == ".json":
        return place
    file = place / TABLE_FILE
    return file if file.is_file() else None


def ablation_part(path: Path) -> AblationPart:
    """The table in a ``table.json``.

    Raises:
        CleverError: the file is none, or damaged.
    """
    table = AblationTable.read(path)
    header, rows = table_cells(table, _marked)
    files = [(file, words) for form, words in PICTURES for file in sorted(path.parent.glob(form))]
    return AblationPart(
        table.grid,
        header[1:],
        [(row[0], list(row[1:])) for row in rows],
        notes(table),
        [file_picture(file, file.stem, words) for file, words in files],
    )


def _marked(text: str, place: int) -> str:
    """The best bold, the second in italics."""
    return Markup(("{}", "<b>{}</b>", "<i>{}</i>")[place]).format(text) if place else text
