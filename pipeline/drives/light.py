"""Sun, sky and weather of a scene."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import billows, cloudy
from .raycast import Floats


@dataclass(frozen=True, slots=True)
class Light:
    """All colours are linear red, green, blue.

    Attributes:
        sun: unit vector towards the sun, world frame.
        sun_colour: irradiance of the direct light.
        zenith, horizon: colour of the sky above and at the horizon.
        clouds: share of the sky that is overcast, 0..1.
        haze: distance in metres at which 1 / e of the contrast is left.
        exposure: camera gain.
        seed: shifts clouds and skyline.
    """

    sun: NDArray[np.float64]
    sun_colour: NDArray[np.float64]
    zenith: NDArray[np.float64]
    horizon: NDArray[np.float64]
    clouds: float
    haze: float
    exposure: float
    seed: float

    def ambient(self, up: Floats) -> Floats:
        """(3, n) light from the sky and the bright ground on surfaces whose normals have the z
        component `up`."""
        # Mean light of the dome; the ground throws back a fifth of it and a tenth of the sun's. The
        # more a surface looks up, the more of what it sees is sky.
        sky = 0.5 * self.zenith + 0.4 * self.horizon
        ground = 0.2 * (sky + 0.5 * self.sun_colour * self.sun[2]) * np.array([1.0, 0.95, 0.86])
        share = (0.5 + 0.5 * up)[None]
        sky, ground = (part.astype(up.dtype)[:, None] for part in (sky, ground))
        return ground + (sky - ground) * share

    def sky(self, x: Floats, y: Floats, z: Floats, detail: bool = True) -> Floats:
        """(3, n) radiance from unit directions; with `detail` clouds and a skyline of trees and
        roofs."""
        dtype = x.dtype
        zenith, horizon, sun_colour = (
            part.astype(dtype)[:, None] for part in (self.zenith, self.horizon, self.sun_colour)
        )
        # From the horizon's colour to the zenith's, and a glow around the sun, wide and narrow.
        height = np.sqrt(np.clip(z, 0, 1))
        colour = horizon + (zenith - horizon) * height
        towards = np.clip(
            x * float(self.sun[0]) + y * float(self.sun[1]) + z * float(self.sun[2]), 0, 1
        )
        colour = colour + sun_colour * (0.1 * towards**8 + 0.3 * towards**64) * (
            1 - 0.7 * self.clouds
        )
        if not detail:
            return colour
        # Clouds lie on a flat layer: towards the horizon a degree covers more of it.
        spread = 150 / (np.maximum(z, 0.02) + 0.15)
        cover = billows(x * spread + self.seed * 31, y * spread)
        # Opaque where the noise is high, more so under an overcast sky, none at the horizon.
        veil = np.clip(0.3 + 0.42 * cover + 1.7 * (self.clouds - 0.4), 0, 1) * np.clip(z * 8, 0, 1)
        shade = np.clip(1.02 - 0.1 * cover, 0.7, 1.15)
        white = 0.4 * horizon + 0.16 * sun_colour + 0.6 * zenith.mean() + 0.14
        colour += (white * shade - colour) * veil
        return self._skyline(x, y, z, colour)

    def _skyline(self, x: Floats, y: Floats, z: Floats, colour: Floats) -> Floats:
        # Heights of the skyline as sines of elevation by azimuth: trees smooth, roofs in blocks.
        low = np.flatnonzero(z < 0.12)
        around = np.arctan2(y[low], x[low])
        trees = 0.022 + 0.008 * cloudy(around * 500 + self.seed * 17, around * 0 + 9)
        block = np.floor(around * 26 + self.seed)
        roofs = (
            0.075 * np.abs(cloudy(block * 37, block * 53)) * (cloudy(block * 11, block * 5) > 0.3)
        )
        depth = z[low]
        for top, tint in ((roofs, (0.30, 0.31, 0.34)), (trees, (0.16, 0.22, 0.13))):
            behind = low[depth < top]
            base = np.array(tint, colour.dtype)[:, None] * 0.45
            colour[:, behind] = (
                base * self.horizon.mean() + 0.42 * self.horizon.astype(colour.dtype)[:, None]
            )
        return colour


def draw_light(rng: np.random.Generator, scene: int) -> Light:
    """In turn by scene number, from 1: clear noon, low warm sun, overcast, hazy sun."""
    kind = (1, 0, 2, 3)[scene % 4]
    azimuth = float(rng.uniform(0, 2 * np.pi))
    elevation = np.radians(float(rng.uniform(*((42, 62), (35, 60), (16, 26), (40, 60))[kind])))
    sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    colour = np.array(
        ((2.9, 2.7, 2.35), (1.9, 1.8, 1.65), (3.0, 2.15, 1.3), (0.12, 0.12, 0.12))[kind]
    )
    zenith = np.array(
        ((0.14, 0.28, 0.62), (0.3, 0.4, 0.56), (0.2, 0.3, 0.52), (0.5, 0.53, 0.57))[kind]
    )
    horizon = np.array(
        ((0.55, 0.68, 0.82), (0.68, 0.72, 0.75), (0.85, 0.68, 0.5), (0.68, 0.7, 0.72))[kind]
    )
    clouds = float(rng.uniform(*((0.1, 0.4), (0.4, 0.6), (0.2, 0.45), (0.9, 1.0))[kind]))
    haze = float(rng.uniform(350, 700)) * (0.6 if kind == 1 else 1.0)
    exposure = (1.0, 1.15, 1.1, 1.6)[kind] * float(rng.uniform(0.92, 1.1))
    return Light(sun, colour, zenith, horizon, clouds, haze, exposure, float(rng.uniform(0, 99)))
