"""Points of a drive of one's own, in any of the formats that ``drive.yaml`` can name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError, FrameError
from ..readers.bare_files import PointCloud, from_columns, read_cloud, read_flat
from ..readers.sweep_checks import reach_fault, size_fault
from .schema import Points


def read_points(
    frame: str, path: Path, points: Points
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a sweep.

    Args:
        frame: id of the frame, for errors.
        points: what the files are.

    Returns:
        (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1]; and which rows of
        the file they are, (R,) bool with N of them true.

    Raises:
        FrameError: whatever is wrong with the file or its numbers.
    """
    cloud = _cloud(frame, path, points)
    unplaced = ~np.isfinite(cloud.xyz).all(1)
    at_origin = (cloud.xyz == 0).all(1)
    dropped = np.zeros(len(cloud.xyz), bool)
    for name, rows in (("nan", unplaced), ("zero", at_origin)):
        if name in points.no_returns:
            dropped |= rows
    if left := int((unplaced & ~dropped).sum()):
        raise FrameError(
            frame,
            f"sweep {path} holds {left} of {len(dropped)} points whose position is NaN or "
            "infinite; where these are beams without return, write `no_returns: [nan]` under "
            "points in drive.yaml, else remove them",
        )
    cloud = replace(cloud, xyz=cloud.xyz[~dropped], intensity=cloud.intensity[~dropped])
    if fault := reach_fault(cloud.xyz):
        raise FrameError(frame, f"sweep {path} {fault}; remove these points or convert the file")
    if fault := size_fault(cloud.xyz):
        raise FrameError(frame, f"sweep {path} {fault}; leave the frame out")
    try:
        return cloud.points(points.scale), ~dropped
    except CleverError as error:
        raise FrameError(frame, str(error)) from error


def _cloud(frame: str, path: Path, points: Points) -> PointCloud:
    """The file as it is."""
    field, columns = points.intensity_field or "intensity", points.columns
    try:
        if points.input_format == "bin":
            layout = f"rows of {len(columns)} x {points.dtype}"
            dtype = {"float32": "<f4", "float64": "<f8"}[points.dtype]
            return read_flat(path, layout, columns, dtype, field)
        if points.input_format == "npy":
            rows = read_array(path)
            if rows.ndim != 2 or rows.shape[1] != len(columns) or rows.dtype.kind not in "fiu":
                raise CleverError(
                    f"{path} is an array {' x '.join(map(str, rows.shape))} of {rows.dtype}, not "
                    f"N x {len(columns)} numbers, as `columns` under points in drive.yaml says"
                )
            return from_columns(path, "NPY", rows, columns, field, None)
        return read_cloud(path, points.input_format, points.intensity_field)
    except OSError as error:
        raise FrameError(
            frame, f"cannot read {path}: {error.strerror}; restore the file"
        ) from error
    except CleverError as error:
        raise FrameError(frame, str(error)) from error


def read_array(path: Path) -> NDArray[Any]:
    """An array of a ``.npy`` file; raises CleverError where it is none, OSError where it cannot be
    read."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CleverError(f"{path} is no array of numbers: {error}; restore the file") from error
    if not isinstance(array, np.ndarray):
        raise CleverError(f"{path} holds several arrays; write one a file")
    return array
