"""A segment of the Waymo Open Dataset, version 2: one Parquet file a component."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.calibration_checks import rigid_fault
from ...cache.lens import Lens
from ...errors import CleverError
from .readers.arrow_tables import ParquetImage, ParquetTable
from .waymo_range_images import Laser

LASERS = ("TOP", "FRONT", "SIDE_LEFT", "SIDE_RIGHT", "REAR")
"""LiDARs in the order of their numbers, from 1."""
CAMERAS = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT")
"""Cameras in the order of their numbers, from 1."""
_TIME = "key.frame_timestamp_micros"
_LASER, _CAMERA = "key.laser_name", "key.camera_name"
_PIXEL_EDGE = 0.5
"""The format counts pixels from the left edge of the first one, we from its centre."""
_OPENCV_FROM_WAYMO = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Camera axes: x right, y down, z forward <- x forward, y left, z up."""


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """What does not change from frame to frame of a camera.

    Attributes:
        width, height: pixels.
        intrinsics: (3, 3) float64, pixels; pixel centres lie at integer coordinates.
        lens: its distortion.
        camera_from_vehicle: (4, 4) float64; camera axes x right, y down, z forward.
    """

    width: int
    height: int
    intrinsics: NDArray[np.float64]
    lens: Lens
    camera_from_vehicle: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """The files of a segment; every method raises CleverError naming the file that is at fault.

    Attributes:
        folder: of the split, with one folder a component.
        name: of the segment.
    """

    folder: Path
    name: str

    def table(self, component: str) -> ParquetTable:
        """The file of a component, such as ``lidar``."""
        return ParquetTable(self.folder / component / f"{self.name}.parquet")

    def times(self) -> list[int]:
        """Microseconds of every frame, ascending."""
        return np.unique(self.table("lidar").column(_TIME)).tolist()

    def has_segmentation(self, time: int) -> bool:
        """Whether the points of a frame are labelled."""
        table = self.table("lidar_segmentation")
        return table.path.is_file() and bool((table.column(_TIME) == time).any())

    def range_images(self, time: int) -> dict[int, list[NDArray[Any] | None]]:
        """Of every LiDAR by number the images of both returns, (H, W, 4) float32 each: range in
        metres, intensity, elongation, whether in a zone without labels; None without that
        return."""
        images = self._images("lidar", "LiDARComponent", time, 4, 2)
        names = [LASERS[number - 1] for number in range(1, len(LASERS) + 1) if number not in images]
        if names:
            raise CleverError(
                f"{self.table('lidar').path} has no {', '.join(names)} at {time}; restore the file"
            )
        return images

    def pixel_poses(self, time: int) -> NDArray[Any]:
        """(H, W, 6) float32 of the LiDAR TOP, see `waymo_range_images.points_of`."""
        image = self._images("lidar_pose", "LiDARPoseComponent", time, 6, 1).get(1, [None])[0]
        if image is None:
            raise CleverError(
                f"{self.table('lidar_pose').path} has no TOP at {time}; restore the file"
            )
        return image

    def projections(self, time: int) -> dict[int, list[NDArray[Any] | None]]:
        """Of every LiDAR by number the images of both returns, (H, W, 6): camera, x, y and a second
        camera, x, y; camera 0 is none."""
        return self._images("lidar_camera_projection", "LiDARCameraProjectionComponent", time, 6, 2)

    def segmentation(self, time: int) -> dict[int, list[NDArray[Any] | None]]:
        """Of labelled LiDARs by number the images of both returns, (H, W, 2): instance, class."""
        return self._images("lidar_segmentation", "LiDARSegmentationLabelComponent", time, 2, 2)

    def world_from_vehicle(self, time: int) -> NDArray[np.float64]:
        """(4, 4) float64 pose of the vehicle at a frame's time."""
        table = self.table("vehicle_pose")
        row = _only(table, _rows(table, None, time), 0, f"a pose at {time}")
        return _transform(table, row, "[VehiclePoseComponent].world_from_vehicle.transform")

    def lasers(self) -> dict[int, Laser]:
        """Calibration of every LiDAR by number."""
        table, prefix = self.table("lidar_calibration"), "[LiDARCalibrationComponent]."
        beams = [f"{prefix}beam_inclination.{name}" for name in ("values", "min", "max")]
        lasers = {}
        for number, row in _rows(table, _LASER, None).items():
            values, lowest, highest = table.row(row, beams)
            lasers[number] = Laser(
                _transform(table, row, f"{prefix}extrinsic.transform"),
                # An empty list is the format's other way to say that there are none.
                values.astype(np.float64) if values is not None and len(values) else None,
                float(lowest),
                float(highest),
            )
        return lasers

    def camera(self, name: str) -> CameraCalibration:
        """Calibration of a camera."""
        table, prefix = self.table("camera_calibration"), "[CameraCalibrationComponent]."
        rows = _rows(table, _CAMERA, None)
        row = _only(table, rows, _number(name), f"a camera {name}")
        words = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
        values = table.row(row, [f"{prefix}intrinsic.{word}" for word in words])
        width, height = table.row(row, [f"{prefix}width", f"{prefix}height"])
        if None in (*values, width, height):
            raise CleverError(
                f"{table.path}: the calibration of camera {name} has empty values; restore the file"
            )
        fx, fy, cx, cy, *coefficients = map(float, values)
        vehicle_from_camera = _transform(table, row, f"{prefix}extrinsic.transform")
        return CameraCalibration(
            int(width),
            int(height),
            np.array([[fx, 0, cx - _PIXEL_EDGE], [0, fy, cy - _PIXEL_EDGE], [0, 0, 1]]),
            Lens("radial-tangential", tuple(coefficients)),
            _OPENCV_FROM_WAYMO @ np.linalg.inv(vehicle_from_camera),
        )

    def image(self, name: str, time: int) -> tuple[ParquetImage, NDArray[np.float64]]:
        """Image of a camera at a frame's time, and (4, 4) float64 world <- vehicle when it was
        taken."""
        table = self.table("camera_image")
        row = _only(table, _rows(table, _CAMERA, time), _number(name), f"a {name} at {time}")
        pose = _transform(table, row, "[CameraImageComponent].pose.transform")
        return ParquetImage(table, row, "[CameraImageComponent].image"), pose

    def _images(
        self, component: str, prefix: str, time: int, channels: int, returns: int
    ) -> dict[int, list[NDArray[Any] | None]]:
        table = self.table(component)
        names = [f"[{prefix}].range_image_return{number + 1}" for number in range(returns)]
        columns = [f"{name}.{part}" for name in names for part in ("values", "shape")]
        images = {}
        for laser, row in _rows(table, _LASER, time).items():
            cells = table.row(row, columns)
            images[laser] = [
                _image(table, row, values, shape, channels)
                for values, shape in zip(cells[::2], cells[1::2], strict=True)
            ]
        return images


