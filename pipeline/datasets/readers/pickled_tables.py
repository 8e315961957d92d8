"""Tables of numbers that pandas pickled, read without pandas and without running what they name.

A pickle says which functions to call. Here only the nine names that such a table needs are taken,
and those of pandas stand for classes of this module that hold what they are given.
"""

import gzip
import io
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError


@dataclass(frozen=True, slots=True)
class NumberTable:
    """A table.

    Attributes:
        index: (rows,) int64 label of every row.
        columns: (rows,) numbers of every column by name.
    """

    index: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]


def read_number_table(path: Path, names: tuple[str, ...]) -> NumberTable:
    """Read columns of a gzipped pickle of a pandas.DataFrame, in the form that pandas wrote before
    its version 1.3, as PandaSet's files have it.

    Raises:
        CleverError: the file is missing or damaged, names what is not admitted, is no table of
            numbers or lacks one of the columns.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise CleverError(f"cannot read {path}: {reason}; restore the file") from error
    except (EOFError, zlib.error) as error:
        raise CleverError(f"cannot read {path}: {error}; restore the file") from error
    try:
        held = _TableUnpickler(io.BytesIO(data)).load()
    except _NotAdmittedError as error:
        raise CleverError(
            f"{path} names {error}, which no table of numbers needs, and was not read; take the "
            "file from the dataset's own download"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise CleverError(
            f"cannot read {path}: damaged ({type(error).__name__}); restore the file"
        ) from error
    try:
        table = _table(held)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CleverError(
            f"{path} is no table of numbers as pandas wrote it before 1.3; take the file from the "
            "dataset's own download"
        ) from error
    if missing := [name for name in names if name not in table.columns]:
        raise CleverError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(table.columns)}); "
            "restore the file"
        )
    return table


class _NotAdmittedError(Exception):
    pass


class _Held:
    """Stands for a class of pandas: holds its arguments and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Held):
    pass


class _Blocks(_Held):
    pass


class _Index(_Held):
    """Made by ``_new_Index(class, {"data": ...})`` or ``{"start": ..., "stop": ..., "step": ...}``.

    The class is one of the two below; nothing is made of it.
    """


class _IndexKind(_Held):
    pass


class _RangeKind(_Held):
    pass


# The function that numpy's arrays name, under its old and its new path.
_reconstruct = np.empty(0).__reduce__()[0]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "_new_Index"): _Index,
    ("pandas.core.indexes.base", "Index"): _IndexKind,
    ("pandas.core.indexes.numeric", "Int64Index"): _IndexKind,
    ("pandas.core.indexes.range", "RangeIndex"): _RangeKind,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("builtins", "slice"): slice,
}


class _TableUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = (module_name, global_name)
        if name not in _ADMITTED:
            raise _NotAdmittedError(".".join(name))
        return _ADMITTED[name]


def _table(frame: Any) -> NumberTable:
    """The table of a frame's state: blocks of columns of one type, each (columns, rows)."""
    blocks = frame.state["_data"] if isinstance(frame, _Frame) else None
    if not isinstance(blocks, _Blocks):
        raise TypeError("no frame")
    # Three older forms of the same come first; the version names the one that is read.
    parts = blocks.state[3]["0.14.1"]
    items, rows = (_labels(axis) for axis in parts["axes"])
    names = [str(name) for name in items]
    index = np.asarray(rows, np.int64)
    columns: dict[str, NDArray[Any]] = {}
    for block in parts["blocks"]:
        places, values = np.arange(len(names))[block["mgr_locs"]], np.asarray(block["values"])
        if values.shape != (len(places), len(index)) or values.dtype.kind not in "biuf":
            raise ValueError("a block is no numbers of that shape")
        columns.update(
            {names[place]: row for place, row in zip(places.tolist(), values, strict=True)}
        )
    return NumberTable(index, columns)


def _labels(index: Any) -> NDArray[Any]:
    """Labels of an axis."""
    kind, state = index.arguments
    if kind is _RangeKind:
        return np.arange(state["start"], state["stop"], state["step"])
    return np.asarray(state["data"])
