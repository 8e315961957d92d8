"""The one structure that every dataset yields and stage one consumes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera image of a frame and its calibration.

    Attributes:
        name: channel name, e.g. ``CAM_FRONT``; the same in every frame of a store.
        image: path of the image file; it is decoded only where the teacher runs.
        width, height: image size in pixels.
        intrinsics: (3, 3) float64, pixels; pixel centres lie at integer coordinates.
        camera_from_lidar: (4, 4) float64; maps LiDAR-frame points (metres, at the LiDAR's
            timestamp) to the camera frame (x right, y down, z forward) at the camera's timestamp,
            ego motion compensated.
    """

    name: str
    image: Path
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    camera_from_lidar: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frame:
    """One LiDAR keyframe with its cameras.

    Attributes:
        id: unique within a store, at most 64 bytes of UTF-8 (nuScenes: sample token; KITTI:
            ``40/000012``).
        scene: scene or sequence name, at most 64 bytes of UTF-8.
        timestamp: LiDAR timestamp in microseconds.
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1].
        global_from_lidar: (4, 4) float64; identity where the dataset has no poses.
        cameras: in the dataset's fixed camera order.
        split: the dataset's official split that the frame belongs to, such as ``train``; empty
            where it has none. It does not depend on the split that was asked for.
    """

    id: str
    scene: str
    timestamp: int
    points: NDArray[np.float32]
    global_from_lidar: NDArray[np.float64]
    cameras: tuple[Camera, ...]
    split: str = ""

    @property
    def image_size(self) -> NDArray[np.int64]:
        """(M, 2) width and height of every camera's image in pixels."""
        sizes = [(camera.width, camera.height) for camera in self.cameras]
        return np.array(sizes, np.int64).reshape(-1, 2)
