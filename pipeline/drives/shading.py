"""What a grid of rays meets, ready for shading: the appearance of every hit, and where sunlight and
skylight do not reach."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, transform
from .raycast import Floats, PinholeRays, Rays
from .shapes import Foliage
from .street import ground_texture
from .textures import Skin, Surface, texture
from .world import GROUND_SOLID, SKY_SOLID, Hits, Placement, World, cast

_SUN_DISTANCE = 2000.0
"""Metres from which the sun casts shadows."""
_SUN_PIXEL = 0.13
"""Metres that a pixel of the shadow map covers, or more where the map would be too large."""


@dataclass(frozen=True, slots=True)
class Shading:
    """Hits of a grid in order of their solids, flattened.

    Attributes:
        order: (N,) flat ray indices, sorted by solid.
        starts: first position in `order` of each run; runs of `solids`.
        solids: solid index of each run.
        x, y, z: (N,) directions in the sensor frame, in that order.
        t: (N,) ray parameter, 0 where nothing is hit.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    solids: NDArray[np.int16]
    x: Floats
    y: Floats
    z: Floats
    t: Floats

    @classmethod
    def of(cls, rays: Rays, hits: Hits) -> "Shading":
        """Sort the rays of a grid by what they hit."""
        flat = hits.solid.reshape(-1)
        order = np.argsort(flat, kind="stable")
        solids, starts = np.unique(flat[order], return_index=True)
        x, y, z = (
            np.broadcast_to(part, rays.shape).reshape(-1)[order]
            for part in (rays.x, rays.y, rays.z)
        )
        # Hits keep 1 / t; nothing hit (0) stays 0.
        s = hits.inverse.reshape(-1)[order]
        return cls(
            order,
            np.append(starts, len(flat)),
            solids,
            x,
            y,
            z,
            np.where(s > 0, 1 / np.where(s > 0, s, 1), 0),
        )


def skins(
    world: World, placement: Placement, rays: Rays, shading: Shading, pixel: float
) -> tuple[Skin, Floats]:
    """Appearance, world normals (3, N) of all hits, in the order of `shading`.

    `pixel` is the angle in radians between neighbouring rays.
    """
    count, dtype = len(shading.order), shading.x.dtype
    skin = Skin(np.zeros((3, count), dtype), np.zeros(count, dtype), np.zeros(count, dtype))
    normals = np.zeros((3, count), dtype)
    length = np.sqrt(shading.x**2 + shading.y**2 + shading.z**2)
    # Width of a pixel at the hit: distance times angle.
    footprint = np.maximum(shading.t * length * pixel, 1e-3)
    for run, solid in enumerate(shading.solids.tolist()):
        part = slice(shading.starts[run], shading.starts[run + 1])
        if solid == SKY_SOLID:
            continue
        if solid == GROUND_SOLID:
            piece, normal = _ground(world, rays, shading, part, footprint)
        else:
            piece, normal = _solid(placement, solid, rays, shading, part, footprint[part])
        skin.albedo[:, part], skin.gloss[part], skin.reflectance[part] = (
            piece.albedo,
            piece.gloss,
            piece.reflectance,
        )
        normals[:, part] = normal
    return skin, normals


def _solid(
    placement: Placement, solid: int, rays: Rays, shading: Shading, part: slice, footprint: Floats
) -> tuple[Skin, Floats]:
    shape, material = placement.solids[solid].shape, placement.solids[solid].material
    x, y, z = points_of(invert(placement.poses[solid]) @ rays.pose, shading, part)
    nx, ny, nz = shape.normal(x, y, z)
    skin = texture(Surface(x, y, z, nx, ny, nz, footprint, material))
    if isinstance(shape, Foliage):
        bump = shape.leaves(y, z, x) * x.dtype.type(0.35)
        nx, nz = nx + bump, nz + bump
    # Normals turn with the solid; its pose is rigid.
    rotation = placement.poses[solid][:3, :3].tolist()
    return skin, np.stack([a * nx + b * ny + c * nz for a, b, c in rotation])


