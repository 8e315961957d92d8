"""JSON files beside recordings, with errors of one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError
from .quaternions import pose_matrices


def read_json(path: Path, kind: type) -> Any:
    """Content of a file; raises CleverError where it cannot be read, or is no `kind` (dict,
    list)."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}; restore the file") from error
    except ValueError as error:
        raise CleverError(f"{path} is no JSON ({error}); restore the file") from error
    if not isinstance(content, kind):
        raise CleverError(
            f"{path} holds a {type(content).__name__}, not a {kind.__name__}; restore the file"
        )
    return content


def number_list(path: Path, values: Any, count: int, what: str) -> NDArray[np.float64]:
    """(count,) finite numbers of a file's content; raises CleverError for anything else."""
    try:
        numbers = np.array(values, np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise CleverError(f"{path}: {what} is not {count} finite numbers; restore the file")
    return numbers


def pose_of(path: Path, numbers: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """(4, 4) float64 from w, x, y, z of a quaternion and a place in metres; raises CleverError
    where it is none."""
    try:
        return pose_matrices(numbers[None, :4], numbers[None, 4:])[0]
    except ValueError as error:
        raise CleverError(f"{path}: {what}: {error}; restore the file") from error
