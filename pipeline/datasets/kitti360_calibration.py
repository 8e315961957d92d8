"""Calibration files of KITTI-360, and where the car was at a frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.calibration_checks import rigid_fault
from ...cache.frame import Camera
from ...errors import CleverError, FrameError
from .readers.kitti_layout import image_size, table_lines
from .readers.text_rows import decoded, named_matrix, named_rows, number_row, square
from .readers.timing import PoseTrack


@dataclass(frozen=True, slots=True)
class Kitti360Calibration:
    """What the three files say of the perspective cameras, not yet looked at camera by camera.

    Attributes:
        folder: where they lie.
        perspective: rows of ``perspective.txt`` by name.
        car_from_camera: rows of ``calib_cam_to_pose.txt`` by name.
        lidar_from_camera0: (4, 4) of ``calib_cam_to_velo.txt``.
    """

    folder: Path
    perspective: dict[str, list[str]]
    car_from_camera: dict[str, list[str]]
    lidar_from_camera0: NDArray[np.float64]

    @classmethod
    def read(cls, frame: str, folder: Path) -> "Kitti360Calibration":
        """Read the files in `folder`; raises FrameError where one is missing or damaged."""
        names = ("perspective.txt", "calib_cam_to_pose.txt", "calib_cam_to_velo.txt")
        try:
            contents = [(folder / name).read_bytes() for name in names]
        except OSError as error:
            raise FrameError(
                frame,
                f"cannot read calibration {error.filename}: {error.strerror}; restore the file",
            ) from error
        try:
            lidar_from_camera0 = square(number_row(decoded(contents[2]), 12).reshape(3, 4))
            if fault := rigid_fault(lidar_from_camera0):
                raise ValueError(f"its transform {fault}")
        except ValueError as error:
            raise _damaged(frame, folder / names[2], error) from error
        rows = named_rows(contents[0]), named_rows(contents[1])
        return cls(folder, *rows, lidar_from_camera0)

    def car_from_lidar(self, frame: str) -> NDArray[np.float64]:
        """(4, 4) car <- LiDAR, through camera 0; raises FrameError where it cannot be told."""
        return self._car_from(frame, "image_00") @ np.linalg.inv(self.lidar_from_camera0)

    def camera(self, frame: str, name: str, image: Path) -> Camera:
        """A camera, ``image_00`` or ``image_01``, whose image lies at `image`; raises FrameError
        where an entry is missing or damaged, or the image is."""
        width, height = image_size(frame, image)
        number = name.removeprefix("image_")
        path = self.folder / "perspective.txt"
        try:
            projection = named_matrix(self.perspective, f"P_rect_{number}", 3, 4)
            rectification = named_matrix(self.perspective, f"R_rect_{number}", 3, 3)
        except ValueError as error:
            raise _damaged(frame, path, error) from error
        rectified = np.eye(4)
        rectified[:3, :3] = rectification
        camera_from_car = np.linalg.inv(self._car_from(frame, name))
        return Camera(
            name,
            image,
            width,
            height,
            np.ascontiguousarray(projection[:, :3]),
            rectified @ camera_from_car @ self.car_from_lidar(frame),
        )

    def _car_from(self, frame: str, camera: str) -> NDArray[np.float64]:
        path = self.folder / "calib_cam_to_pose.txt"
        try:
            transform = square(named_matrix(self.car_from_camera, camera, 3, 4))
            if fault := rigid_fault(transform):
                raise ValueError(f"its {camera} {fault}")
        except ValueError as error:
            raise _damaged(frame, path, error) from error
        return transform


@dataclass(frozen=True, slots=True)
class DrivePoses:
    """poses.txt of a drive.

    Attributes:
        path: the file.
        track: poses of the car by frame number, evenly driven between; None without the file.
        faults: what is wrong with the line of a frame.
    """

    path: Path
    track: PoseTrack | None
    faults: dict[int, str]

    @classmethod
    def read(cls, path: Path) -> "DrivePoses":
        """Read the file.

        Raises:
            CleverError: it cannot be read, has a line without a frame number, or none that is
                right, or numbers that do not ascend.
        """
        lines = table_lines(path)
        if lines is None:
            return cls(path, None, {})
        poses: dict[int, NDArray[np.float64]] = {}
        faults: dict[int, str] = {}
        for position, line in enumerate(lines, 1):
            number = line.split()[0] if line.strip() else ""
            if not number.isdecimal():
                raise CleverError(f"{path} line {position} begins with no frame number; restore it")
            try:
                poses[int(number)] = _pose(line)
            except ValueError as error:
                faults[int(number)] = f"line {position} {error}"
        try:
            return cls(path, PoseTrack(list(poses), np.array(list(poses.values()))), faults)
        except ValueError as error:
            raise CleverError(f"{path}: {error}; restore or remove it") from error

    def world_from_car(self, frame: str, number: int) -> NDArray[np.float64] | None:
        """(4, 4) world <- car at a frame; None without the file. Raises FrameError where the file
        says nothing right of it."""
        if self.track is None:
            return None
        if number in self.faults:
            raise FrameError(
                frame, f"{self.path} {self.faults[number]}; correct or remove the line"
            )
        try:
            return self.track.at(number)
        except ValueError:
            first, last = self.track.times[[0, -1]].tolist()
            raise FrameError(
                frame,
                f"{self.path} has no pose of it: they reach from frame {first} to {last}; leave "
                "the "
                "frame out, or remove the file where poses are not needed",
            ) from None


def _pose(line: str) -> NDArray[np.float64]:
    """(4, 4) of a line of a frame number and 3x4; raises ValueError where it is no pose."""
    pose = square(number_row(line, 13)[1:].reshape(3, 4))
    if fault := rigid_fault(pose):
        raise ValueError(fault)
    return pose


def _damaged(frame: str, path: Path, error: ValueError) -> FrameError:
    return FrameError(frame, f"calibration {path}: {error}; restore the file")
