"""Drives in the KITTI odometry layout: folders, frame numbers, calibration, times and poses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....cache.calibration_checks import intrinsics_fault, rigid_fault
from ....cache.frame import Camera
from ....cache.image_faults import DECODER_ERRORS
from ....errors import CleverError, FrameError
from .sweep_files import sweep_names
from .text_rows import named_matrix, named_rows, number_row, square, text_lines

PROJECTIONS = ("P2", "P_rect_02")
"""Names of the 3x4 projection of rectified camera 2; the first that is there."""
RECTIFIED = "Tr"
"""Name of rectified camera 0 <- LiDAR, 3x4."""
UNRECTIFIED = ("Tr_velo_to_cam", "Tr_velo_cam")
"""Names of camera 0 before rectification <- LiDAR, 3x4, which needs one of `RECTIFICATIONS`."""
RECTIFICATIONS = ("R0_rect", "R_rect", "R_rect_00")
"""Names of the 3x3 rotation rectified camera 0 <- camera 0."""
FRAME_SECONDS = 0.1
"""Time between frames of a drive without times.txt."""


@dataclass(frozen=True, slots=True)
class Drive:
    """One sequence folder.

    Attributes:
        folder: with ``velodyne``, ``image_2``, ``labels``.
        times: lines of times.txt by frame number: seconds; None without the file.
        poses: lines of poses.txt by frame number: world <- camera 0, 12 numbers; None without the
            file.
    """

    folder: Path
    times: tuple[str, ...] | None
    poses: tuple[str, ...] | None

    @classmethod
    def open(cls, folder: Path) -> "Drive":
        """Read the tables of a sequence; their lines are looked at frame by frame."""
        return cls(folder, table_lines(folder / "times.txt"), table_lines(folder / "poses.txt"))

    def sweep(self, number: str) -> Path:
        """File of a sweep."""
        return self.folder / "velodyne" / f"{number}.bin"

    def image(self, number: str) -> Path:
        """File of an image of camera 2."""
        return self.folder / "image_2" / f"{number}.png"

    def labels(self, number: str) -> Path:
        """File of a sweep's labels."""
        return self.folder / "labels" / f"{number}.label"

    def calibration(self) -> Path:
        """calib.txt of the sequence: in its folder, else, where it is there, in the tree
        ``calib/dataset/sequences`` beside ``dataset/sequences``."""
        own = self.folder / "calib.txt"
        name = Path("calib/dataset/sequences", self.folder.name, own.name)
        beside = [place / name for place in self.folder.absolute().parents[2:3]]
        return next((path for path in (own, *beside) if path.exists()), own)

    def timestamp(self, frame: str, number: str) -> int:
        """Microseconds from the beginning of the drive; raises FrameError for a line that is
        none."""
        if self.times is None:
            return round(int(number) * FRAME_SECONDS * 1e6)
        return round(float(_row(frame, self.times, self.folder / "times.txt", number, 1)[0]) * 1e6)

    def world_from_camera0(self, frame: str, number: str) -> NDArray[np.float64] | None:
        """(4, 4) pose of camera 0; None without poses.txt. Raises FrameError for a line that is
        no pose."""
        if self.poses is None:
            return None
        return pose_of(frame, self.poses, self.folder / "poses.txt", number)


