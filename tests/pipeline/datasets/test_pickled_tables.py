"""Pickled tables of numbers: what they hold, and that nothing they name is run."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.errors import CleverError
from clever.pipeline.datasets.readers.pickled_tables import read_number_table

from .pickled_frames import call, frame, pickled, write_frame

COLUMNS: dict[str, Any] = {
    "x": np.array([1.5, -2.0, 3.25]),
    "d": np.array([0, 1, 0]),
    "y": np.array([4.0, 5.0, 6.0]),
}


def refused(path: Path, names: tuple[str, ...] = ()) -> str:
    with pytest.raises(CleverError) as caught:
        read_number_table(path, names)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("index", [None, np.array([7, 2, 40])])
def test_columns_and_row_labels(tmp_path: Path, index: Any) -> None:
    write_frame(tmp_path / "00.pkl.gz", COLUMNS, index)
    table = read_number_table(tmp_path / "00.pkl.gz", ("x", "d"))
    np.testing.assert_array_equal(table.index, [0, 1, 2] if index is None else index)
    assert set(table.columns) == set(COLUMNS)
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(table.columns[name], column)
        assert table.columns[name].dtype == column.dtype


def test_the_same_bytes_are_a_pandas_frame(tmp_path: Path) -> None:
    """The writer of these tests is checked by pandas itself, where its version still reads the old
    form."""
    pandas = pytest.importorskip("pandas")
    write_frame(tmp_path / "00.pkl.gz", COLUMNS)
    own = pandas.read_pickle(tmp_path / "00.pkl.gz")
    assert dict(own.dtypes) == {name: column.dtype for name, column in COLUMNS.items()}
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(own[name].to_numpy(), column)


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "system", ("touch {mark}",)),
        ("posix", "system", ("touch {mark}",)),
        ("builtins", "eval", ("open({mark!r}, 'w')",)),
        ("builtins", "getattr", (frame(COLUMNS), "__class__")),
        ("subprocess", "Popen", (["touch", "{mark}"],)),
        ("numpy", "load", ("{mark}",)),
        ("pandas", "read_pickle", ("{mark}",)),
        ("clever.pipeline.datasets.readers.pickled_tables", "read_number_table", ("{mark}", ())),
    ],
)
def test_a_malicious_pickle_is_refused(
    tmp_path: Path, module: str, name: str, arguments: tuple[Any, ...]
) -> None:
    mark = tmp_path / "mark"

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(part) for part in value]
        return value.format(mark=str(mark)) if isinstance(value, str) else value

    path = tmp_path / "00.pkl.gz"
    path.write_bytes(call(module, name, *map(placed, arguments)))
    told = refused(path)
    assert f"names {module}.{name}, which no table of numbers needs, and was not read" in told
    assert not mark.exists()


def test_a_call_hidden_in_a_column(tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {tmp_path / 'mark'}",)

    path = tmp_path / "00.pkl.gz"
    path.write_bytes(pickled(frame({"x": np.array([Shell()], object)})))
    assert "system, which no table of numbers needs" in refused(path)
    assert not (tmp_path / "mark").exists()
    # The marker is made where the same bytes are unpickled without care.
    pickle.loads(pickle.dumps(Shell()))
    assert (tmp_path / "mark").exists()


def test_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "00.pkl.gz"
    assert "No such file or directory; restore the file" in refused(path)
    path.write_bytes(b"no gzip")
    assert "Not a gzipped file" in refused(path)
    path.write_bytes(pickled(frame(COLUMNS))[:-20])
    assert refused(path).startswith(f"cannot read {path}: ")
    path.write_bytes(gzip.compress(gzip.decompress(pickled(frame(COLUMNS)))[:200]))
    assert "damaged (" in refused(path)
    for content in (5, {"x": [1.0]}, [np.zeros(3)]):
        path.write_bytes(pickled(content))
        assert "is no table of numbers as pandas wrote it before 1.3" in refused(path)
    path.write_bytes(pickled(frame({"x": np.array(["a", "b"], object)})))
    assert "is no table of numbers" in refused(path)
    write_frame(path, COLUMNS)
    assert "has no column z, t (it has x, y, d); restore" in refused(path, ("x", "z", "t"))


def test_rows_that_do_not_fit_the_index(tmp_path: Path) -> None:
    path = tmp_path / "00.pkl.gz"
    write_frame(path, COLUMNS, np.arange(4))
    assert "is no table of numbers" in refused(path)
