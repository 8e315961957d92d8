"""The one structure that every dataset yields and stage one consumes."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError
from .calibration_checks import camera_place_fault, intrinsics_fault, rigid_fault
from .lens import Lens

LATEST = 2**63
"""Microseconds that a store keeps, before and after 0."""
_REMEDY = "correct the dataset's calibration or poses, or leave the frame out"


class EmbeddedImage(Protocol):
    """An image inside another file, such as a row of a table: a reference that can be pickled, so
    that whoever decodes the image opens the file. `str` names the file and the place in it."""

    def open(self) -> BinaryIO:
        """The encoded image (JPEG, PNG, ...); raises CleverError where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class ProjectedPoints:
    """Which points a dataset itself has projected into a camera, and where.

    Attributes:
        point: (K,) integers, index into `Frame.points`, ascending.
        uv: (K, 2) float64, continuous pixels; pixel centres lie at integer coordinates.
    """

    point: NDArray[np.intp]
    uv: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera image of a frame and its calibration.

    Attributes:
        name: channel name, e.g. ``CAM_FRONT``; the same in every frame of a store.
        image: the image file, or an image inside one; it is decoded only where the teacher runs.
        width, height: image size in pixels.
        intrinsics: (3, 3) float64, pixels; pixel centres lie at integer coordinates.
        camera_from_lidar: (4, 4) float64, rigid; maps LiDAR-frame points (metres, at the LiDAR's
            timestamp) to the camera frame (x right, y down, z forward) at the camera's timestamp,
            ego motion compensated.
        lens: distortion of an image that is not rectified; None for a pinhole image.
        projected: the dataset's own projection, where it knows more than a camera model does, such
            as the time at which a rolling shutter saw each point; pairs then come from it, and the
            model serves depth and the rest.
    """

    name: str
    image: Path | EmbeddedImage
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    camera_from_lidar: NDArray[np.float64]
    lens: Lens | None = None
    projected: ProjectedPoints | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One LiDAR keyframe with its cameras; it cannot be made with a calibration or a pose that is
    impossible, whatever the dataset.

    Attributes:
        id: unique within a store, at most 64 bytes of UTF-8 (nuScenes: sample token; KITTI:
            ``40/000012``).
        scene: scene or sequence name, at most 64 bytes of UTF-8.
        timestamp: LiDAR timestamp in microseconds.
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1].
        global_from_lidar: (4, 4) float64, rigid; identity where the dataset has no poses.
        cameras: in the dataset's fixed camera order.
        split: the dataset's official split that the frame belongs to, such as ``train``; empty
            where it has none. It does not depend on the split that was asked for.

    Raises:
        FrameError: a camera's intrinsics, lens or extrinsics are impossible, its principal point
            lies outside the middle half of its image, its projected points are none of the frame's,
            or the pose is not rigid; the reason names the camera. Or the timestamp is beyond what
            a store keeps.
    """

    id: str
    scene: str
    timestamp: int
    points: NDArray[np.float32]
    global_from_lidar: NDArray[np.float64]
    cameras: tuple[Camera, ...]
    split: str = ""

    def __post_init__(self) -> None:
        for camera in self.cameras:
            fault = intrinsics_fault(camera.intrinsics, camera.width, camera.height)
            fault = fault or (camera.lens.fault() if camera.lens else "")
            fault = fault or projected_fault(camera.projected, len(self.points))
            if fault := fault or camera_place_fault(camera.camera_from_lidar):
                raise FrameError(self.id, f"camera {camera.name}: {fault}; {_REMEDY}")
        if not -LATEST <= self.timestamp < LATEST:
            raise FrameError(
                self.id,
                f"its timestamp is {self.timestamp:.3g} microseconds, which is no time; correct it",
            )
        if fault := rigid_fault(self.global_from_lidar):
            raise FrameError(self.id, f"the pose of the LiDAR {fault}; {_REMEDY}")

    @property
    def image_size(self) -> NDArray[np.int64]:
        """(M, 2) width and height of every camera's image in pixels."""
        sizes = [(camera.width, camera.height) for camera in self.cameras]
        return np.array(sizes, np.int64).reshape(-1, 2)


def projected_fault(projected: ProjectedPoints | None, points: int) -> str:
    """Why a dataset's own projection cannot be of a frame with so many points; empty where it
    can."""
    if projected is None:
        return ""
    if projected.uv.shape != (len(projected.point), 2) or not np.isfinite(projected.uv).all():
        return "its projected points have not one finite pixel each"
    if (np.diff(projected.point) <= 0).any():
        return "its projected points are not in ascending order"
    if len(projected.point) and not 0 <= projected.point[0] <= projected.point[-1] < points:
        return f"its projected points are not among the frame's {points}"
    return ""