@dataclass(frozen=True, slots=True)
class KittiCalibration:
    """What calib.txt says of camera 2.

    Attributes:
        path: the file.
        projection: (3, 4), pixels: camera 2's image <- rectified camera 0.
        camera0_from_lidar: (4, 4), rectified camera 0 <- LiDAR.
    """

    path: Path
    projection: NDArray[np.float64]
    camera0_from_lidar: NDArray[np.float64]

    def camera2(
        self, frame: str, image: Path, width: int, height: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Intrinsics (3, 3) of camera 2 and camera 2 <- LiDAR (4, 4).

        P2 = K [I | t] is taken apart exactly: its last column is K t, the offset of camera 2 from
        camera 0.

        Raises:
            FrameError: P2 is no projection, or one of images of another size than `image`'s.
        """
        intrinsics = np.ascontiguousarray(self.projection[:, :3])
        if fault := intrinsics_fault(intrinsics, width, height):
            raise FrameError(
                frame,
                f"calibration {self.path} does not fit {image}: {fault}; use the images and the "
                "calibration that belong together",
            )
        camera2_from_camera0 = np.eye(4)
        camera2_from_camera0[:3, 3] = np.linalg.solve(intrinsics, self.projection[:, 3])
        return intrinsics, camera2_from_camera0 @ self.camera0_from_lidar


def read_calibration(frame: str, path: Path) -> KittiCalibration:
    """Read what is needed of calib.txt; other lines may hold anything.

    Understood are `PROJECTIONS`, and `RECTIFIED` or one of `UNRECTIFIED` with one of
    `RECTIFICATIONS`, each once, as ``NAME: numbers``, with or without the colon.

    Args:
        frame: id of the frame, for errors.

    Raises:
        FrameError: no such file, an entry that is missing, twice there or not of finite numbers,
            or a LiDAR that is not placed by a rotation and a translation.
    """
    try:
        entries = named_rows(path.read_bytes())
    except OSError as error:
        raise FrameError(
            frame,
            f"cannot read calibration {path}: {error.strerror}; put it there (SemanticKITTI's is "
            "in KITTI odometry's calibration files), or choose drives that have one with "
            "`sequences`; labels of points can be used without",
        ) from error
    try:
        projection = named_matrix(
            entries, _first(entries, PROJECTIONS, "projection of camera 2"), 3, 4
        )
        if RECTIFIED in entries:
            camera0_from_lidar = square(named_matrix(entries, RECTIFIED, 3, 4))
        else:
            name = _first(entries, (*UNRECTIFIED, RECTIFIED), "place of the LiDAR in camera 0")
            rotation = _first(entries, RECTIFICATIONS, f"rectification that {name} needs")
            rectified = np.eye(4)
            rectified[:3, :3] = named_matrix(entries, rotation, 3, 3)
            camera0_from_lidar = rectified @ square(named_matrix(entries, name, 3, 4))
        if fault := rigid_fault(camera0_from_lidar):
            raise ValueError(f"its transform from the LiDAR {fault}")
    except ValueError as error:
        raise FrameError(
            frame,
            f"calibration {path}: {error}; take the file from the drive's calibration download "
            "(data_odometry_calib.zip or data_object_calib.zip of KITTI)",
        ) from error
    return KittiCalibration(path, projection, camera0_from_lidar)


def camera_2(frame: str, calibration: Path, image: Path) -> tuple[Camera, NDArray[np.float64]]:
    """Camera 2 as ``image_2``, and rectified camera 0 <- LiDAR (4, 4).

    Args:
        frame: id of the frame, for errors.

    Raises:
        FrameError: as `read_calibration`, `image_size` and `KittiCalibration.camera2`.
    """
    content = read_calibration(frame, calibration)
    width, height = image_size(frame, image)
    intrinsics, camera_from_lidar = content.camera2(frame, image, width, height)
    camera = Camera("image_2", image, width, height, intrinsics, camera_from_lidar)
    return camera, content.camera0_from_lidar


def sequence_folders(root: Path) -> dict[str, Path]:
    """Sequence folders under `root` or ``root/sequences`` by name, in order of name.

    Raises:
        CleverError: there is none.
    """
    parent = root / "sequences" if (root / "sequences").is_dir() else root
    folders = {path.parent.name: path.parent for path in sorted(parent.glob("*/velodyne"))}
    if not folders:
        raise CleverError(
            f"{parent} holds no KITTI sequence (NN/velodyne/*.bin); pass another `data_root`"
        )
    return folders


def frame_numbers(folder: Path) -> list[str]:
    """Names of the sweeps in a folder without their ending, in order of number, padded or not.

    Raises:
        CleverError: no sweep, or a name that is no number.
    """
    names = sweep_names(folder)
    for name in names:
        if not name.isdecimal():
            raise CleverError(
                f"{folder / name}.bin: the name is no frame number; rename or remove it"
            )
    return names


def image_size(frame: str, path: Path) -> tuple[int, int]:
    """Width and height of an image without decoding it; raises FrameError where it is none."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise FrameError(
            frame, f"no image {path}; restore it, or leave this sequence out"
        ) from error
    except Image.DecompressionBombError as error:
        raise FrameError(
            frame, f"cannot read image {path}: it claims to have too many pixels; restore the file"
        ) from error
    except DECODER_ERRORS as error:
        fault = "it is a folder" if path.is_dir() else "it is damaged or no picture"
        raise FrameError(frame, f"cannot read image {path}: {fault}; restore the file") from error


def pose_of(frame: str, lines: Sequence[str], path: Path, number: str) -> NDArray[np.float64]:
    """(4, 4) of the 3x4 pose in a frame's line of poses.txt; raises FrameError for a line that is
    no pose."""
    pose = square(_row(frame, lines, path, number, 12).reshape(3, 4))
    if fault := rigid_fault(pose):
        raise FrameError(
            frame, f"{path} line {int(number) + 1} {fault}; correct it or remove the file"
        )
    return pose


def table_lines(path: Path) -> tuple[str, ...] | None:
    """Lines of a table; None where there is no file. Raises CleverError where it cannot be read."""
    if not path.exists():
        return None
    try:
        return text_lines(path)
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}; restore or remove it") from error


def _row(
    frame: str, lines: Sequence[str], path: Path, number: str, columns: int
) -> NDArray[np.float64]:
    """(columns,) numbers of a frame's line."""
    position = int(number)
    if position >= len(lines):
        raise FrameError(
            frame, f"{path} has {len(lines)} lines, none for this frame; restore or remove it"
        )
    try:
        return number_row(lines[position], columns)
    except ValueError as error:
        raise FrameError(
            frame, f"{path} line {position + 1} {error}; restore or remove the file"
        ) from error


def _first(entries: dict[str, list[str]], names: Sequence[str], meaning: str) -> str:
    """The first of `names` that is there; raises ValueError where none is."""
    for name in names:
        if name in entries:
            return name
    raise ValueError(f"it has no {' or '.join(sorted(names))}, the {meaning}")
