"""The recording rig: six cameras and a 32-beam LiDAR, placed and named as in nuScenes.

Ego frame: x forward, y left, z up, origin on the ground below the rear axle. LiDAR frame: x right,
y forward, z up. Camera frames: x right, y down, z forward; pixel centres lie at integer
coordinates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, multiply, pose, quaternion, transform
from .raycast import PinholeRays, Rays

_OPTICAL = np.array([0.5, -0.5, 0.5, -0.5])
_FULL_WIDTH = 1600


@dataclass(frozen=True, slots=True)
class CameraModel:
    """One camera of the rig.

    Attributes:
        channel: nuScenes channel name.
        place: translation in the ego frame, metres.
        turn: yaw, pitch, roll in degrees of the optical axis in the ego frame.
        focal, cx, cy: intrinsics in pixels of a 1600 x 900 image.
        trigger: microseconds after the LiDAR timestamp (negative: before).
    """

    channel: str
    place: tuple[float, float, float]
    turn: tuple[float, float, float]
    focal: float
    cx: float
    cy: float
    trigger: int

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(4,) quaternion of ego_from_camera."""
        return multiply(quaternion(*np.radians(self.turn)), _OPTICAL)

    @property
    def ego_from_camera(self) -> Pose:
        """(4, 4) extrinsics."""
        return pose(self.rotation, self.place)

    def from_lidar(
        self, lidar: "LidarModel", sweep_ego: Pose | None = None, image_ego: Pose | None = None
    ) -> Pose:
        """(4, 4) camera_from_lidar of points that rest in the world.

        Args:
            sweep_ego, image_ego: world_from_ego when the sweep and when the image was taken; both
                None where the vehicle stands still.
        """
        world_from_lidar, world_from_camera = lidar.ego_from_lidar, self.ego_from_camera
        if sweep_ego is not None and image_ego is not None:
            world_from_lidar = sweep_ego @ world_from_lidar
            world_from_camera = image_ego @ world_from_camera
        return invert(world_from_camera) @ world_from_lidar

    def intrinsics(self, width: int) -> NDArray[np.float64]:
        """(3, 3) of an image of `width` pixels and 16:9 aspect."""
        scale = width / _FULL_WIDTH
        focal, cx, cy = (
            self.focal * scale,
            (self.cx + 0.5) * scale - 0.5,
            (self.cy + 0.5) * scale - 0.5,
        )
        return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])

    def rays(self, world_from_ego: Pose, width: int) -> PinholeRays:
        """One ray through every pixel."""
        k = self.intrinsics(width)
        where = world_from_ego @ self.ego_from_camera
        return PinholeRays.image(
            where, float(k[0, 0]), float(k[0, 2]), float(k[1, 2]), width, width * 9 // 16
        )


CAMERAS = (
    CameraModel("CAM_FRONT", (1.70, 0.02, 1.51), (0.3, -0.4, 0.1), 1266.0, 816.0, 471.0, -35_000),
    CameraModel(
        "CAM_FRONT_RIGHT", (1.55, -0.49, 1.50), (-55.6, 0.3, -0.2), 1261.0, 808.0, 475.0, -27_000
    ),
    CameraModel(
        "CAM_BACK_RIGHT", (1.01, -0.48, 1.56), (-110.4, -0.2, 0.3), 1260.0, 807.0, 480.0, -19_000
    ),
    CameraModel("CAM_BACK", (0.03, 0.0, 1.58), (179.5, 0.5, -0.1), 809.0, 829.0, 462.0, -10_000),
    CameraModel(
        "CAM_BACK_LEFT", (1.04, 0.48, 1.59), (109.2, 0.1, 0.2), 1257.0, 792.0, 472.0, -1_000
    ),
    CameraModel(
        "CAM_FRONT_LEFT", (1.52, 0.49, 1.51), (55.2, -0.3, -0.3), 1273.0, 827.0, 460.0, -43_000
    ),
)
"""Nearly nuScenes' own calibration; CAM_BACK sees 90 degrees, the others 65."""


@dataclass(frozen=True, slots=True)
class SweepRays(Rays):
    """Unit directions of a spinning LiDAR, float64: a row a beam, from the lowest, and a column a
    firing, clockwise.

    Attributes:
        start: azimuth of the first column in radians.
    """

    start: float

    def windows(
        self, corners: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Column ranges of the boxes; all columns for boxes that straddle the first column or
        surround the sensor."""
        rows, columns = self.shape
        local = transform(invert(self.pose), corners)
        middle = local.mean(axis=1)
        turned = (self.start - np.arctan2(local[:, :, 1], local[:, :, 0])) % (2 * np.pi)
        centre = (self.start - np.arctan2(middle[:, 1], middle[:, 0])) % (2 * np.pi)
        offset = (turned - centre[:, None] + np.pi) % (2 * np.pi) - np.pi
        step = 2 * np.pi / columns
        first = np.floor((centre + offset.min(axis=1)) / step).astype(np.int64)
        last = np.ceil((centre + offset.max(axis=1)) / step).astype(np.int64) + 1
        radius = np.linalg.norm(corners - corners.mean(axis=1, keepdims=True), axis=2).max(axis=1)
        around = np.hypot(middle[:, 0], middle[:, 1]) <= radius
        whole = (first < 0) | (last > columns) | around
        windows = np.stack(
            [
                0 * first,
                0 * first + rows,
                np.where(whole, 0, first),
                np.where(whole, columns, last),
            ],
            1,
        )
        return windows, np.maximum(np.linalg.norm(middle, axis=1) - radius, 0.05)


@dataclass(frozen=True, slots=True)
class LidarModel:
    """LIDAR_TOP.

    Attributes:
        place, turn: as in `CameraModel`, of ego_from_lidar.
        elevations: (32,) degrees, from the lowest beam.
        azimuths: firings a turn.
    """

    azimuths: int
    channel: str = "LIDAR_TOP"
    place: tuple[float, float, float] = (0.94, 0.0, 1.84)
    turn: tuple[float, float, float] = (-89.9, 0.6, -0.2)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(4,) quaternion of ego_from_lidar."""
        return quaternion(*np.radians(self.turn))

    @property
    def ego_from_lidar(self) -> Pose:
        """(4, 4) extrinsics."""
        return pose(self.rotation, self.place)

    @property
    def elevations(self) -> NDArray[np.float64]:
        """(32,) degrees: -30.67 to 10.67 in even steps."""
        return np.linspace(-92, 32, 32) / 3

    def rays(self, world_from_ego: Pose) -> SweepRays:
        """All rays of one turn, (32, azimuths), taken at one instant."""
        start = -np.pi / 2
        azimuth = (start - 2 * np.pi / self.azimuths * (np.arange(self.azimuths) + 0.5))[None]
        elevation = np.radians(self.elevations)[:, None]
        x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
        return SweepRays(world_from_ego @ self.ego_from_lidar, x, y, np.sin(elevation), start)
