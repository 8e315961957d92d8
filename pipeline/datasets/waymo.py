"""The Waymo Open Dataset, perception, version 2 (Parquet)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame, ProjectedPoints
from ...errors import CleverError, FrameError
from .readers.cameras import choose_cameras
from .readers.frame_errors import errors_of
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_files import class_table, scaled_sweep, training_labels
from .waymo_range_images import points_of, returns
from .waymo_tables import CAMERAS, LASERS, Segment

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
"""Folder of each official split."""
CLASSES = (
    "car",
    "truck",
    "bus",
    "other-vehicle",
    "motorcyclist",
    "bicyclist",
    "pedestrian",
    "sign",
    "traffic-light",
    "pole",
    "construction-cone",
    "bicycle",
    "motorcycle",
    "building",
    "vegetation",
    "tree-trunk",
    "curb",
    "road",
    "lane-marker",
    "other-ground",
    "walkable",
    "sidewalk",
)
_TABLE = class_table([(raw,) for raw in range(1, len(CLASSES) + 1)], ignored=(0,))
_TOP = 1


@dataclass(frozen=True, slots=True)
class _RangeImage:
    """One return of one LiDAR: its number, 0 or 1, and (H, W, 4) float32."""

    laser: int
    echo: int
    values: NDArray[np.float32]


class WaymoDataset:
    """Segments of five cameras and five LiDARs, two returns each, ten frames a second.

    Format, under ``root``, one Parquet file a component and segment,
    ``<folder>/<component>/<segment>.parquet``, with the folders ``training``, ``validation``,
    ``testing``:

    - ``lidar``: range images (range in metres, intensity, elongation, no-label zone), both
      returns; ``lidar_calibration``; ``lidar_pose``: where the vehicle was at each pixel of TOP;
    - ``vehicle_pose``: the vehicle at each frame's time;
    - ``camera_image``: JPEG, and the vehicle when it was taken; ``camera_calibration``;
    - ``lidar_camera_projection``: up to two cameras a point with whole pixels, which account for
      the rolling shutter: pairs come from it alone (`Camera.projected`);
    - ``lidar_segmentation``: of TOP, in some frames; may be missing.

    Points are those of the first returns of TOP, FRONT, SIDE_LEFT, SIDE_RIGHT, REAR, row by row of
    their range images, then those of the second returns; their frame is the vehicle's (x forward,
    y left, z up, origin on the ground). Intensity is tanh of the stored one, which has no upper
    bound. There is no camera to the rear.

    Classes: 22 (`CLASSES`); undefined points, and all of the other four LiDARs, are ignored.
    Splits: train, val, test of 798, 202 and 150 segments; those of ``test`` have no labels.
    Licence: Waymo Open Dataset Licence [R], non-commercial; register at waymo.com/open.

    Checked on real files: nothing. Scripted: files with the columns of the authors' code, from
    which also come the model of range images, pixels counted from the edge of the first one, camera
    axes and distortion. [R]: remembered, not verified. Open too: whether a projection's whole
    pixel is cut or rounded; it is taken as the pixel of that number.

    Opening reads the key column of every segment's ``lidar`` file. The published files hold some
    50 frames a row group, about 1 GB decoded; a process keeps the last four. For frames in random
    order write the files anew with small groups, by ``write_table(table, path, row_group_size=5)``
    of pyarrow.parquet.

    Args:
        root: dataset folder.
        split: ``train``, ``val``, ``test`` or ``all``.
        sequences: segments by name; they win over `split`.
        cameras: cameras to read, in this order; None: the five.

    Raises:
        CleverError: pyarrow is missing, unknown split, segment or camera, or a ``lidar`` file that
            cannot be read.
    """

    name: str = "waymo"
    cameras: tuple[str, ...] = CAMERAS
    class_names: tuple[str, ...] = CLASSES

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        sequences: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self.cameras = choose_cameras(self.name, cameras, CAMERAS)
        folders = {name: Path(root) / folder for name, folder in FOLDERS.items()}
        segments_by_split = {
            name: sorted(path.stem for path in folder.glob("lidar/[!.]*.parquet"))
            for name, folder in folders.items()
        }
        names = [name for segments in segments_by_split.values() for name in segments]
        names = choose_sequences(self.name, names, sequences, split, segments_by_split, Path(root))
        self._splits = {name: split_of(name, segments_by_split) for name in names}
        self._segments = {
            name: Segment(folders[official], name) for name, official in self._splits.items()
        }
        self._times = [
            (name, time) for name, segment in self._segments.items() for time in segment.times()
        ]
        self.frame_ids: Sequence[str] = [f"{name}/{time}" for name, time in self._times]
        self.scenes: Sequence[str] = [name for name, _ in self._times]

    def __len__(self) -> int:
        return len(self._times)

    def frame(self, index: int) -> Frame:
        name, time = self._times[index]
        frame_id, segment = self.frame_ids[index], self._segments[name]
        with errors_of(frame_id):
            images = self._range_images(index)
            world_from_vehicle = segment.world_from_vehicle(time)
            points = self._points(index, images, world_from_vehicle)
            projections = self._projections(index, images)
            cameras = tuple(
                _camera(segment, camera, time, world_from_vehicle, projections)
                for camera in self.cameras
            )
        return Frame(
            id=frame_id,
            scene=name,
            timestamp=time,
            points=points,
            global_from_lidar=world_from_vehicle,
            cameras=cameras,
            split=self._splits[name],
        )

    def points(self, index: int) -> NDArray[np.float32]:
        name, time = self._times[index]
        with errors_of(self.frame_ids[index]):
            pose = self._segments[name].world_from_vehicle(time)
            return self._points(index, self._range_images(index), pose)

    def has_labels(self, index: int) -> bool:
        name, time = self._times[index]
        try:
            return self._segments[name].has_segmentation(time)
        except CleverError:  # `labels` says what is wrong with the file
            return True

    def labels(self, index: int) -> NDArray[np.uint8]:
        name, time = self._times[index]
        frame_id, segment = self.frame_ids[index], self._segments[name]
        path = segment.table("lidar_segmentation").path
        with errors_of(frame_id):
            if not segment.has_segmentation(time):
                raise CleverError(f"{path} labels no point at {time}; choose a labelled frame")
            images, parts = segment.segmentation(time), []
            for image in self._range_images(index):
                row, column = returns(image.values[..., 0])
                classes = np.zeros(len(row), np.int64)
                if image.laser in images:
                    labelled = _matching(images[image.laser][image.echo], image, path)
                    classes = labelled[row, column, 1].astype(np.int64)
                parts.append(classes)
        return training_labels(frame_id, path, np.concatenate(parts), _TABLE)

    def _range_images(self, index: int) -> list[_RangeImage]:
        """In the order of the points: first returns of all LiDARs, then second ones."""
        name, time = self._times[index]
        images = self._segments[name].range_images(time)
        path = self._segments[name].table("lidar").path
        parts = [
            _RangeImage(laser, echo, values)
            for echo in range(2)
            for laser in sorted(images)
            if (values := images[laser][echo]) is not None
        ]
        for part in parts:
            if not np.isfinite(part.values[..., :2]).all():
                raise FrameError(
                    self.frame_ids[index],
                    f"the range image of {LASERS[part.laser - 1]} in {path} holds NaN or infinite "
                    "values; restore the file",
                )
        return parts

    def _points(
        self, index: int, images: list[_RangeImage], world_from_vehicle: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        name, time = self._times[index]
        segment, frame_id = self._segments[name], self.frame_ids[index]
        lasers, poses = segment.lasers(), segment.pixel_poses(time)
        path, parts = segment.table("lidar").path, [np.empty((0, 4))]
        for image in images:
            if image.laser not in lasers:
                raise CleverError(
                    f"{segment.table('lidar_calibration').path} has no "
                    f"{LASERS[image.laser - 1]}; restore the file"
                )
            ranges = image.values[..., 0]
            pixel_poses = poses if image.laser == _TOP else None
            try:
                xyz = points_of(ranges, lasers[image.laser], pixel_poses, world_from_vehicle)
            except ValueError as error:
                raise FrameError(
                    frame_id, f"{path}, {LASERS[image.laser - 1]}: {error}; restore the files"
                ) from error
            parts.append(np.column_stack([xyz, image.values[returns(ranges)][:, 1].astype(float)]))
        points = np.concatenate(parts).astype(np.float32)
        return scaled_sweep(frame_id, path, points, 1.0, bounded=False)

    def _projections(self, index: int, images: list[_RangeImage]) -> NDArray[np.float64]:
        """(N, 6) camera, x, y, second camera, x, y of every point."""
        name, time = self._times[index]
        segment = self._segments[name]
        path = segment.table("lidar_camera_projection").path
        projections, parts = segment.projections(time), [np.empty((0, 6))]
        for image in images:
            pixels = projections.get(image.laser, [None, None])[image.echo]
            projection = _matching(pixels, image, path)
            parts.append(projection[returns(image.values[..., 0])].astype(np.float64))
        result = np.concatenate(parts)
        if not np.isin(result[:, [0, 3]], range(len(CAMERAS) + 1)).all():
            raise CleverError(f"{path} names unknown cameras at {time}; restore the file")
        return result


def _matching(pixels: NDArray[Any] | None, image: _RangeImage, path: Path) -> NDArray[Any]:
    """`pixels` if they are of the same shape as a range image; raises CleverError else."""
    if pixels is None or pixels.shape[:2] != image.values.shape[:2]:
        content = "nothing" if pixels is None else f"{pixels.shape[0]} x {pixels.shape[1]} pixels"
        height, width = image.values.shape[:2]
        raise CleverError(
            f"{path} has {content} for return {image.echo + 1} of {LASERS[image.laser - 1]}, whose "
            f"range image has {height} x {width}; restore the pair"
        )
    return pixels


def _camera(
    segment: Segment,
    name: str,
    time: int,
    world_from_vehicle: NDArray[np.float64],
    projections: NDArray[np.float64],
) -> Camera:
    calibration = segment.camera(name)
    image, world_from_vehicle_then = segment.image(name, time)
    # The vehicle moved between the frame's time and the image's.
    then_from_now = np.linalg.inv(world_from_vehicle_then) @ world_from_vehicle
    number = CAMERAS.index(name) + 1
    first, second = projections[:, 0] == number, projections[:, 3] == number
    uv = np.where(first[:, None], projections[:, 1:3], projections[:, 4:6])
    point = np.flatnonzero(first | second)
    return Camera(
        name,
        image,
        calibration.width,
        calibration.height,
        calibration.intrinsics,
        calibration.camera_from_vehicle @ then_from_now,
        calibration.lens,
        ProjectedPoints(point, uv[point]),
    )
