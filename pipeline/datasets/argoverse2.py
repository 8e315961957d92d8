"""The Argoverse 2 sensor dataset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...errors import CleverError, FrameError
from .readers.arrow_tables import arrow, read_feather
from .readers.cameras import choose_cameras
from .readers.frame_errors import errors_of
from .readers.intensity import scale_option
from .readers.quaternions import pose_matrices
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_files import scaled_sweep
from .readers.timing import PoseTrack, nearest

SPLITS = ("train", "val", "test")
RING = (
    "ring_front_center",
    "ring_front_left",
    "ring_front_right",
    "ring_side_left",
    "ring_side_right",
    "ring_rear_left",
    "ring_rear_right",
)
STEREO = ("stereo_front_left", "stereo_front_right")
LARGEST_GAP = 50_000_000
"""Nanoseconds between a sweep and its images, at most; cameras take one every 50 ms."""
_POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
_INTRINSICS = ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")


class Argoverse2Dataset:
    """Logs of seven ring cameras, two stereo cameras and two stacked 32-beam LiDARs.

    Format, under ``root``, one folder a log, ``<split>/<log>/``; names of sweeps and images are
    their times in nanoseconds:

    - ``sensors/lidar/<ns>.feather``: ``x``, ``y``, ``z`` in metres (float16), ``intensity`` 0-255,
      and columns that are left: in the vehicle's frame (x forward, y left, z up, origin at the rear
      axle), its motion during the sweep taken off already, so that frame is the LiDAR frame here;
    - ``sensors/cameras/<camera>/<ns>.jpg``: rectified, as the authors say; the lens coefficients
      ``k1 k2 k3`` beside the intrinsics are of the images before that, and are left out;
    - ``calibration/intrinsics.feather``: ``sensor_name fx_px fy_px cx_px cy_px width_px
      height_px``; ``calibration/egovehicle_SE3_sensor.feather``: vehicle <- camera (x right, y
      down, z forward) as ``sensor_name qw qx qy qz tx_m ty_m tz_m``;
    - ``city_SE3_egovehicle.feather``: city <- vehicle, with ``timestamp_ns``.

    A sweep goes with the image of each camera that is nearest in time, at most 50 ms away, through
    the vehicle's poses at both times. Images decide nothing before they are asked for.

    Classes: none, the points have no labels; the dataset serves pre-training. Splits: train, val,
    test of 700, 150 and 150 logs, by folder. Licence: CC BY-NC-SA 4.0 [R].

    Checked on real files: sweeps, poses and calibrations of two logs that the authors' code has
    among its tests: columns and types as above, 99,229 points. Scripted: all of it, images too.
    [R]: remembered, not verified.

    Args:
        root: dataset folder. Opening lists the sweeps of the chosen logs and reads none.
        split: ``train``, ``val``, ``test`` or ``all``.
        sequences: logs by name; they win over `split`.
        cameras: cameras to read, in this order, of `RING` and `STEREO`; None: `RING`.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: pyarrow is missing, unknown split, log or camera, a log without sweeps.
    """

    name: str = "argoverse2"
    cameras: tuple[str, ...] = RING
    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        sequences: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        intensity_scale: str | float = 255.0,
    ) -> None:
        arrow("feather")
        self.intensity_scale = scale_option(intensity_scale)
        self.cameras = choose_cameras(self.name, cameras, RING, STEREO)
        self._root = Path(root)
        logs = {
            name: sorted(
                path.parent.parent.name for path in self._root.glob(f"{name}/*/sensors/lidar")
            )
            for name in SPLITS
        }
        names = [name for split_logs in logs.values() for name in split_logs]
        names = choose_sequences(self.name, names, sequences, split, logs, self._root)
        self._splits = {name: split_of(name, logs) for name in names}
        self._sweeps = [
            (log, time) for log in self._splits for time in _times(self._lidar(log), "feather")
        ]
        self.frame_ids: Sequence[str] = [f"{log}/{time}" for log, time in self._sweeps]
        self.scenes: Sequence[str] = [log for log, _ in self._sweeps]

    def __len__(self) -> int:
        return len(self._sweeps)

    def frame(self, index: int) -> Frame:
        log, time = self._sweeps[index]
        frame_id = self.frame_ids[index]
        with errors_of(frame_id):
            track = _track(self._log(log) / "city_SE3_egovehicle.feather")
            city_from_vehicle = _at(track, time, self._log(log))
            cameras = tuple(
                self._camera(name, log, time, track, city_from_vehicle) for name in self.cameras
            )
        return Frame(
            id=frame_id,
            scene=log,
            timestamp=time // 1000,
            points=self.points(index),
            global_from_lidar=city_from_vehicle,
            cameras=cameras,
            split=self._splits[log],
        )

    def points(self, index: int) -> NDArray[np.float32]:
        log, time = self._sweeps[index]
        frame_id, path = self.frame_ids[index], self._lidar(log) / f"{time}.feather"
        with errors_of(frame_id):
            columns = read_feather(path, ("x", "y", "z", "intensity"))
        points = np.column_stack([column.astype(np.float32) for column in columns.values()])
        return scaled_sweep(frame_id, path, points, self.intensity_scale)

    def has_labels(self, index: int) -> bool:
        return False

    def labels(self, index: int) -> NDArray[np.uint8]:
        raise FrameError(
            self.frame_ids[index], "argoverse2 labels no points; choose another dataset for labels"
        )

    def _log(self, log: str) -> Path:
        return self._root / self._splits[log] / log

    def _lidar(self, log: str) -> Path:
        return self._log(log) / "sensors" / "lidar"

    def _camera(
        self,
        name: str,
        log: str,
        time: int,
        track: PoseTrack,
        city_from_vehicle: NDArray[np.float64],
    ) -> Camera:
        folder = self._log(log) / "sensors" / "cameras" / name
        times = _times(folder, "jpg")
        place = nearest(np.array(times, np.int64), time, LARGEST_GAP)
        if place is None:
            raise CleverError(
                f"{folder} has no image within {LARGEST_GAP // 10**6} ms of the sweep; restore it, "
                "or leave the camera out with `cameras`"
            )
        calibration = self._log(log) / "calibration"
        fx, fy, cx, cy, width, height = _sensor_row(
            calibration / "intrinsics.feather", name, _INTRINSICS
        )
        path = calibration / "egovehicle_SE3_sensor.feather"
        row = np.array([_sensor_row(path, name, _POSE)])
        vehicle_from_camera = _matrices(path, row)[0]
        # City coordinates join the vehicle at the sweep's time to that at the image's.
        city_from_camera = _at(track, times[place], self._log(log)) @ vehicle_from_camera
        return Camera(
            name,
            folder / f"{times[place]}.jpg",
            int(width),
            int(height),
            np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            np.linalg.inv(city_from_camera) @ city_from_vehicle,
        )


def _times(folder: Path, ending: str) -> list[int]:
    """Times in the names of a folder's files, ascending; raises CleverError for a name that is
    none."""
    names = [path.stem for path in folder.glob(f"[!.]*.{ending}")]
    if wrong := [name for name in names if not name.isdecimal()]:
        raise CleverError(
            f"{folder / min(wrong)}.{ending}: the name is no time in nanoseconds; rename or remove "
            "it"
        )
    return sorted(map(int, names))


def _track(path: Path) -> PoseTrack:
    """City <- vehicle over time."""
    columns = read_feather(path, ("timestamp_ns", *_POSE))
    times = columns["timestamp_ns"]
    order = np.argsort(times)
    poses = _matrices(path, np.column_stack([columns[name] for name in _POSE]))
    try:
        return PoseTrack(times[order], poses[order])
    except ValueError as error:
        raise CleverError(f"{path}: {error}; restore the file") from error


def _at(track: PoseTrack, time: int, log: Path) -> NDArray[np.float64]:
    try:
        return track.at(time)
    except ValueError as error:
        raise CleverError(f"{log / 'city_SE3_egovehicle.feather'}: {error}; restore it") from error


def _sensor_row(path: Path, sensor: str, names: Sequence[str]) -> list[float]:
    """Numbers of a sensor's row."""
    columns = read_feather(path, ("sensor_name", *names))
    rows = np.flatnonzero(columns["sensor_name"] == sensor)
    if len(rows) != 1:
        raise CleverError(
            f"{path} has {len(rows)} rows for {sensor}, not 1; restore it, or leave the camera out "
            "with `cameras`"
        )
    return [float(columns[name][rows[0]]) for name in names]


def _matrices(path: Path, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4, 4) poses from rows of `_POSE`."""
    try:
        return pose_matrices(rows[:, :4], rows[:, 4:])
    except ValueError as error:
        raise CleverError(f"{path}: {error}; restore the file") from error
