"""Small text files beside recordings: a row of numbers a line."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError


def text_lines(path: Path) -> tuple[str, ...]:
    """Lines of a file; raises OSError where it cannot be read."""
    return tuple(decoded(path.read_bytes()).splitlines())


def decoded(data: bytes) -> str:
    """Text with or without a byte-order mark; bytes that are no UTF-8 stay as marks of error."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def listed_lines(path: Path, remedy: str) -> dict[int, str]:
    """Lines of a list that are not blank, stripped, by their number from 1.

    Args:
        remedy: what to do where there is no list.

    Raises:
        CleverError: the file cannot be read.
    """
    try:
        lines = text_lines(path)
    except OSError as error:
        raise CleverError(f"cannot read the list {path}: {error.strerror}; {remedy}") from error
    return {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}


def number_row(text: str, count: int) -> NDArray[np.float64]:
    """`count` finite numbers; raises ValueError with what is there instead."""
    words = text.split()
    if len(words) != count:
        raise ValueError(f"has {len(words)} numbers, not {count}")
    try:
        values = np.array(words, np.float64)
    except ValueError:
        raise ValueError("holds what is no number") from None
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinity")
    return values


def named_rows(data: bytes) -> dict[str, list[str]]:
    """What follows every name at the beginning of a line; comments after ``#`` are left out."""
    rows: dict[str, list[str]] = {}
    for line in decoded(data).splitlines():
        content = line.partition("#")[0].strip()
        name, colon, values = content.partition(":")
        if not colon:
            name, _, values = content.partition(" ")
        rows.setdefault(name.strip(), []).append(values)
    return rows


def named_matrix(
    rows: dict[str, list[str]], name: str, height: int, width: int
) -> NDArray[np.float64]:
    """(height, width) of `named_rows`; raises ValueError for a name that is not there or is there
    twice, or numbers that are none."""
    if name not in rows:
        raise ValueError(f"it has no {name}")
    if len(set(map(str.strip, rows[name]))) > 1:
        raise ValueError(f"it has several {name}")
    try:
        return number_row(rows[name][0], height * width).reshape(height, width)
    except ValueError as error:
        raise ValueError(f"its {name} {error}") from None


def square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 4) to (4, 4)."""
    return np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
