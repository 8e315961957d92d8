"""Calibration files of RELLIS-3D, which its download keeps in several archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...cache.calibration_checks import quaternion_fault
from ...cache.frame import Camera
from ...cache.lens import Lens
from ...errors import FrameError
from .readers.kitti_layout import image_size
from .readers.text_rows import decoded, number_row

CAMERA = "pylon_camera_node"
LENS = Lens("radial-tangential", (-0.134313, -0.025905, 0.002181, 0.00084, 0.0))
"""Distortion of the Basler's lens, a constant of the authors' notebook lidar2img."""
_CAMERA_KEY, _VELODYNE_KEY = "os1_cloud_node-pylon_camera_node", "vel2os1"


@dataclass(frozen=True, slots=True)
class CalibrationFiles:
    """The files of one sequence; None for one that is not there.

    Looked for in the sequence's folder and in folders of its name one or two levels below the root,
    as the archives have them (``Rellis_3D_cam_intrinsic/Rellis-3D/00000``).

    Attributes:
        intrinsics: ``camera_info.txt``: fx fy cx cy in pixels.
        camera: ``transforms.yaml``: quaternion q and translation t of Ouster <- camera.
        velodyne: ``vel2os1.yaml``: the same of Ouster <- Velodyne; also looked for without the
            sequence's name [R].
    """

    root: Path
    intrinsics: Path | None
    transforms: Path | None
    velodyne: Path | None

    @classmethod
    def of(cls, root: Path, sequence: str) -> "CalibrationFiles":
        """The files of a sequence under the root of the dataset."""

        def first(*names: str) -> Path | None:
            places = [f"{level}{name}" for name in names for level in ("", "*/", "*/*/")]
            return next((path for place in places for path in sorted(root.glob(place))), None)

        return cls(
            root,
            first(f"{sequence}/camera_info.txt"),
            first(f"{sequence}/transforms.yaml"),
            first(f"{sequence}/vel2os1.yaml", "vel2os1.yaml"),
        )

    def camera(self, frame: str, image: Path, ouster_from_lidar: NDArray[np.float64]) -> Camera:
        """The camera as seen from a LiDAR.

        Raises:
            FrameError: a file is missing or damaged, or the image is none.
        """
        width, height = image_size(frame, image)
        fx, fy, cx, cy = self._numbers(frame)
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        ouster_from_camera = self._transform(frame, self.transforms, "transforms.yaml", _CAMERA_KEY)
        camera_from_lidar = np.linalg.inv(ouster_from_camera) @ ouster_from_lidar
        return Camera(CAMERA, image, width, height, intrinsics, camera_from_lidar, LENS)

    def ouster_from_velodyne(self, frame: str) -> NDArray[np.float64]:
        """(4, 4) Ouster <- Velodyne; raises FrameError where the file is missing or damaged."""
        return self._transform(frame, self.velodyne, "vel2os1.yaml", _VELODYNE_KEY)

    def _numbers(self, frame: str) -> NDArray[np.float64]:
        path, data = self._content(frame, self.intrinsics, "camera_info.txt")
        try:
            return number_row(decoded(data), 4)
        except ValueError as error:
            raise FrameError(frame, f"calibration {path} {error}; restore the file") from error

    def _transform(self, frame: str, path: Path | None, name: str, key: str) -> NDArray[np.float64]:
        path, data = self._content(frame, path, name)
        try:
            return _rigid(yaml.safe_load(decoded(data)), key)
        except (yaml.YAMLError, ValueError) as error:
            fault = "is no YAML" if isinstance(error, yaml.YAMLError) else str(error)
            raise FrameError(frame, f"calibration {path} {fault}; restore the file") from error

    def _content(self, frame: str, path: Path | None, name: str) -> tuple[Path, bytes]:
        if path is None:
            raise FrameError(
                frame,
                f"no {name} of its sequence under {self.root}; unpack the calibration downloads of "
                "RELLIS-3D's README there",
            )
        try:
            return path, path.read_bytes()
        except OSError as error:
            raise FrameError(
                frame, f"cannot read calibration {path}: {error.strerror}; restore the file"
            ) from error


def _rigid(content: Any, key: str) -> NDArray[np.float64]:
    """(4, 4) of an entry with q (w, x, y, z) and t (x, y, z); raises ValueError where it is
    none."""
    try:
        entry = content[key]
        q = np.array([float(entry["q"][axis]) for axis in "wxyz"])
        t = np.array([float(entry["t"][axis]) for axis in "xyz"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"has no {key} with q (w, x, y, z) and t (x, y, z)") from None
    if fault := quaternion_fault(q):
        raise ValueError(f"has a quaternion q that {fault}")
    if not np.isfinite(t).all():
        raise ValueError("has a translation t that is not finite")
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_quat(q[[1, 2, 3, 0]]).as_matrix()
    transform[:3, 3] = t
    return transform
