"""A command's result for other programs: one JSON object on standard output, a table as CSV."""

import io
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel

from ..errors import CleverError
from ..files import atomic_write
from ..names import visible
from ..pipeline.results.tables import csv_text
from ..pipeline.settings.shared.base import JobSettings
from .verbs import Verb, load
from .wrapping import wrapped

Cell = str | int | float | None
Table = Sequence[Mapping[str, Cell]]
"""Rows of a table; all have the same columns."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a result goes.

    Attributes:
        as_json: one JSON object instead of text.
        csv: file for the result's table.
    """

    as_json: bool = False
    csv: Path | None = None

    def check(self) -> None:
        """Refuse, before the job runs, a file that cannot be written.

        Raises:
            CleverError: it is a folder, or lies in what is none.
        """
        if self.csv is None:
            return
        if self.csv.is_dir():
            raise CleverError(f"cannot write {self.csv}: it is a folder; choose another --csv")
        parent = next(path for path in self.csv.absolute().parents if path.exists())
        if not parent.is_dir():
            raise CleverError(f"cannot write {self.csv}: {parent} is a file; choose another --csv")

    def write(self, verb: Verb, settings: JobSettings, result: object) -> int:
        """Write and print a result, on a terminal in lines that fit it; returns the exit code of
        its printer.

        Raises:
            CleverError: the CSV file cannot be written.
        """
        printer = load(verb.printer)
        if self.csv:
            atomic_write(self.csv, table_text(load(verb.table)(result)))
        if not self.as_json and not sys.stdout.isatty():
            with redirect_stdout(_Visible(sys.stdout)):
                return printer(settings, result)
        with redirect_stdout(io.StringIO()) as text:
            code = printer(settings, result)
        if self.as_json:  # the printer's text is not asked for, but it knows the exit code
            print(json_text(result))
        else:
            _Visible(sys.stdout).write(wrapped(text.getvalue(), shutil.get_terminal_size().columns))
        return code


class _Visible(io.TextIOBase):
    """Standard output to which lines are printed as any terminal shows them, whatever names a
    store or a folder holds."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.terminal.write("\n".join(map(visible, text.split("\n"))))
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()


def json_text(result: object) -> str:
    """A result as one JSON object; one that is none in JSON, such as a list, is the object's
    ``result``."""
    value = json_value(result)
    content = value if isinstance(value, dict) else {"result": value}
    return json.dumps(content, indent=2, ensure_ascii=not _takes_all(), allow_nan=False)


def _takes_all() -> bool:
    """Whether standard output is in an encoding of all characters."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def json_value(value: object) -> Any:
    """`value` as plain JSON values: what its ``to_json()`` gives where it has one, else its fields;
    a number that is not finite becomes null.

    Raises:
        TypeError: it has neither.
    """
    if callable(own_form := getattr(value, "to_json", None)):
        return json_value(own_form())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return json_value(dict(value))
    if is_dataclass(value):
        return {part.name: json_value(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, Set):
        return [json_value(part) for part in sorted(value)]
    if isinstance(value, Sequence):
        return [json_value(part) for part in value]
    raise TypeError(f"no JSON form of {type(value).__name__}")


def table_text(table: Table) -> str:
    """A table as CSV: a header, then a line a row; a value that is none is an empty cell.

    Raises:
        ValueError: a row has other columns than the first.
    """
    columns = list(table[0]) if table else []
    for row in table:
        if list(row) != columns:
            raise ValueError(f"columns {list(row)} beside {columns}")
    return csv_text([columns, *(list(row.values()) for row in table)])
