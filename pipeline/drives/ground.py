"""Texture of the ground: asphalt with its markings, grass, paving slabs and kerb stones."""

import numpy as np
from numpy.typing import NDArray

from .noise import cloudy, clumps, scramble
from .raycast import Floats
from .shapes import srgb
from .street import GRASS, PAVEMENT, Street
from .textures import Skin, blank, fade, stripe


def ground_texture(
    street: Street, x: Floats, y: Floats, z: Floats, footprint: Floats, seed: float
) -> tuple[Skin, NDArray[np.bool_]]:
    """Appearance of ground points in the world frame, and which of them lie on a kerb's face."""
    s, d = street.to_street(x, y)
    outside = street.outside(s, d)
    category = street.category(outside, z)
    skin = blank(srgb(98, 99, 102), 0.0, 9, x)
    _asphalt(street, skin, s, d, outside, footprint, seed)
    grass, paved = category == GRASS, category == PAVEMENT
    for mask, layer in ((grass, _grass), (paved, _pavement)):
        chosen = np.flatnonzero(mask)
        part = layer(s[chosen], d[chosen], outside[chosen], footprint[chosen], seed)
        skin.albedo[:, chosen], skin.reflectance[chosen] = part.albedo, part.reflectance
    face = paved & (z > 0.5e-3) & (np.abs(outside) < 2e-3) & (z < 0.1195)
    return skin, face


def _asphalt(
    street: Street, skin: Skin, s: Floats, d: Floats, outside: Floats, fp: Floats, seed: float
) -> None:
    tone = (
        1 + 0.1 * cloudy(s * 3 + seed * 7, d * 9) + 0.09 * clumps(s * 60, d * 60) * fade(fp, 0.03)
    )
    tone += 0.05 * cloudy(s * 30, d * 30 + seed) * fade(fp, 0.15)
    patch = scramble(
        np.floor(s / 7.0), np.floor(d / street.lane_width), np.full_like(s, np.floor(seed))
    )
    tone -= 0.16 * (patch > 0.86)
    wheel = np.abs(np.abs(d) % street.lane_width - street.lane_width / 2)
    tone -= 0.06 * np.exp(-(((wheel - 0.8) / 0.3) ** 2)) - 0.05 * np.exp(-((wheel / 0.25) ** 2))
    skin.shade(tone)
    worn = np.clip(0.85 + 0.14 * cloudy(s * 22, d * 40), 0.3, 1)
    white, yellow = srgb(226, 226, 220), srgb(226, 176, 60)
    side = np.full_like(s, 1e3)
    for centre in street.crossings:
        np.minimum(side, np.abs(s - centre) - street.side_half, out=side)
    main = np.abs(d) - street.half_width
    free = np.clip((side - 5.2) / fp + 0.5, 0, 1) * (main < 0)
    dash = stripe(s % 6.0 - 3.0, 1.5, fp)
    lines = stripe(np.abs(d) - street.lanes * street.lane_width, 0.06, fp)
    for lane in range(1, street.lanes):
        lines = lines + stripe(np.abs(d) - lane * street.lane_width, 0.065, fp) * dash
    lines = lines + stripe(side - 5.6, 0.2, fp) * (np.abs(d) < street.lanes * street.lane_width)
    zebra = (
        stripe(side - 3.0, 1.6, fp)
        * stripe(np.abs(d) % 1.1 - 0.55, 0.28, fp)
        * (main < -0.3)
        * (side > 0)
    )
    skin.paint(np.clip(stripe(np.abs(d) - 0.12, 0.05, fp) * free, 0, 1) * worn, yellow, None, 55)
    skin.paint(np.clip(lines * free + zebra, 0, 1) * worn, white, None, 75)
    gutter = np.clip(1 + outside / 0.35, 0, 1)
    skin.shade(1 - 0.25 * gutter)


def _grass(s: Floats, d: Floats, outside: Floats, fp: Floats, seed: float) -> Skin:
    skin = blank(srgb(92, 118, 50), 0.0, 26, s)
    dry = np.clip(0.35 + 0.3 * cloudy(s * 5 + seed * 3, d * 5), 0, 1) * (
        0.5 + 0.5 * ((seed * 7.3) % 1)
    )
    skin.paint(dry * 0.8, srgb(150, 136, 78))
    blades = clumps(s * 55, d * 55) * fade(fp, 0.05) + 0.6 * clumps(s * 14 + 3, d * 14) * fade(
        fp, 0.2
    )
    skin.shade(1 + 0.3 * blades + 0.1 * cloudy(s * 12, d * 12))
    skin.reflectance *= 1 + 0.3 * np.clip(blades, -2, 2)
    return skin


def _pavement(s: Floats, d: Floats, outside: Floats, fp: Floats, seed: float) -> Skin:
    """Slabs behind a lighter kerb stone."""
    warm = srgb(176, 168, 156) if (seed * 3.7) % 1 < 0.5 else srgb(166, 150, 138)
    skin = blank(warm, 0.0, 34, s)
    slab = scramble(np.floor(s / 0.8), np.floor(d / 0.8)) - 0.5
    joints = stripe(np.abs(s % 0.8 - 0.4) - 0.4, 0.012, fp) + stripe(
        np.abs(d % 0.8 - 0.4) - 0.4, 0.012, fp
    )
    skin.shade(1 + 0.12 * slab * fade(fp, 0.4) + 0.06 * cloudy(s * 20 + seed, d * 20))
    skin.shade(1 - 0.35 * np.clip(joints, 0, 1) * fade(fp, 0.1))
    kerb = outside < 0.18
    skin.paint(kerb, srgb(192, 190, 184), None, 42)
    skin.shade(1 - 0.3 * kerb * stripe(np.abs(s % 1.2 - 0.6) - 0.6, 0.012, fp))
    return skin
