"""Rays that share one origin, against convex solids, ellipsoids and frustums.

Everything is computed in inverse ray parameter s = 1 / t (0: no hit). For rays from one point, 1 /
t of a plane is linear in the ray's direction, so a pinhole image costs one addition a plane and
pixel, and the nearest hit is the largest s. Quadrics use forms of the discriminant in which nothing
large cancels, so float32 rays lose no accuracy.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, transform

Floats = NDArray[Any]
"""float32 or float64, after the rays' precision."""
Components = tuple[Floats, Floats, Floats]
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Rays:
    """Rays from the origin of a sensor.

    Attributes:
        pose: (4, 4) world_from_sensor.
        x, y, z: direction components in the sensor frame, broadcastable to the two-dimensional
            `shape`.
    """

    pose: Pose
    x: Floats
    y: Floats
    z: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the ray grid."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def crop(self, rows: slice, columns: slice) -> "Rays":
        """The rays of a window."""
        x, y, z = (
            part[
                rows if part.shape[0] > 1 else slice(None),
                columns if part.shape[1] > 1 else slice(None),
            ]
            for part in (self.x, self.y, self.z)
        )
        return Rays(self.pose, x, y, z)

    def linear(self, row: Floats) -> Floats:
        """row . direction for every ray; `row` is a (3,) covector in the sensor frame."""
        a, b, c = row.tolist()
        return (a * self.x + c * self.z) + b * self.y

    def windows(
        self, corners: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Where bounding boxes can appear in the grid.

        Args:
            corners: (P, 8, 3) corners in the world frame.

        Returns:
            (P, 4) first row, end row, first column, end column, and (P,) a lower bound of the ray
            parameter.
        """
        everything = np.array([0, self.shape[0], 0, self.shape[1]])
        return np.tile(everything, (len(corners), 1)), np.full(len(corners), _TINY)


_EDGES = np.array(
    [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]]
)


@dataclass(frozen=True, slots=True)
class PinholeRays(Rays):
    """Rays through pixels: direction ((u - cx) / f, (v - cy) / f, 1), so the ray parameter is the
    depth in metres."""

    focal: float
    cx: float
    cy: float

    @classmethod
    def image(
        cls, pose: Pose, focal: float, cx: float, cy: float, width: int, height: int
    ) -> "PinholeRays":
        """One float32 ray through every pixel centre (integer u, v) of an image."""
        x = ((np.arange(width) - cx) / focal).astype(np.float32)[None]
        y = ((np.arange(height) - cy) / focal).astype(np.float32)[:, None]
        return cls(pose, x, y, np.ones((1, 1), np.float32), focal, cx, cy)

    def thin(self, step: int) -> "PinholeRays":
        """Every `step`-th row and column."""
        x, y, by = self.x[:, ::step], self.y[::step], float(step)
        return PinholeRays(self.pose, x, y, self.z, self.focal / by, self.cx / by, self.cy / by)

    def windows(
        self, corners: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Bounding rectangles of the parts of boxes (P, 8, 3) in front of the camera, see
        `Rays.windows`."""
        near_plane = 0.05
        local = transform(invert(self.pose), corners)
        # The twelve edges of a box; where one crosses the near plane, the point at which it does.
        ends = local[:, _EDGES]
        z0, z1 = ends[:, :, 0, 2], ends[:, :, 1, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(
                (z0 < near_plane) != (z1 < near_plane), (near_plane - z0) / (z1 - z0), 0.0
            )
        cuts = ends[:, :, 0] + share[:, :, None] * (ends[:, :, 1] - ends[:, :, 0])
        # Corners in front of the camera and those points span the visible part of the box.
        points = np.concatenate([local, cuts], axis=1)
        ahead = points[:, :, 2] >= near_plane * 0.999
        depth = np.maximum(points[:, :, 2], near_plane)
        u = points[:, :, 0] / depth * self.focal + self.cx
        v = points[:, :, 1] / depth * self.focal + self.cy
        rows, columns = self.shape
        low = [np.where(ahead, part, np.inf).min(axis=1) for part in (v, u)]
        high = [np.where(ahead, part, -np.inf).max(axis=1) for part in (v, u)]
        # Whole pixels around the extent, cut to the image; empty where nothing is ahead.
        size = (rows, columns)
        start = [
            np.clip(np.floor(part), 0, limit).astype(np.int64)
            for part, limit in zip(low, size, strict=True)
        ]
        end = [
            np.clip(np.ceil(part) + 1, 0, limit).astype(np.int64)
            for part, limit in zip(high, size, strict=True)
        ]
        return np.stack([start[0], end[0], start[1], end[1]], axis=1), np.maximum(
            local[:, :, 2].min(axis=1), near_plane
        )


class Shape(Protocol):
    """A closed surface in its own metric frame."""

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of the bounding box, (3,) each, metres in the shape's frame."""
        ...

    def intersect(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> Floats:
        """1 / t of every ray's first hit, 0 for a miss, of the rays' shape and precision.

        Args:
            origin: (3,) the sensor's place in the shape's frame, metres.
            matrix: (3, 3) rotation shape_from_sensor.
        """
        ...

    def normal(self, x: Floats, y: Floats, z: Floats) -> Components:
        """Unit outward normals, three (n,), at points (n,) each of the surface, in its frame."""
        ...


@dataclass(frozen=True, slots=True)
class Convex:
    """Intersection of half-spaces normal . p <= offset.

    Attributes:
        planes: (K, 4) float64: outward unit normal and offset.
        low, high: (3,) corners of the bounding box.
    """

    planes: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of the bounding box, (3,) each, metres."""
        return self.low, self.high

    def intersect(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> Floats:
        """The ray enters through the planes that its origin is outside of and must do so before
        leaving any other."""
        # n . (o + t d) = offset holds at 1 / t = -(n . d) / gap, with gap = n . o - offset: linear
        # in d, one row a plane. A gap > 0 means that the origin lies outside of the plane.
        gap = self.planes[:, :3] @ origin - self.planes[:, 3]
        gap = np.where(np.abs(gap) < _TINY, -_TINY, gap)
        rows = -(self.planes[:, :3] @ matrix) / gap[:, None]
        enter = leave = None
        # The last entry is the smallest 1 / t, the first exit the largest; entry must come first.
        for row, outside in zip(rows, gap > 0, strict=True):
            value = rays.linear(row)
            if outside:
                enter = value if enter is None else np.minimum(enter, value, out=enter)
            else:
                leave = value if leave is None else np.maximum(leave, value, out=leave)
        if enter is None:
            return np.zeros(rays.shape, rays.x.dtype)
        bound = 0.0 if leave is None else np.maximum(leave, 0.0, out=leave)
        return np.where(enter > bound, enter, 0)

    def normal(self, x: Floats, y: Floats, z: Floats) -> Components:
        """Normal, three (n,), of the plane that each of n points is nearest to."""
        # Points lie on the surface: of all planes theirs has the largest signed height, about 0.
        best, face = None, np.zeros(x.shape, np.intp)
        for index, (a, b, c, offset) in enumerate(self.planes.tolist()):
            height = a * x + b * y + (c * z - offset)
            if best is None:
                best = height
                continue
            face[height > best] = index
            np.maximum(best, height, out=best)
        normals = self.planes[:, :3].astype(x.dtype)
        return normals[face, 0], normals[face, 1], normals[face, 2]


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Ellipsoid about the origin with semi-axes `radii` (3,) in metres."""

    radii: NDArray[np.float64]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of the bounding box, (3,) each, metres."""
        return -self.radii, self.radii

    def roots(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> tuple[Floats, Floats]:
        """1 / t at entry and exit, of the rays' shape, NaN for a miss; entry may be negative,
        behind the sensor. `origin` and `matrix` as in `Shape.intersect`."""
        # Divided by the radii the ellipsoid is the unit sphere: |o + t d|^2 = 1, in s = 1 / t
        # c s^2 + 2 (o . d) s + |d|^2 = 0 with c = |o|^2 - 1.
        o, unit_matrix = origin / self.radii, matrix / self.radii[:, None]
        c = float(o @ o) - 1
        c = c if abs(c) > _TINY else _TINY
        # With o x d the discriminant a - |o x d|^2 holds no large terms, unlike b^2 - a c.
        cross = np.stack(
            [
                o[1] * unit_matrix[2] - o[2] * unit_matrix[1],
                o[2] * unit_matrix[0] - o[0] * unit_matrix[2],
                o[0] * unit_matrix[1] - o[1] * unit_matrix[0],
            ]
        )
        disc = sum(rays.linear(row) ** 2 for row in unit_matrix) - sum(
            rays.linear(row) ** 2 for row in cross
        )
        with np.errstate(invalid="ignore"):
            root = np.sqrt(disc)
        forward = rays.linear(-(o @ unit_matrix) / c)
        return forward + root / c, forward - root / c

    def intersect(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> Floats:
        """First hit from outside."""
        return np.nan_to_num(np.fmax(self.roots(origin, matrix, rays)[0], 0), copy=False)

    def normal(self, x: Floats, y: Floats, z: Floats) -> Components:
        """Gradient of the quadratic form at n points, three (n,), scaled to unit length."""
        # Gradient of (x / rx)^2 + (y / ry)^2 + (z / rz)^2, halved.
        a, b, c = (self.radii**-2.0).tolist()
        return _unit(a * x, b * y, c * z)


@dataclass(frozen=True, slots=True)
class Frustum:
    """Closed cone frustum about +z: radius `bottom` at z = 0, `top` at z = `height`; a cylinder
    when they agree."""

    bottom: float
    top: float
    height: float

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of the bounding box, (3,) each, metres."""
        radius = max(self.bottom, self.top)
        return np.array([-radius, -radius, 0.0]), np.array([radius, radius, self.height])

    def intersect(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> Floats:
        """Nearest of the mantle's two roots and the cap that faces the origin."""
        ox, oy, oz = origin.tolist()
        slope = (self.top - self.bottom) / self.height
        radius = self.bottom + slope * oz
        # The mantle x^2 + y^2 = (bottom + slope z)^2 at o + d / s, times s^2, is a quadratic
        # c s^2 - 2 B s + A = 0: c from the origin alone, `radius` the mantle's radius at the
        # origin's height.
        c = ox * ox + oy * oy - radius * radius
        c = c if abs(c) > _TINY else _TINY
        mx, my, mz = matrix
        # Equal to B^2 - A C of the quadratic in s, written without its cancelling terms.
        disc = (
            rays.linear(radius * mx - slope * ox * mz) ** 2
            + rays.linear(radius * my - slope * oy * mz) ** 2
        )
        disc = disc - rays.linear(ox * my - oy * mx) ** 2
        with np.errstate(invalid="ignore"):
            root = np.sqrt(disc) / c
        middle = rays.linear((slope * radius * mz - ox * mx - oy * my) / c)
        dz = rays.linear(mz)
        # Of the two roots the nearer (larger s) that lies between the caps: 0 <= z s <= height s.
        best = np.zeros(rays.shape, root.dtype)
        for s in (middle + root, middle - root):
            z = oz * s + dz
            np.copyto(best, s, where=(s > best) & (z >= 0) & (z <= self.height * s))
        # A cap counts only from its outer side, where the ray meets its plane within the rim.
        for level, rim, outside in (
            (self.height, self.top, oz > self.height),
            (0.0, self.bottom, oz < 0),
        ):
            if outside:
                s = rays.linear(mz / (level - oz))
                inside = (ox * s + rays.linear(mx)) ** 2 + (oy * s + rays.linear(my)) ** 2 <= (
                    rim * s
                ) ** 2
                np.copyto(best, s, where=inside & (s > best))
        return best

    def normal(self, x: Floats, y: Floats, z: Floats) -> Components:
        """Radial on the mantle, along z on the caps: three (n,) at n points."""
        slope = (self.bottom - self.top) / self.height
        # A point belongs to the nearer of the two surfaces; the mantle's normal leans by its slope.
        radial = np.hypot(x, y)
        mantle = np.abs(radial - (self.bottom - slope * z))
        cap = np.minimum(np.abs(z), np.abs(z - self.height)) < mantle
        cap_z = np.where(z > self.height / 2, 1.0, -1.0).astype(x.dtype)
        nx, ny, nz = _unit(x, y, slope * radial)
        return np.where(cap, 0, nx), np.where(cap, 0, ny), np.where(cap, cap_z, nz)


def _unit(x: Floats, y: Floats, z: Floats) -> Components:
    length = np.sqrt(x * x + y * y + z * z)
    length = np.maximum(length, _TINY)
    return x / length, y / length, z / length
