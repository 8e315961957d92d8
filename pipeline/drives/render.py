"""From hits to a photograph: sun and sky light, mirrors, haze, lens and sensor noise."""

import numpy as np
from numpy.typing import NDArray

from .appearance import Shading, points_of, skins
from .light import Light
from .raycast import Floats, PinholeRays
from .scene import GROUND_SOLID, Hits, Placed, World
from .shadows import SunMap, contact


def photograph(
    world: World,
    placed: Placed,
    rays: PinholeRays,
    hits: Hits,
    shadows: SunMap,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 sRGB image of a camera; `rng` draws the sensor noise."""
    shading = Shading.of(rays, hits)
    image = np.empty((3, len(shading.order)), np.float32)
    image[:, shading.order] = _radiance(world, placed, rays, shading, shadows)
    return _develop(image.reshape(3, *rays.shape), world.light.exposure, rng)


def _radiance(
    world: World, placed: Placed, rays: PinholeRays, shading: Shading, shadows: SunMap
) -> Floats:
    """(3, N) light towards the camera, in the order of `shading`."""
    light = world.light
    skin, normals = skins(world, placed, rays, shading, 1 / rays.focal)
    view = np.stack(
        [a * shading.x + b * shading.y + c * shading.z for a, b, c in rays.pose[:3, :3].tolist()]
    )
    view /= np.sqrt((view * view).sum(axis=0))
    first = int(shading.starts[np.searchsorted(shading.solids, GROUND_SOLID)])
    colour = np.empty_like(view)
    colour[:, :first] = light.sky(view[0, :first], view[1, :first], view[2, :first])
    solid = slice(first, None)
    n = normals[:, solid]
    points = np.stack(points_of(rays.pose, shading, solid))
    sun, sun_colour, horizon = (
        part.astype(n.dtype) for part in (light.sun, light.sun_colour, light.horizon)
    )
    direct = np.clip(sun[0] * n[0] + sun[1] * n[1] + sun[2] * n[2], 0, None) * shadows.lit(
        points, n
    )
    skylight = light.ambient(n[2]) * contact(placed, rays, shading)[solid]
    radiance = skin.albedo[:, solid] * (sun_colour[:, None] * direct + skylight)
    _mirror(light, skin.gloss[solid], view[:, solid], n, radiance)
    veil = 1 - np.exp(-shading.t[solid] / light.haze)
    radiance += (horizon[:, None] * 0.85 - radiance) * veil
    colour[:, solid] = radiance
    return colour


def _mirror(light: Light, gloss: Floats, view: Floats, normals: Floats, radiance: Floats) -> None:
    """Add to `radiance` what glossy points reflect of sky and street, more at grazing angles."""
    chosen = np.flatnonzero(gloss > 0.02)
    if len(chosen) == 0:
        return
    d, n = view[:, chosen], normals[:, chosen]
    cosine = (d * n).sum(axis=0)
    x, y, z = d - 2 * cosine * n
    strength = gloss[chosen] * (0.07 + 0.93 * (1 - np.clip(-cosine, 0, 1)) ** 4)
    sky = light.sky(x, y, np.maximum(z, 0), detail=False)
    street = 0.3 * light.ambient(np.zeros_like(z))
    open_sky = np.clip((z - 0.03) / 0.3, 0, 1)
    seen = street + (sky - street) * (open_sky * open_sky * (3 - 2 * open_sky))
    radiance[:, chosen] += (seen - radiance[:, chosen]) * strength


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
