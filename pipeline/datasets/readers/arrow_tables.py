"""Parquet and Feather files: columns, rows, and images inside a row.

They are read by pyarrow, an optional package, imported where the first file is opened.
"""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError

GROUPS = 4
"""Decoded row groups that a process holds: frames that follow each other lie in the same ones."""

Stamp = tuple[int, int]
"""Time of the last change and bytes of a file: whatever was held of an older one is dropped."""


def arrow(module: str) -> ModuleType:
    """The module ``pyarrow.<module>``; raises CleverError where pyarrow is not to be had."""
    try:
        return import_module(f"pyarrow.{module}")
    except ImportError as error:
        raise CleverError(
            f"Parquet and Feather files need the package pyarrow ({error}): pip install "
            "'clever-distiller[datasets]'"
        ) from error


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A Parquet file; every method raises CleverError where it is missing, damaged or lacks a
    column."""

    path: Path

    def column(self, name: str) -> NDArray[Any]:
        """(rows,) values of a column of numbers or words, without nulls."""
        return _column(self.path, _stamp(self.path), name)

    def row(self, number: int, names: Sequence[str]) -> list[Any]:
        """Values of some columns in a row: numbers and bytes as they are, lists as arrays, None for
        null. The whole row group is decoded, and held for the rows that follow."""
        stamp = _stamp(self.path)
        groups = _row_groups(self.path, stamp)
        ends = np.cumsum(groups)
        group = int(np.searchsorted(ends, number, "right"))
        if not 0 <= number < ends[-1]:
            raise CleverError(f"{self.path} has {ends[-1]} rows, none of number {number}")
        with _DECODING:  # two threads that want one group decode it once
            table = _group(self.path, stamp, group, tuple(names))
        place = number - int(ends[group]) + groups[group]
        return [_cell(table.column(name)[place]) for name in names]


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """An encoded image in a row of a Parquet file: see `cache.frame.EmbeddedImage`."""

    table: ParquetTable
    row: int
    column: str

    def open(self) -> BinaryIO:
        (data,) = self.table.row(self.row, [self.column])
        if not isinstance(data, bytes):
            raise CleverError(f"image {self} is missing; restore the file")
        return io.BytesIO(data)

    def __str__(self) -> str:
        return f"{self.table.path} (row {self.row}, column {self.column})"


def read_feather(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of a Feather file by name, (rows,) each, without nulls; raises CleverError where it
    is missing, damaged or lacks one."""
    feather = arrow("feather")
    try:
        table = feather.read_table(path, memory_map=False)
    except _errors() as error:
        raise _unreadable(path, error) from error
    _require(path, table.column_names, names)
    return {name: _numpy(path, name, table.column(name)) for name in names}


_DECODING = threading.Lock()


@lru_cache(256)
def _column(path: Path, stamp: Stamp, name: str) -> NDArray[Any]:
    column = _numpy(path, name, _read(path, stamp, None, [name]).column(name))
    column.flags.writeable = False
    return column


@lru_cache(GROUPS)
def _group(path: Path, stamp: Stamp, group: int, names: tuple[str, ...]) -> Any:
    """A pyarrow table of some columns of a row group."""
    return _read(path, stamp, group, names)


@lru_cache(256)
def _row_groups(path: Path, _: Stamp) -> list[int]:
    """Rows of every row group."""
    parquet = arrow("parquet")
    try:
        metadata = parquet.read_metadata(path)
        return [
            metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)
        ] or [0]
    except _errors() as error:
        raise _unreadable(path, error) from error


def _read(path: Path, _: Stamp, group: int | None, names: Sequence[str]) -> Any:
    parquet = arrow("parquet")
    try:
        with parquet.ParquetFile(path) as file:
            _require(path, file.schema_arrow.names, names)
            if group is None:
                return file.read(columns=list(names))
            return file.read_row_group(group, columns=list(names))
    except _errors() as error:
        raise _unreadable(path, error) from error


def _require(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in columns]:
        raise CleverError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(columns)}); restore the "
            "file"
        )


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_mtime_ns, status.st_size


def _errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a damaged file."""
    return OSError, ValueError, KeyError, arrow("lib").ArrowException


def _unreadable(path: Path, error: Exception) -> CleverError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CleverError(f"cannot read {path}: {' '.join(reason.split())}; restore the file")


def _numpy(path: Path, name: str, column: Any) -> NDArray[Any]:
    if column.null_count:
        raise CleverError(
            f"{path} has {column.null_count} empty values in column {name}; restore the file"
        )
    return column.to_numpy()


def _cell(value: Any) -> Any:
    if value.is_valid and hasattr(value, "values"):
        return value.values.to_numpy(zero_copy_only=False)
    return value.as_py()
