"""Tables as text: in Markdown that also lines up as plain text, and as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table that also lines up as plain text: the first column to the left, the others
    to the right."""
    header, *rows = ([text.replace("|", r"\|") for text in row] for row in (header, *rows))
    widths = [_column_width(column) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(row: Sequence[str]) -> str:
        right = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        return "| " + " | ".join([row[0].ljust(widths[0]), *right]) + " |"

    return "\n".join(map(line, [header, rule, *rows]))


def table_width(columns: Iterable[Sequence[str]]) -> int:
    """Characters in a line of a `markdown_table` of columns, each with its header."""
    return sum(_column_width(column) + 3 for column in columns) + 1


def _column_width(column: Sequence[str]) -> int:
    return max(3, *map(len, column))


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Lines of cells as CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