def _number(camera: str) -> int:
    return CAMERAS.index(camera) + 1


def _rows(table: ParquetTable, sensor: str | None, time: int | None) -> dict[int, int]:
    """Row of every sensor by number, at a time where one is given; 0 stands for a file without
    sensors."""
    rows: Sequence[int]
    if time is None:
        rows = range(len(table.column(sensor or _TIME)))
    else:
        rows = np.flatnonzero(table.column(_TIME) == time).tolist()
    numbers = [int(table.column(sensor)[row]) if sensor else 0 for row in rows]
    if len(set(numbers)) < len(numbers):
        raise CleverError(
            f"{table.path} has several rows for one sensor{f' at {time}' if time else ''}; restore "
            "the file"
        )
    return dict(zip(numbers, rows, strict=True))


def _only(table: ParquetTable, rows: dict[int, int], number: int, label: str) -> int:
    if number not in rows:
        raise CleverError(f"{table.path} has not {label}; restore the file")
    return rows[number]


def _transform(table: ParquetTable, row: int, column: str) -> NDArray[np.float64]:
    (values,) = table.row(row, [column])
    if values is None or len(values) != 16:
        raise CleverError(
            f"{table.path} row {row}: {column} is no list of 16 numbers; restore the file"
        )
    transform = np.array(values, np.float64).reshape(4, 4)
    if fault := rigid_fault(transform):
        raise CleverError(f"{table.path} row {row}: {column} {fault}; restore the file")
    return transform


def _image(
    table: ParquetTable, row: int, values: Any, shape: Any, channels: int
) -> NDArray[Any] | None:
    if values is None or shape is None or not len(values):
        return None
    if len(shape) != 3 or shape[2] != channels or np.prod(shape) != len(values):
        raise CleverError(
            f"{table.path} row {row}: {len(values)} values are no image of shape "
            f"{' x '.join(map(str, shape))} with {channels} channels; restore the file"
        )
    return np.asarray(values).reshape(shape)
