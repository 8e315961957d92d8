"""The LiDAR of the rig: a turn of 32 beams, and the sweep that it records with range noise,
drop-outs, intensity by material and exact labels.

LiDAR frame: x right, y forward, z up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, pose, quaternion, transform
from .raycast import Rays
from .shading import Shading, skins
from .world import SKY_SOLID, World, cast

MAX_RANGE = 100.0
_FADE_FROM = 70.0
_NEVER, _GLASS_LOSS = 0.005, 0.4
NOISE_LIMIT = 3.0
"""Range noise is cut at so many standard deviations."""


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
        """Column ranges of the boxes (P, 8, 3), see `Rays.windows`; all columns for boxes that
        straddle the first column or surround the sensor."""
        rows, columns = self.shape
        local = transform(invert(self.pose), corners)
        middle = local.mean(axis=1)
        # Columns run clockwise from the first one: turns of corners and of the box's middle, in
        # radians, and the corners' offsets from the middle the short way round.
        corner_turn = (self.start - np.arctan2(local[:, :, 1], local[:, :, 0])) % (2 * np.pi)
        centre = (self.start - np.arctan2(middle[:, 1], middle[:, 0])) % (2 * np.pi)
        offset = (corner_turn - centre[:, None] + np.pi) % (2 * np.pi) - np.pi
        step = 2 * np.pi / columns
        first_column = np.floor((centre + offset.min(axis=1)) / step).astype(np.int64)
        end_column = np.ceil((centre + offset.max(axis=1)) / step).astype(np.int64) + 1
        # A box that crosses the first column, or has the sensor inside, may lie in any column.
        radius = np.linalg.norm(corners - corners.mean(axis=1, keepdims=True), axis=2).max(axis=1)
        around = np.hypot(middle[:, 0], middle[:, 1]) <= radius
        full_turn = (first_column < 0) | (end_column > columns) | around
        windows = np.stack(
            [
                0 * first_column,
                0 * first_column + rows,
                np.where(full_turn, 0, first_column),
                np.where(full_turn, columns, end_column),
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


@dataclass(frozen=True, slots=True)
class Sweep:
    """Points of one turn, in firing order.

    Attributes:
        points: (N, 5) float32: x, y, z in the LiDAR frame, intensity 0..255, ring.
        labels: (N,) uint8 raw nuScenes categories.
        instances: (N,) int32 instance numbers, 0 for none.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.uint8]
    instances: NDArray[np.int32]


def scan(
    world: World,
    lidar: LidarModel,
    world_from_ego: Pose,
    time: float,
    noise: float,
    rng: np.random.Generator,
) -> Sweep:
    """The sweep taken at one instant.

    Args:
        time: seconds since the scene's start.
        noise: standard deviation of the range in metres, along the ray and cut at `NOISE_LIMIT`
            times itself.
    """
    placement, rays = world.at(time), lidar.rays(world_from_ego)
    hits = cast(rays, placement, world.street)
    labels, instances = world.labels(hits, placement, rays)
    shading = Shading.of(rays, hits)
    skin, normals = skins(world, placement, rays, shading, 2 * np.pi / lidar.azimuths)
    reflectance, gloss, facing = (np.empty(labels.size) for _ in range(3))
    view = np.stack(
        [a * shading.x + b * shading.y + c * shading.z for a, b, c in rays.pose[:3, :3]]
    )
    reflectance[shading.order], gloss[shading.order] = skin.reflectance, skin.gloss
    facing[shading.order] = np.abs((view * normals).sum(axis=0))
    draws = rng.random((2, labels.size))
    distance = 1 / np.where(hits.inverse > 0, hits.inverse, 1).reshape(-1)
    has_echo = (hits.solid.reshape(-1) != SKY_SOLID) & (distance < MAX_RANGE) & (distance > 1.0)
    has_echo &= draws[0] > np.maximum(_NEVER, (distance - _FADE_FROM) / (MAX_RANGE - _FADE_FROM))
    has_echo &= (gloss < 0.65) | (draws[1] > _GLASS_LOSS)
    error = noise * np.clip(rng.standard_normal(labels.size), -NOISE_LIMIT, NOISE_LIMIT)
    speckle = np.exp(0.12 * rng.standard_normal(labels.size))
    intensity = np.floor(np.clip(reflectance * (0.25 + 0.75 * facing) * speckle, 0, 255))
    ring = np.broadcast_to(np.arange(rays.shape[0])[:, None], rays.shape).reshape(-1)
    x, y, z = (
        np.broadcast_to(part, rays.shape).reshape(-1) * (distance + error)
        for part in (rays.x, rays.y, rays.z)
    )
    firing = np.arange(labels.size).reshape(rays.shape).T.reshape(-1)
    echoes = firing[has_echo[firing]]
    points = np.stack([x, y, z, intensity, ring], axis=1)[echoes].astype(np.float32)
    return Sweep(points, labels.reshape(-1)[echoes], instances.reshape(-1)[echoes])


def points_in_box(
    points: NDArray[np.floating],
    world_from_thing: Pose,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """(N,) whether points (N, 3) of the world frame lie in a box given in a thing's frame, borders
    included."""
    local = transform(invert(world_from_thing), points)
    return ((local >= low) & (local <= high)).all(axis=1)
