"""Bare LiDAR files, one sweep each: KITTI and nuScenes by numpy, PCD, PLY and LAS by the libraries
of an extra."""

import importlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ....errors import CleverError
from ...settings.shared.choices import InputFormat
from .sweep_checks import other_encoding, reach_fault

SUFFIXES: dict[str, InputFormat] = {
    ".pcd.bin": "nuscenes",
    ".bin": "kitti",
    ".pcd": "pcd",
    ".ply": "ply",
    ".las": "las",
    ".laz": "las",
}
"""What ``auto`` goes by; the first ending that fits."""
INTENSITY_FIELDS = (
    "intensity",
    "Intensity",
    "scalar_Intensity",
    "scalar_intensity",
    "reflectivity",
    "reflectance",
    "i",
)
"""Names under which PCD and PLY files keep intensity; the first that is there."""
NO_FIELD = "none"
CONVENTIONS = {"uint8": 255.0, "uint16": 65535.0}
"""Full intensity of the types that leave no doubt about it, in PCD and PLY files; floats come in
every range."""
NO_VIEWPOINT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PointCloud:
    """The points of a file, in its order and its numbers.

    Attributes:
        path: the file.
        layout: what it was read as, in words.
        xyz: (N, 3) float32 or float64, in the file's frame.
        intensity: (N,) as stored; zeros where it is left out.
        full: the stored value of full intensity by the format's convention; None where it has none.
    """

    path: Path
    layout: str
    xyz: NDArray[Any]
    intensity: NDArray[Any]
    full: float | None

    def points(
        self,
        intensity_scale: float | None = None,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> NDArray[np.float32]:
        """What a student takes: (N, 4) float32, x, y, z in metres from `origin`, intensity in [0,
        1].

        Rows whose position is not finite (organised clouds hold beams without return) are NaN; rows
        keep their place.

        Args:
            intensity_scale: the stored value of full intensity; default: `full`.
            origin: position of the sensor in the file's frame, taken away in float64.

        Raises:
            CleverError: no convention and no scale given, an intensity outside [0, 1] after
                scaling, no finite point, or coordinates that are not around the sensor.
        """
        valid = np.isfinite(self.xyz).all(1)
        if not valid.any():
            raise CleverError(
                f"{self.path} has no point with finite coordinates among {len(valid)}; restore the "
                "file"
            )
        points = np.full((len(valid), 4), np.nan, np.float32)
        placed = self.xyz[valid] - np.array(origin)
        if fault := reach_fault(placed):
            raise CleverError(
                f"{self.path} {fault}; remove these points, convert the file, or give the sensor's "
                "position in the file's frame with `origin=X,Y,Z`"
            )
        points[valid, :3] = placed
        full = self.full if intensity_scale is None else intensity_scale
        points[valid, 3] = self._scaled(self.intensity[valid], full)
        return points

    def _scaled(self, stored: NDArray[Any], full: float | None) -> NDArray[np.float32]:
        if nan_count := np.isnan(stored.astype(np.float64)).sum():
            raise CleverError(
                f"{self.path}, read as {self.layout}, has {nan_count} of {len(stored)} points with "
                "a position but a NaN intensity; correct them or remove these points"
            )
        low, high = stored.min(), stored.max()
        if low < 0:
            raise CleverError(
                f"{self.path}, read as {self.layout}, has {(stored < 0).sum()} of {len(stored)} "
                f"intensities below 0, down to {low:g}, which no scale mends; {self._remedy()}"
            )
        if full is None:
            raise CleverError(
                f"{self.path}, read as {self.layout}, holds {stored.dtype.name} intensities from "
                f"{low:g} to {high:g}, "
                "which have no agreed full scale; give the value of full intensity with "
                "`intensity_scale`, such as 255"
            )
        scaled = stored.astype(np.float32) / np.float32(full)
        if scaled.max() > 1:
            raise CleverError(
                f"{self.path}, read as {self.layout}, has intensities from {low:g} to {high:g}, "
                f"expected 0 to {full:g};"
                " give the value of full intensity with `intensity_scale`, or the right "
                "`input_format`"
            )
        return scaled

    def _remedy(self) -> str:
        """What to do about intensities that mean nothing."""
        if ", field " in self.layout:
            return "name another field in `intensity_field`, or none to leave intensity out"
        return (
            "give the right `input_format`, or correct the file, as by adding to all of them what "
            "the lowest lacks to 0"
        )


def read_cloud(
    path: Path, layout: InputFormat = "auto", intensity_field: str | None = None
) -> PointCloud:
    """Read one file.

    Args:
        layout: ``auto`` goes by the ending.
        intensity_field: for PCD and PLY; ``none`` leaves intensity out (zeros); default: see
            `INTENSITY_FIELDS`.

    Raises:
        CleverError: unknown ending, missing package, missing, empty or damaged file, or no such
            field.
    """
    if layout == "auto":
        layout = SUFFIXES.get(suffix(path), "auto")
    if layout == "auto":
        raise CleverError(
            f"{path}: unknown ending; known: {', '.join(SUFFIXES)}; or name its `input_format`"
        )
    if not path.is_file():
        raise CleverError(
            f"{path} {'is a folder; give files' if path.is_dir() else 'does not exist'}"
        )
    if not path.stat().st_size:
        raise CleverError(f"{path} is empty; restore the file")
    if intensity_field and layout not in ("pcd", "ply"):
        raise CleverError(
            f"{path}: {layout} files have no named fields; leave `intensity_field` out"
        )
    cloud = _READERS[layout](path, intensity_field)
    if not len(cloud.xyz):
        raise CleverError(f"{path} holds no points; leave it out")
    return cloud


def suffix(path: Path) -> str:
    """The ending of `path` that is in `SUFFIXES`, or its last one."""
    return next((ending for ending in SUFFIXES if path.name.lower().endswith(ending)), path.suffix)


def _read_kitti(path: Path, _: str | None) -> PointCloud:
    return read_flat(path, "KITTI .bin (4 x float32)", ("x", "y", "z", "intensity"), full=1.0)


def _read_nuscenes(path: Path, _: str | None) -> PointCloud:
    columns = ("x", "y", "z", "intensity", "ring")
    return read_flat(path, "nuScenes .pcd.bin (5 x float32)", columns, full=255.0)


def read_flat(
    path: Path,
    layout: str,
    columns: Sequence[str],
    dtype: str = "<f4",
    field: str = "intensity",
    full: float | None = None,
) -> PointCloud:
    """A flat file of one row a point.

    Args:
        layout: what it is, in words.
        columns: names of the numbers of a row; ``x``, ``y`` and ``z`` are among them.
        dtype: numpy's name of all numbers.
        field: the column of the intensity; ``none`` leaves it out (zeros).
        full: value of full intensity.

    Raises:
        CleverError: another length, or float32 of another byte order or width.
    """
    data = path.read_bytes()
    width = np.dtype(dtype).itemsize * len(columns)
    if len(data) % width:
        raise CleverError(
            f"{path} has {len(data)} bytes, no multiple of {width} a point as {layout} has; "
            "restore the file or "
            "name its `input_format`"
        )
    rows = np.frombuffer(data, dtype).reshape(-1, len(columns))
    cloud = from_columns(path, layout, rows, columns, field, full)
    xyzi = np.column_stack([cloud.xyz, cloud.intensity])
    doubtful = not np.isfinite(xyzi).all() or bool(reach_fault(cloud.xyz))
    if (
        doubtful
        and dtype == "<f4"
        and tuple(columns[:4]) == ("x", "y", "z", field)
        and (encoding := other_encoding(data, len(columns), full or np.inf))
    ):
        raise CleverError(
            f"{path} is {encoding}, not little-endian float32 as {layout}; convert the file"
        )
    return cloud


def from_columns(
    path: Path,
    layout: str,
    rows: NDArray[Any],
    columns: Sequence[str],
    field: str,
    full: float | None,
) -> PointCloud:
    """A cloud from an array (N, C) whose columns have the names `columns`; see `read_flat`."""
    xyz = rows[:, [columns.index(axis) for axis in "xyz"]]
    if field == NO_FIELD:
        return PointCloud(path, layout, xyz, np.zeros(len(xyz), np.float32), 1.0)
    return PointCloud(path, layout, xyz, rows[:, columns.index(field)], full)


def _read_pcd(path: Path, field: str | None) -> PointCloud:
    pypcd4 = _library("pypcd4", path)
    cloud = _parse(path, lambda: _header_checked(lambda: pypcd4.PointCloud.from_path(path)))
    rows = np.atleast_1d(cloud.pc_data)
    if len(rows) != cloud.metadata.points:
        raise CleverError(
            f"{path} holds {len(rows)} points, its header says {cloud.metadata.points}; restore "
            "the file"
        )
    moved = "" if cloud.metadata.viewpoint == NO_VIEWPOINT else ", VIEWPOINT not applied"
    layout = f"PCD ({cloud.metadata.data.value}{moved})"
    return _from_fields(path, layout, rows, rows.dtype.names or (), field)


def _header_checked(reader: Callable[[], Any]) -> Any:
    """What `reader` returns; raises ValueError with the lines of a header that are missing or
    wrong."""
    try:
        return reader()
    except ValidationError as error:
        names = dict.fromkeys(str(detail["loc"][0]).upper() for detail in error.errors())
        raise ValueError(f"its header has no {', '.join(names)} that can be read") from error


def _read_ply(path: Path, field: str | None) -> PointCloud:
    plyfile = _library("plyfile", path)
    content = _parse(path, lambda: plyfile.PlyData.read(path, mmap=False), plyfile.PlyParseError)
    if "vertex" not in content:
        raise CleverError(f"{path} has no element `vertex`; it holds no points")
    vertex = content["vertex"]
    layout = "PLY (ascii)" if content.text else "PLY (binary)"
    return _from_fields(path, layout, vertex, [each.name for each in vertex.properties], field)


def _read_las(path: Path, _: str | None) -> PointCloud:
    laspy = _library("laspy", path)
    if path.suffix.lower() == ".laz":
        _library("lazrs", path)
    content = _parse(path, lambda: laspy.read(path), laspy.LaspyException)
    if len(content.points) != content.header.point_count:
        raise CleverError(
            f"{path} holds {len(content.points)} points, its header says "
            f"{content.header.point_count}; restore the file"
        )
    packing = "compressed" if content.header.are_points_compressed else "plain"
    layout = f"LAS {content.header.version} ({packing})"
    # 16 bits whatever the scanner's range is: the specification asks writers to stretch it.
    return PointCloud(path, layout, content.xyz, np.asarray(content.intensity), 65535.0)


_READERS: dict[str, Callable[[Path, str | None], PointCloud]] = {
    "kitti": _read_kitti,
    "nuscenes": _read_nuscenes,
    "pcd": _read_pcd,
    "ply": _read_ply,
    "las": _read_las,
}


def _from_fields(path: Path, layout: str, rows: Any, names: Any, field: str | None) -> PointCloud:
    """A cloud from named columns, as PCD and PLY have."""
    listed_names = ", ".join(names)
    if not {"x", "y", "z"} <= set(names):
        raise CleverError(f"{path} has the fields {listed_names}; x, y and z are needed")
    xyz = np.stack([_numbers(path, rows, axis) for axis in "xyz"], 1)
    if field == NO_FIELD:
        return PointCloud(path, layout, xyz, np.zeros(len(xyz), np.float32), 1.0)
    name = field or next((name for name in INTENSITY_FIELDS if name in names), None)
    if name is None or name not in names:
        raise CleverError(
            f"{path} has {'no field ' + name if name else 'no intensity'} among its fields "
            f"{listed_names}; name one with "
            f"`intensity_field`, or leave intensity out with `intensity_field={NO_FIELD}`"
        )
    intensity = _numbers(path, rows, name)
    return PointCloud(
        path, f"{layout}, field {name}", xyz, intensity, CONVENTIONS.get(intensity.dtype.name)
    )


def _numbers(path: Path, rows: Any, name: str) -> NDArray[Any]:
    """A named column (N,); raises CleverError where a point has a list under the name."""
    column = np.asarray(rows[name])
    if not column.size:  # of no type and shape that a reader must keep to
        return np.zeros(0, np.float32)
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        raise CleverError(
            f"{path} has lists in its field {name}, not one number a point; convert the file"
        )
    return column


def _library(name: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise CleverError(
            f"reading {path} needs the package {error.name}: pip install "
            "'clever-distiller[formats]'"
        ) from error


def _parse(path: Path, reader: Callable[[], Any], *errors: type[Exception]) -> Any:
    """What `reader` returns; whatever a library raises for a damaged file becomes one line."""
    read_errors = (
        *errors,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        RuntimeError,
        EOFError,
        struct.error,
    )
    try:
        return reader()
    except read_errors as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CleverError(
            f"cannot read {path}: {reason}; restore the file or name its `input_format`"
        ) from error
