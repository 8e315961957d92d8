"""The six cameras of the rig, placed and named as in nuScenes, and how they photograph: sun and sky
light, mirrors, haze, lens and sensor noise.

Ego frame: x forward, y left, z up, origin on the ground below the rear axle. Camera frames: x
right, y down, z forward; pixel centres lie at integer coordinates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, pose, quaternion
from .lidar import LidarModel
from .light import Light
from .raycast import Floats, PinholeRays
from .shading import Shading, SunMap, contact, points_of, skins
from .world import GROUND_SOLID, Hits, Placement, World

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
        # Product with (1, -1, 1, -1) / 2, which takes x right, y down, z forward to the ego's axes.
        w, x, y, z = quaternion(*np.radians(self.turn))
        return np.array([w + x - y + z, -w + x - y - z, w + x + y - z, -w + x + y + z]) / 2

    @property
    def ego_from_camera(self) -> Pose:
        """(4, 4) extrinsics."""
        return pose(self.rotation, self.place)

    def from_lidar(
        self, lidar: LidarModel, sweep_ego: Pose | None = None, image_ego: Pose | None = None
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
        world_from_camera = world_from_ego @ self.ego_from_camera
        return PinholeRays.image(
            world_from_camera,
            float(k[0, 0]),
            float(k[0, 2]),
            float(k[1, 2]),
            width,
            width * 9 // 16,
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


def photograph(
    world: World,
    placement: Placement,
    rays: PinholeRays,
    hits: Hits,
    shadows: SunMap,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 sRGB image of a camera; `rng` draws the sensor noise."""
    shading = Shading.of(rays, hits)
    image = np.empty((3, len(shading.order)), np.float32)
    image[:, shading.order] = _radiance(world, placement, rays, shading, shadows)
    return _develop(image.reshape(3, *rays.shape), world.light.exposure, rng)


def _radiance(
    world: World, placement: Placement, rays: PinholeRays, shading: Shading, shadows: SunMap
) -> Floats:
    """(3, N) light towards the camera, in the order of `shading`."""
    light = world.light
    skin, normals = skins(world, placement, rays, shading, 1 / rays.focal)
    view = np.stack(
        [a * shading.x + b * shading.y + c * shading.z for a, b, c in rays.pose[:3, :3].tolist()]
    )
    view /= np.sqrt((view * view).sum(axis=0))
    sky_end = int(shading.starts[np.searchsorted(shading.solids, GROUND_SOLID)])
    colour = np.empty_like(view)
    colour[:, :sky_end] = light.sky(view[0, :sky_end], view[1, :sky_end], view[2, :sky_end])
    solid = slice(sky_end, None)
    n = normals[:, solid]
    points = np.stack(points_of(rays.pose, shading, solid))
    sun, sun_colour, horizon = (
        part.astype(n.dtype) for part in (light.sun, light.sun_colour, light.horizon)
    )
    direct = np.clip(sun[0] * n[0] + sun[1] * n[1] + sun[2] * n[2], 0, None) * shadows.sunlight(
        points, n
    )
    skylight = light.ambient(n[2]) * contact(placement, rays, shading)[solid]
    radiance = skin.albedo[:, solid] * (sun_colour[:, None] * direct + skylight)
    _mirror(light, skin.gloss[solid], view[:, solid], n, radiance)
    veil = 1 - np.exp(-shading.t[solid] / light.haze)
    radiance += (horizon[:, None] * 0.85 - radiance) * veil
    colour[:, solid] = radiance
    return colour


def _mirror(light: Light, gloss: Floats, view: Floats, normals: Floats, radiance: Floats) -> None:
    """Add to `radiance` what glossy points reflect of sky and street, more at grazing angles."""
    glossy = np.flatnonzero(gloss > 0.02)
    if len(glossy) == 0:
        return
    d, n = view[:, glossy], normals[:, glossy]
    cosine = (d * n).sum(axis=0)
    x, y, z = d - 2 * cosine * n
    strength = gloss[glossy] * (0.07 + 0.93 * (1 - np.clip(-cosine, 0, 1)) ** 4)
    sky = light.sky(x, y, np.maximum(z, 0), detail=False)
    street = 0.3 * light.ambient(np.zeros_like(z))
    open_sky = np.clip((z - 0.03) / 0.3, 0, 1)
    reflection = street + (sky - street) * (open_sky * open_sky * (3 - 2 * open_sky))
    radiance[:, glossy] += (reflection - radiance[:, glossy]) * strength


def _develop(image: Floats, exposure: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lens blur, vignette, tone curve and sensor noise of a linear (3, H, W) image."""
    for lines in (image, image.transpose(0, 2, 1)):
        lines[:, 1:-1] = 0.7 * lines[:, 1:-1] + 0.15 * (lines[:, :-2] + lines[:, 2:])
    rows, columns = image.shape[1:]
    y, x = (
        np.linspace(-1, 1, rows, dtype=np.float32)[:, None],
        np.linspace(-1, 1, columns, dtype=np.float32)[None],
    )
    image *= exposure * (1 - 0.1 * (x * x + 0.6 * y * y))
    tone = 255 * np.sqrt(1 - np.exp(-np.maximum(image, 0)))
    tone += rng.standard_normal(tone.shape, np.float32) * 2 + 0.5
    return np.clip(tone, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
