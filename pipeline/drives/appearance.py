"""Appearance of everything that a grid of rays meets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert
from .ground import ground_texture
from .raycast import Floats, Rays
from .scene import GROUND_SOLID, SKY_SOLID, Hits, Placed, World
from .shapes import Foliage
from .textures import Skin, Surface, texture


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
    world: World, placed: Placed, rays: Rays, shading: Shading, pixel: float
) -> tuple[Skin, Floats]:
    """Appearance, world normals (3, N) of all hits, in the order of `shading`.

    `pixel` is the angle in radians between neighbouring rays.
    """
    count, dtype = len(shading.order), shading.x.dtype
    skin = Skin(np.zeros((3, count), dtype), np.zeros(count, dtype), np.zeros(count, dtype))
    normals = np.zeros((3, count), dtype)
    length = np.sqrt(shading.x**2 + shading.y**2 + shading.z**2)
    footprint = np.maximum(shading.t * length * pixel, 1e-3)
    for run, solid in enumerate(shading.solids.tolist()):
        part = slice(shading.starts[run], shading.starts[run + 1])
        if solid == SKY_SOLID:
            continue
        if solid == GROUND_SOLID:
            piece, normal = _ground(world, rays, shading, part, footprint)
        else:
            piece, normal = _solid(placed, solid, rays, shading, part, footprint[part])
        skin.albedo[:, part], skin.gloss[part], skin.reflectance[part] = (
            piece.albedo,
            piece.gloss,
            piece.reflectance,
        )
        normals[:, part] = normal
    return skin, normals


def _solid(
    placed: Placed, solid: int, rays: Rays, shading: Shading, part: slice, footprint: Floats
) -> tuple[Skin, Floats]:
    shape, material = placed.solids[solid].shape, placed.solids[solid].material
    x, y, z = points_of(invert(placed.poses[solid]) @ rays.pose, shading, part)
    nx, ny, nz = shape.normal(x, y, z)
    skin = texture(Surface(x, y, z, nx, ny, nz, footprint, material))
    if isinstance(shape, Foliage):
        bump = shape.leaves(y, z, x) * x.dtype.type(0.35)
        nx, nz = nx + bump, nz + bump
    rotation = placed.poses[solid][:3, :3].tolist()
    return skin, np.stack([a * nx + b * ny + c * nz for a, b, c in rotation])


def points_of(matrix: Pose, shading: Shading, part: slice | NDArray[np.int64]) -> list[Floats]:
    """Hit points of a run in the frame that `matrix` maps the sensor frame to."""
    t = shading.t[part]
    x, y, z = shading.x[part] * t, shading.y[part] * t, shading.z[part] * t
    return [a * x + b * y + (c * z + d) for a, b, c, d in matrix[:3].tolist()]


def _ground(
    world: World, rays: Rays, shading: Shading, part: slice, footprint: Floats
) -> tuple[Skin, Floats]:
    x, y, z = points_of(rays.pose, shading, part)
    slant = np.maximum(
        (rays.pose[2, 3] - z).astype(x.dtype) / np.maximum(shading.t[part], 1e-3), 0.02
    )
    footprint[part] = footprint[part] / np.sqrt(slant)
    skin, face = ground_texture(world.street, x, y, z, footprint[part], world.light.seed)
    normal = np.zeros((3, len(x)), x.dtype)
    normal[2] = 1
    chosen = np.flatnonzero(face)
    if len(chosen):
        step, at = 0.01, (x[chosen].astype(np.float64), y[chosen].astype(np.float64))
        here = world.street.outside(*world.street.to_street(*at))
        gx = world.street.outside(*world.street.to_street(at[0] + step, at[1])) - here
        gy = world.street.outside(*world.street.to_street(at[0], at[1] + step)) - here
        size = np.maximum(np.hypot(gx, gy), 1e-9)
        normal[:, chosen] = np.stack([-gx / size, -gy / size, 0 * gx])
    return skin, normal