def points_of(matrix: Pose, shading: Shading, part: slice | NDArray[np.int64]) -> list[Floats]:
    """Hit points, three (n,) in metres, of a run or of numbered hits (n,), in the frame that
    `matrix` (4, 4) maps the sensor frame to."""
    t = shading.t[part]
    x, y, z = shading.x[part] * t, shading.y[part] * t, shading.z[part] * t
    return [a * x + b * y + (c * z + d) for a, b, c, d in matrix[:3].tolist()]


def _ground(
    world: World, rays: Rays, shading: Shading, part: slice, footprint: Floats
) -> tuple[Skin, Floats]:
    x, y, z = points_of(rays.pose, shading, part)
    # Sine of the angle at which the ray meets the ground; a flat one spreads the pixel along it.
    slant = np.maximum(
        (rays.pose[2, 3] - z).astype(x.dtype) / np.maximum(shading.t[part], 1e-3), 0.02
    )
    footprint[part] = footprint[part] / np.sqrt(slant)
    skin, face = ground_texture(world.street, x, y, z, footprint[part], world.light.seed)
    normal = np.zeros((3, len(x)), x.dtype)
    normal[2] = 1
    # A kerb's face looks towards the roadway: against the gradient of the distance from it.
    kerb_faces = np.flatnonzero(face)
    if len(kerb_faces):
        step, place = 0.01, (x[kerb_faces].astype(np.float64), y[kerb_faces].astype(np.float64))
        distance = world.street.outside(*world.street.to_street(*place))
        gx = world.street.outside(*world.street.to_street(place[0] + step, place[1])) - distance
        gy = world.street.outside(*world.street.to_street(place[0], place[1] + step)) - distance
        size = np.maximum(np.hypot(gx, gy), 1e-9)
        normal[:, kerb_faces] = np.stack([-gx / size, -gy / size, 0 * gx])
    return skin, normal


