"""Where sunlight and skylight do not reach."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Shading, points_of
from .geometry import invert, transform
from .raycast import Floats, PinholeRays
from .scene import GROUND_SOLID, Placed, World, cast

_SUN_DISTANCE = 2000.0
_SUN_PIXEL = 0.13


@dataclass(frozen=True, slots=True)
class SunMap:
    """What the sun sees, from far away: 1 / depth of the nearest solids."""

    rays: PinholeRays
    inverse: NDArray[np.floating]

    def lit(self, points: Floats, normals: Floats) -> Floats:
        """(N,) share of sunlight that reaches world points (3, N); 1 outside the map."""
        matrix = invert(self.rays.pose)
        lifted = [point + normal * 0.09 for point, normal in zip(points, normals, strict=True)]
        x, y, depth = (
            a * lifted[0] + b * lifted[1] + (c * lifted[2] + d)
            for a, b, c, d in matrix[:3].tolist()
        )
        scale = self.rays.focal / depth
        u, v = x * scale + (self.rays.cx + 0.5), y * scale + (self.rays.cy + 0.5)
        rows, columns = self.inverse.shape
        # A map pixel spans more depth the flatter the light falls on the surface.
        cosine = np.maximum(
            -sum(float(part) * n for part, n in zip(self.rays.pose[:3, 2], normals, strict=True)),
            0.2,
        )
        slack = 0.06 + _SUN_DISTANCE / self.rays.focal * np.sqrt(np.maximum(1 / cosine**2 - 1, 0))
        limit = 1 / (depth - slack)
        light = np.zeros_like(u)
        for du, dv in ((0.0, 0.0), (-0.7, 0.3), (0.3, 0.7), (0.5, -0.6)):
            column, row = (u + du).astype(np.int32), (v + dv).astype(np.int32)
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            flat = np.where(inside, row * columns + column, 0)
            light += ~((self.inverse.reshape(-1)[flat] > limit) & inside)
        return light * light.dtype.type(0.25)

    def with_things(self, placed: Placed) -> "SunMap":
        """The same map with further solids cast onto it."""
        return SunMap(self.rays, np.maximum(self.inverse, cast(self.rays, placed, None).inverse))


def sun_map(world: World, start: float, end: float) -> SunMap:
    """Shadows of everything that does not move, along the street from s = `start` to `end`."""
    marks = [
        world.street.to_world(s, d)[:2] for s in np.linspace(start, end, 9) for d in (-32.0, 32.0)
    ]
    ground = np.array([[x, y, z] for x, y in marks for z in (0.0, 9.0)])
    centre = ground.mean(axis=0)
    along = np.subtract(world.street.to_world(end, 0)[:2], world.street.to_world(start, 0)[:2])
    forward = -world.light.sun
    right = np.append(along, 0.0) / np.linalg.norm(along)
    down = np.cross(forward, right)
    down /= np.linalg.norm(down)
    where = np.eye(4)
    where[:3, :3] = np.column_stack([np.cross(down, forward), down, forward])
    where[:3, 3] = centre - _SUN_DISTANCE * forward
    local = transform(invert(where), ground)[:, :2]
    low, high = local.min(axis=0) - 2, local.max(axis=0) + 2
    pitch = max(_SUN_PIXEL, float((high - low).max()) / 4096)
    width, height = (int(np.ceil(part)) for part in (high - low) / pitch)
    cx, cy = (-low / pitch).tolist()
    rays = PinholeRays.image(where, _SUN_DISTANCE / pitch, cx, cy, width, height)
    still = np.setdiff1d(np.arange(len(world.things)), world.movers())
    return SunMap(rays, cast(rays, world.at(0.0, still), None).inverse)


def contact(placed: Placed, rays: PinholeRays, shading: Shading) -> Floats:
    """(N,) share of skylight that reaches every hit: less on the ground close to solids that stand
    on it."""
    share = np.ones_like(shading.t)
    run = np.flatnonzero(shading.solids == GROUND_SOLID)
    if len(run) == 0:
        return share
    ground = slice(shading.starts[run[0]], shading.starts[run[0] + 1])
    place = np.full(len(share), -1, np.int64)
    place[shading.order[ground]] = np.arange(ground.start, ground.stop)
    place = place.reshape(rays.shape)
    for number, reach, window in _footprints(placed, rays):
        chosen = place[window].reshape(-1)
        chosen = chosen[chosen >= 0]
        low, high = placed.solids[number].shape.bounds()
        x, y, _ = points_of(invert(placed.poses[number]) @ rays.pose, shading, chosen)
        dx = np.maximum(np.maximum(float(low[0]) - x, x - float(high[0])), 0)
        dy = np.maximum(np.maximum(float(low[1]) - y, y - float(high[1])), 0)
        share[chosen] *= 1 - 0.62 * np.exp(-np.sqrt(dx * dx + dy * dy) / reach)
    return share


def _footprints(
    placed: Placed, rays: PinholeRays
) -> Iterator[tuple[int, float, tuple[slice, slice]]]:
    """Upright solids near the ground, how far (metres) they darken it, and the window where that
    can be seen."""
    upright = (placed.poses[:, 2, 2] > 0.95) & (placed.corners[:, :, 2].min(axis=1) < 0.5)
    numbers = np.flatnonzero(upright)
    corners, reaches = [], []
    for number in numbers:
        low, high = placed.solids[number].shape.bounds()
        reach = float(min(0.8, 0.3 * (high[2] - low[2]), 0.6 * (high[:2] - low[:2]).min()))
        x, y = ((low[axis] - 3 * reach, high[axis] + 3 * reach) for axis in (0, 1))
        corners.append([[a, b, c] for a in x for b in y for c in (low[2] - 0.4, low[2] + 0.2)])
        reaches.append(reach)
    world_corners = np.stack(
        [
            transform(placed.poses[number], np.array(box))
            for number, box in zip(numbers, corners, strict=True)
        ]
    )
    windows, _ = rays.windows(world_corners)
    for number, reach, (top, bottom, left, right) in zip(
        numbers, reaches, windows.tolist(), strict=True
    ):
        if top < bottom and left < right:
            yield int(number), reach, (slice(top, bottom), slice(left, right))
