"""Point and label files: flat little-endian arrays with one row a point, as nuScenes and KITTI both
write them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError, FrameError
from ..base import IGNORE
from .sweep_checks import other_encoding, reach_fault, size_fault

_UNKNOWN = -1


def _read(frame: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameError(
            frame, f"cannot read {path}: {error.strerror}; restore the file"
        ) from error


def read_sweep(
    frame: str, path: Path, columns: int, brightest: float, *, bounded: bool = True
) -> NDArray[np.float32]:
    """Read a sweep of float32 rows that begin with x, y, z, intensity; further columns are dropped.

    Args:
        frame: id of the frame, for errors.
        columns: floats a point in the file.
        brightest: the file's value of full intensity.
        bounded: False for sensors whose intensities have no upper end: they become tanh(value /
            brightest), which keeps small ones as they are, and large ones apart and below 1.

    Returns:
        (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1].

    Raises:
        FrameError: missing, empty, of the wrong length, not finite, an intensity outside [0,
            brightest], or a cloud that `sweep_checks.sweep_fault` refuses.
    """
    data = _read(frame, path)
    if not data:
        raise FrameError(frame, f"sweep {path} is empty; restore the file")
    if len(data) % (4 * columns):
        raise FrameError(
            frame,
            f"sweep {path} has {len(data)} bytes, no multiple of {4 * columns} a point; restore "
            "the file",
        )
    points = np.frombuffer(data, "<f4").reshape(-1, columns)[:, :4].copy()
    limit = brightest if bounded else np.inf
    if _sweep_fault(points, limit) and (encoding := other_encoding(data, columns, limit)):
        raise FrameError(
            frame, f"sweep {path} is {encoding}, not little-endian float32; convert the file"
        )
    return scaled_sweep(frame, path, points, brightest, bounded)


def scaled_sweep(
    frame: str, path: Path, points: NDArray[np.float32], brightest: float, bounded: bool = True
) -> NDArray[np.float32]:
    """Points (N, 4) float32 as they are stored, checked, with intensity scaled to [0, 1] in place.

    Args:
        frame, path, brightest, bounded: see `read_sweep`.

    Raises:
        FrameError: not finite, an intensity below 0 or, where bounded, above `brightest`, or a
            cloud that `sweep_checks.sweep_fault` refuses.
    """
    if fault := _sweep_fault(points, brightest if bounded else np.inf):
        raise FrameError(frame, f"sweep {path} {fault}")
    points[:, 3] /= brightest
    if not bounded:
        points[:, 3] = np.tanh(points[:, 3])
    return points


def _sweep_fault(points: NDArray[np.float32], brightest: float) -> str:
    """What is wrong with points (N, 4) as they are stored, and what to do; empty where nothing
    is."""
    finite = np.isfinite(points)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(1))
        column = ("x", "y", "z", "intensity")[int((~finite[bad[0]]).argmax())]
        return (
            f"holds NaN or infinite values: {len(bad)} of {len(points)} points, the first, point "
            f"{bad[0]}, in its {column}; remove these points or restore the file"
        )
    if fault := reach_fault(points[:, :3]):
        return f"{fault}; remove these points or convert the file"
    if fault := size_fault(points[:, :3]):
        return f"{fault}; leave the frame out"
    dark, bright = points[:, 3].min(), points[:, 3].max()
    if dark < 0 or bright > brightest:
        return (
            f"has intensities from {dark:g} to {bright:g}, expected 0 to {brightest:g}; convert "
            "the file, or give the value of full intensity with "
            "`dataset_option=intensity_scale=VALUE`"
        )
    return ""


def sweep_names(folder: Path) -> list[str]:
    """Names of the ``.bin`` files in `folder` without their ending: numbers first, in their order,
    padded or not, then the others by name. Hidden files, such as macOS leaves on disks, are none.

    Raises:
        CleverError: there is none.
    """
    names = [path.stem for path in folder.glob("[!.]*.bin")]
    if not folder.is_dir():
        raise CleverError(f"there is no folder {folder}; pass another `data_root` or restore it")
    if not names:
        raise CleverError(f"{folder} holds no .bin file; restore them or leave the folder out")
    return sorted(names, key=lambda name: (int(name) if name.isdecimal() else np.inf, name))


def count_points(frame: str, path: Path, columns: int) -> int:
    """Number of points of a sweep by its file size; FrameError when it is missing."""
    try:
        return path.stat().st_size // (4 * columns)
    except OSError as error:
        raise FrameError(
            frame, f"cannot read {path}: {error.strerror}; restore the file"
        ) from error


def label_table(training: Mapping[int, int]) -> NDArray[np.int16]:
    """(65536,) int16 from a map of raw id to training label; -1 at ids that the map does not
    know."""
    table = np.full(1 << 16, _UNKNOWN, np.int16)
    table[list(training.keys())] = list(training.values())
    return table


def class_table(ids: Iterable[Iterable[int]], ignored: Iterable[int] = ()) -> NDArray[np.int16]:
    """`label_table` from the raw ids of every class in the order of the classes, and those that
    take no part."""
    training = dict.fromkeys(ignored, IGNORE)
    return label_table(training | {raw: label for label, group in enumerate(ids) for raw in group})


def read_labels(
    frame: str, path: Path, dtype: str, table: NDArray[np.int16], points: int
) -> NDArray[np.uint8]:
    """Read raw label ids, whose lower 16 bits name the class, and map them through `table`.

    Args:
        dtype: numpy name of the file's integers, e.g. ``<u4``.
        points: number of points of the sweep.

    Returns:
        (points,) uint8 training labels.

    Raises:
        FrameError: missing, of another length than the sweep, or an id that `table` does not know.
    """
    data = _read(frame, path)
    size = np.dtype(dtype).itemsize
    if len(data) != points * size:
        raise FrameError(
            frame,
            f"{path} holds {len(data) / size:g} labels but the sweep has {points} points; restore "
            "the pair",
        )
    return training_labels(frame, path, np.frombuffer(data, dtype), table)


def training_labels(
    frame: str, path: Path, raw: NDArray[np.integer], table: NDArray[np.int16]
) -> NDArray[np.uint8]:
    """Raw label ids (N,), whose lower 16 bits name the class, mapped through `table`.

    Returns:
        (N,) uint8 training labels.

    Raises:
        FrameError: an id that `table` does not know, or numbers that hold nothing in the lower 16
            bits, as those of another byte order do.
    """
    ids = raw.astype(np.int64) & 0xFFFF
    if raw.any() and not ids.any():
        raise FrameError(
            frame,
            f"{path} names no class in the lower 16 bits of its {raw.dtype.name} numbers; it may "
            "be big-endian: convert the file",
        )
    labels = table[ids]
    if (labels == _UNKNOWN).any():
        unknown = sorted({int(value) for value in ids[labels == _UNKNOWN]})
        raise FrameError(
            frame, f"{path} holds unknown label ids {unknown[:8]}; it is of another label set"
        )
    return labels.astype(np.uint8)