@dataclass(frozen=True, slots=True)
class SunMap:
    """What the sun sees, from far away: 1 / depth of the nearest solids."""

    rays: PinholeRays
    inverse: NDArray[np.floating]

    def sunlight(self, points: Floats, normals: Floats) -> Floats:
        """(N,) share of sunlight that reaches world points (3, N); 1 outside the map."""
        # A little off the surface, so that it does not shade itself; then into the map's pixels.
        matrix = invert(self.rays.pose)
        start = [point + normal * 0.09 for point, normal in zip(points, normals, strict=True)]
        x, y, depth = (
            a * start[0] + b * start[1] + (c * start[2] + d) for a, b, c, d in matrix[:3].tolist()
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
        # In shade where the map holds something nearer to the sun: a larger 1 / depth. Four places
        # around the pixel soften the edge.
        limit = 1 / (depth - slack)
        light = np.zeros_like(u)
        for du, dv in ((0.0, 0.0), (-0.7, 0.3), (0.3, 0.7), (0.5, -0.6)):
            column, row = (u + du).astype(np.int32), (v + dv).astype(np.int32)
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            flat = np.where(inside, row * columns + column, 0)
            light += ~((self.inverse.reshape(-1)[flat] > limit) & inside)
        return light * light.dtype.type(0.25)

    def with_things(self, placement: Placement) -> "SunMap":
        """The same map with further solids cast onto it."""
        return SunMap(self.rays, np.maximum(self.inverse, cast(self.rays, placement, None).inverse))


def sun_map(world: World, start: float, end: float) -> SunMap:
    """Shadows of everything that does not move, along the street from s = `start` to `end`."""
    # The part of the world that is to be covered: a band along the street, up to 9 m high.
    marks = [
        world.street.to_world(s, d)[:2] for s in np.linspace(start, end, 9) for d in (-32.0, 32.0)
    ]
    ground = np.array([[x, y, z] for x, y in marks for z in (0.0, 9.0)])
    centre = ground.mean(axis=0)
    along = np.subtract(world.street.to_world(end, 0)[:2], world.street.to_world(start, 0)[:2])
    # A camera far away in the direction of the sun, looking along its light, its rows along the
    # street.
    forward = -world.light.sun
    right = np.append(along, 0.0) / np.linalg.norm(along)
    down = np.cross(forward, right)
    down /= np.linalg.norm(down)
    world_from_sun = np.eye(4)
    world_from_sun[:3, :3] = np.column_stack([np.cross(down, forward), down, forward])
    world_from_sun[:3, 3] = centre - _SUN_DISTANCE * forward
    # The smallest image that holds the band, 2 m more on every side.
    local = transform(invert(world_from_sun), ground)[:, :2]
    low, high = local.min(axis=0) - 2, local.max(axis=0) + 2
    pitch = max(_SUN_PIXEL, float((high - low).max()) / 4096)
    width, height = (int(np.ceil(part)) for part in (high - low) / pitch)
    cx, cy = (-low / pitch).tolist()
    rays = PinholeRays.image(world_from_sun, _SUN_DISTANCE / pitch, cx, cy, width, height)
    still_things = np.setdiff1d(np.arange(len(world.things)), world.movers())
    return SunMap(rays, cast(rays, world.at(0.0, still_things), None).inverse)


def contact(placement: Placement, rays: PinholeRays, shading: Shading) -> Floats:
    """(N,) share of skylight that reaches every hit: less on the ground close to solids that stand
    on it."""
    share = np.ones_like(shading.t)
    run = np.flatnonzero(shading.solids == GROUND_SOLID)
    if len(run) == 0:
        return share
    ground = slice(shading.starts[run[0]], shading.starts[run[0] + 1])
    # For every pixel its ground hit's position in `shading`, -1 where it shows no ground.
    place = np.full(len(share), -1, np.int64)
    place[shading.order[ground]] = np.arange(ground.start, ground.stop)
    place = place.reshape(rays.shape)
    for number, reach, window in _footprints(placement, rays):
        hits = place[window].reshape(-1)
        hits = hits[hits >= 0]
        low, high = placement.solids[number].shape.bounds()
        x, y, _ = points_of(invert(placement.poses[number]) @ rays.pose, shading, hits)
        # Distance to the solid's base, a rectangle in its own frame; darkness falls off with it.
        dx = np.maximum(np.maximum(float(low[0]) - x, x - float(high[0])), 0)
        dy = np.maximum(np.maximum(float(low[1]) - y, y - float(high[1])), 0)
        share[hits] *= 1 - 0.62 * np.exp(-np.sqrt(dx * dx + dy * dy) / reach)
    return share


def _footprints(
    placement: Placement, rays: PinholeRays
) -> Iterator[tuple[int, float, tuple[slice, slice]]]:
    """Upright solids near the ground, how far (metres) they darken it, and the window where that
    can be seen."""
    upright = (placement.poses[:, 2, 2] > 0.95) & (placement.corners[:, :, 2].min(axis=1) < 0.5)
    numbers = np.flatnonzero(upright)
    corners, reaches = [], []
    for number in numbers:
        low, high = placement.solids[number].shape.bounds()
        reach = float(min(0.8, 0.3 * (high[2] - low[2]), 0.6 * (high[:2] - low[:2]).min()))
        x, y = ((low[axis] - 3 * reach, high[axis] + 3 * reach) for axis in (0, 1))
        corners.append([[a, b, c] for a in x for b in y for c in (low[2] - 0.4, low[2] + 0.2)])
        reaches.append(reach)
    world_corners = np.stack(
        [
            transform(placement.poses[number], np.array(box))
            for number, box in zip(numbers, corners, strict=True)
        ]
    )
    windows, _ = rays.windows(world_corners)
    for number, reach, (top, bottom, left, right) in zip(
        numbers, reaches, windows.tolist(), strict=True
    ):
        if top < bottom and left < right:
            yield int(number), reach, (slice(top, bottom), slice(left, right))
