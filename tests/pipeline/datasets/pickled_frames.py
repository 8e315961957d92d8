"""Writes tables of numbers as pandas pickled them before its version 1.3, without pandas."""

import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Named:
    """An object that a pickle makes by calling a name, and then gives a state."""

    def __init__(self, module: str, name: str, arguments: tuple[Any, ...], state: Any) -> None:
        self.call, self.arguments, self.state = _Global(module, name), arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments, self.state


class _Global:
    """A name in a pickle, whatever there is behind it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None: ...


class _Made:
    """An object of a class, made without a call and given a state."""

    def __init__(self, module: str, name: str, state: Any) -> None:
        self.kind, self.state = _Global(module, name), state


_PythonPickler: Any = vars(pickle)["_Pickler"]
"""The pickler whose steps can be replaced."""


class _Pickler(_PythonPickler):
    """Writes every `_Global` as the name that it is, and `_Made` as pandas did."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Made):
            for part in (obj.kind, ()):
                self.save(part)
            self.write(pickle.NEWOBJ)
            self.save(obj.state)
            self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def pickled(content: Any) -> bytes:
    """Bytes of a pickle, gzipped."""
    buffer = io.BytesIO()
    _Pickler(buffer, 3).dump(content)
    return gzip.compress(buffer.getvalue())


def call(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls a name, gzipped."""
    return pickled(_Named(module, name, arguments, None))


def frame(columns: dict[str, NDArray[Any]], index: NDArray[np.int64] | None = None) -> Any:
    """A data frame: one block of each type, as PandaSet's files have them."""
    base = "pandas.core.indexes.base"
    count = len(next(iter(columns.values())))

    def new_index(module: str, kind: str, state: dict[str, Any]) -> _Named:
        return _Named(base, "_new_Index", (_Global(module, kind), {**state, "name": None}), None)

    items = new_index(base, "Index", {"data": np.array(list(columns), object)})
    rows = new_index(
        "pandas.core.indexes.range", "RangeIndex", {"start": 0, "stop": count, "step": 1}
    )
    if index is not None:
        rows = new_index("pandas.core.indexes.numeric", "Int64Index", {"data": index})
    blocks = []
    for kind in dict.fromkeys(column.dtype for column in columns.values()):
        places = [n for n, column in enumerate(columns.values()) if column.dtype == kind]
        values = np.stack([list(columns.values())[place] for place in places])
        slices = slice(places[0], places[-1] + 1)
        whole = places == list(range(places[0], places[-1] + 1))
        blocks.append({"values": values, "mgr_locs": slices if whole else np.array(places)})
    axes = [items, rows]
    state = (axes, [], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
    manager = _Made("pandas.core.internals.managers", "BlockManager", state)
    return _Made(
        "pandas.core.frame", "DataFrame", {"_data": manager, "_typ": "dataframe", "attrs": {}}
    )


def write_frame(
    path: Path, columns: dict[str, NDArray[Any]], index: NDArray[np.int64] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickled(frame(columns, index)))
