"""The ground: a street along an arc, its side streets, kerbs, verges and pavements, and the texture
of each.

World frame: x along the street at its start, y to the left, z up, metres; the roadway is z = 0.
Street coordinates are s, the arc length along the centre line, and d, the distance to its left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import cloudy, clumps, scramble
from .raycast import Floats, Rays
from .shapes import srgb
from .textures import Skin, blank, fade, stripe

ROAD, PAVEMENT, GRASS = 24, 26, 27
"""Raw nuScenes categories: flat.driveable_surface, flat.sidewalk, flat.terrain."""
KERB = 0.12
"""Height of everything that is not roadway, metres."""
_KERB_WIDTH = 0.18
_CORNER = 4.0
_REACH = 70.0


@dataclass(frozen=True, slots=True)
class Street:
    """Cross-section and plan of the ground.

    Attributes:
        curvature: 1 / m, positive to the left, never zero.
        lanes: driving lanes a direction.
        lane_width: metres.
        parking: width of the parking strip on both sides, 0 for none.
        verge: width of the grass between kerb and pavement.
        pavement: width of the pavement.
        crossings: s of the side streets' centres.
        side_half: half the width of a side street.
    """

    curvature: float
    lanes: int
    lane_width: float
    parking: float
    verge: float
    pavement: float
    crossings: tuple[float, ...]
    side_half: float = 3.6

    @property
    def half_width(self) -> float:
        """Distance from the centre line to the kerb."""
        return self.lanes * self.lane_width + self.parking

    @property
    def frontage(self) -> float:
        """Distance from the kerb to the far edge of the pavement."""
        return self.verge + self.pavement

    def to_world(self, s: float, d: float) -> tuple[float, float, float]:
        """x, y and heading (radians) at street coordinates."""
        heading = self.curvature * s
        x = np.sin(heading) / self.curvature - d * np.sin(heading)
        y = (1 - np.cos(heading)) / self.curvature + d * np.cos(heading)
        return float(x), float(y), float(heading)

    def to_street(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """s and d, metres, of world points (n,) each; the form for d keeps its accuracy as the
        curvature vanishes."""
        k = self.curvature
        along, across = k * x, 1 - k * y
        d = (2 * y - k * (x * x + y * y)) / (1 + np.sqrt(along * along + across * across))
        return np.arctan2(along, across) / k, d

    def outside(self, s: Floats, d: Floats) -> Floats:
        """(n,) metres outside the roadway, negative on it, at s and d (n,) each; street corners are
        rounded."""
        main = np.abs(d) - self.half_width
        distance = main
        for centre in self.crossings:
            side = np.maximum(np.abs(s - centre) - self.side_half, np.abs(d) - _REACH)
            a, b = np.maximum(_CORNER - main, 0), np.maximum(_CORNER - side, 0)
            corner = (
                _CORNER - np.sqrt(a * a + b * b) + np.maximum(np.minimum(main, side) - _CORNER, 0)
            )
            distance = np.minimum(
                distance, np.minimum(side, np.where((main > 0) & (side > 0), corner, main))
            )
        return distance

    def category(self, outside: Floats, z: Floats) -> NDArray[np.uint8]:
        """(n,) raw category of ground points `outside` (n,) metres from the roadway at heights `z`
        (n,); kerbs, also their faces, are pavement."""
        edge = np.where(z > 0.5e-3, np.maximum(outside, 0), -1)
        is_pavement = (edge < _KERB_WIDTH) | ((edge >= self.verge) & (edge < self.frontage))
        return np.where(edge < 0, ROAD, np.where(is_pavement, PAVEMENT, GRASS)).astype(np.uint8)

    def intersect(self, rays: Rays, nearest: Floats) -> Floats:
        """1 / t of the first ground hit where it may beat `nearest`, else 0, of the rays' shape;
        needs an origin above the kerbs."""
        origin, descent = rays.pose[:3, 3], -rays.linear(rays.pose[2, :3])
        top = descent / float(origin[2] - KERB)
        inverse = np.zeros(rays.shape, rays.x.dtype)
        candidates = np.flatnonzero((top > nearest) & (top > 0))
        if len(candidates) == 0:
            return inverse
        direction = [rays.linear(row).reshape(-1)[candidates] for row in rays.pose[:2, :3]]
        s_top = top.reshape(-1)[candidates]
        s_low = s_top * ((float(origin[2]) - KERB) / float(origin[2]))
        high, low = (self._outside(rays, direction, s) for s in (s_top, s_low))
        s_hit = np.where(high >= 0, s_top, s_low)
        face = np.flatnonzero((high < 0) & (low >= 0))
        s_hit[face] = self._kerb_face(
            rays, [part[face] for part in direction], s_top[face], s_low[face]
        )
        inverse.reshape(-1)[candidates] = s_hit
        return inverse

    def _outside(self, rays: Rays, direction: list[Floats], s: Floats) -> Floats:
        x, y = (float(o) + part / s for o, part in zip(rays.pose[:2, 3], direction, strict=True))
        return self.outside(*self.to_street(x, y))

    def _kerb_face(
        self, rays: Rays, direction: list[Floats], s_road: Floats, s_block: Floats
    ) -> Floats:
        """Bisect for where a ray that passes above the roadway runs into the block behind its
        kerb."""
        for _ in range(24):
            middle = (s_road + s_block) / 2
            above_road = self._outside(rays, direction, middle) < 0
            s_road = np.where(above_road, middle, s_road)
            s_block = np.where(above_road, s_block, middle)
        return s_block


def ground_texture(
    street: Street, x: Floats, y: Floats, z: Floats, footprint: Floats, seed: float
) -> tuple[Skin, NDArray[np.bool_]]:
    """Appearance of ground points in the world frame, and which of them lie on a kerb's face, (n,)
    bool.

    Args:
        x, y, z: (n,) metres, world frame.
        footprint: (n,) width in metres that a pixel covers.
        seed: shifts the noise.
    """
    s, d = street.to_street(x, y)
    outside = street.outside(s, d)
    category = street.category(outside, z)
    skin = blank(srgb(98, 99, 102), 0.0, 9, x)
    _asphalt(street, skin, s, d, outside, footprint, seed)
    grass, pavement = category == GRASS, category == PAVEMENT
    for mask, layer in ((grass, _grass), (pavement, _pavement)):
        points = np.flatnonzero(mask)
        part = layer(s[points], d[points], outside[points], footprint[points], seed)
        skin.albedo[:, points], skin.reflectance[points] = part.albedo, part.reflectance
    face = pavement & (z > 0.5e-3) & (np.abs(outside) < 2e-3) & (z < 0.1195)
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
    wear = np.clip(0.85 + 0.14 * cloudy(s * 22, d * 40), 0.3, 1)
    white, yellow = srgb(226, 226, 220), srgb(226, 176, 60)
    side = np.full_like(s, 1e3)
    for centre in street.crossings:
        np.minimum(side, np.abs(s - centre) - street.side_half, out=side)
    main = np.abs(d) - street.half_width
    open_road = np.clip((side - 5.2) / fp + 0.5, 0, 1) * (main < 0)
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
    skin.paint(
        np.clip(stripe(np.abs(d) - 0.12, 0.05, fp) * open_road, 0, 1) * wear, yellow, None, 55
    )
    skin.paint(np.clip(lines * open_road + zebra, 0, 1) * wear, white, None, 75)
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
