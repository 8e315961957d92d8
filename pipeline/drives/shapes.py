"""Solids: a shape, where it sits in its thing, and what it is made of; constructors for the usual
ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, pose, quaternion
from .noise import clumps
from .raycast import Convex, Ellipsoid, Floats, Frustum, Rays, Shape

Colour = tuple[float, float, float]
"""Linear red, green, blue in [0, 1]."""


def scale_colour(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def srgb(red: float, green: float, blue: float) -> Colour:
    """Linear colour of an sRGB triple in 0..255."""
    return (red / 255) ** 2.2, (green / 255) ** 2.2, (blue / 255) ** 2.2


@dataclass(frozen=True, slots=True)
class Material:
    """What a surface looks like.

    Attributes:
        kind: key of the texture.
        colour, accent: main and second colour.
        gloss: strength of mirror reflection, 0..1.
        reflectance: LiDAR return at normal incidence, 0..255.
        seed: shifts the noise, so that two things of a kind differ.
        size: extents in metres that the texture needs, in its own order.
    """

    kind: str
    colour: Colour
    accent: Colour = (0.0, 0.0, 0.0)
    gloss: float = 0.0
    reflectance: float = 20.0
    seed: float = 0.0
    size: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Solid:
    """One shape of a thing; `pose` is thing_from_solid."""

    shape: Shape
    pose: Pose
    material: Material

    def corners(self) -> NDArray[np.float64]:
        """(8, 3) corners of the bounding box in the solid's frame."""
        low, high = self.shape.bounds()
        pick = np.array([[number >> 2 & 1, number >> 1 & 1, number & 1] for number in range(8)])
        return np.where(pick, high, low)


@dataclass(frozen=True, slots=True)
class Foliage:
    """An ellipsoid with holes: a leafy crown of semi-axes `radii`, of which about `share` is
    open."""

    radii: NDArray[np.float64]
    share: float
    seed: float

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of the bounding box, (3,) each, metres."""
        return -self.radii, self.radii

    def intersect(
        self, origin: NDArray[np.float64], matrix: NDArray[np.float64], rays: Rays
    ) -> Floats:
        """The front of the crown where it has leaves, else its back where that has, else
        nothing."""
        best = np.zeros(rays.shape, rays.x.dtype)
        # Crossings of the smooth crown, of rays that meet it ahead of the sensor.
        front, back = Ellipsoid(self.radii).roots(origin, matrix, rays)
        crossings = np.flatnonzero(front > 0)
        directions = [rays.linear(row).reshape(-1)[crossings] for row in matrix]
        # The front is written last: where both sides have leaves it covers the back.
        for side in (back, front):
            s = side.reshape(-1)[crossings]
            positive = s > 0
            t = 1 / np.where(positive, s, 1)
            x, y, z = (
                o + direction * t for o, direction in zip(origin.tolist(), directions, strict=True)
            )
            # Density has unit deviation: the threshold rises with the share that is to be open.
            leaf = positive & (self.leaves(x, y, z) > 2.4 * self.share - 1.2)
            best.reshape(-1)[crossings[leaf]] = s[leaf]
        return best

    def leaves(self, x: Floats, y: Floats, z: Floats) -> NDArray[np.float32]:
        """(n,) density of leaves at points (n,) each of the crown's frame, about unit deviation."""
        x, y, z = x + self.seed, y + 2 * self.seed, z + 3 * self.seed
        leaves = clumps((x + 0.4 * y) * 62, (z - 0.3 * y) * 62) + clumps(
            (y - 0.4 * x) * 57, (z + 0.3 * x) * 57
        )
        leaves += clumps((x - 0.3 * z) * 53, (y + 0.4 * z) * 53)
        twigs = clumps((x + 0.3 * z) * 17, (y - 0.4 * z) * 17) + clumps(
            (y + 0.4 * x) * 20, (z - 0.4 * x) * 20
        )
        return np.float32(0.42) * leaves + np.float32(0.5) * twigs

    def normal(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Normal of the smooth crown at n points, three (n,)."""
        return Ellipsoid(self.radii).normal(x, y, z)


def solid_at(shape: Shape, material: Material, x: float, y: float, z: float, *turn: float) -> Solid:
    """A shape at (x, y, z), turned by yaw, pitch, roll in radians."""
    return Solid(shape, pose(quaternion(*(turn or (0.0,))), (x, y, z)), material)


def box(length: float, width: float, height: float) -> Convex:
    """A box, x and y centred, z from 0 to `height`."""
    half = np.array([length / 2, width / 2])
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    offsets = np.array([*half, height, *half, 0.0])
    return Convex(
        np.column_stack([normals, offsets]), np.array([*-half, 0.0]), np.array([*half, height])
    )


def extrusion(
    outline: Sequence[tuple[float, float]], half: float, lean: float = 0.0, base: float = 0.0
) -> Convex:
    """A convex outline in (x, z), counter-clockwise seen from -y, swept over |y| <= `half`.

    Args:
        outline: corners in metres.
        half: half the width at the height `base`.
        lean: by how much the sides lean inwards, metres of width a side per metre of height.
        base: height above which the sides lean.
    """
    corners = np.array(outline)
    # Counter-clockwise from -y, so the outward normal of an edge (dx, dz) is (dz, -dx).
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.column_stack([edges[:, 1], np.zeros(len(edges)), -edges[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = normals[:, 0] * corners[:, 0] + normals[:, 2] * corners[:, 1]
    if (corners @ normals[:, [0, 2]].T > offsets + 1e-9).any():
        raise ValueError(f"outline {outline} is not convex and counter-clockwise")
    # Sides: +-y + lean * (z - base) <= half, scaled to a unit normal.
    length = np.hypot(1, lean)
    sides = np.array(
        [[0, side / length, lean / length, (half + lean * base) / length] for side in (-1, 1)]
    )
    planes = np.concatenate([np.column_stack([normals, offsets]), sides])
    # The widest place is the lowest.
    width = half + lean * (base - corners[:, 1].min())
    low = np.array([corners[:, 0].min(), -width, corners[:, 1].min()])
    high = np.array([corners[:, 0].max(), width, corners[:, 1].max()])
    return Convex(planes, low, high)


def tube(
    start: tuple[float, float, float], end: tuple[float, float, float], bottom: float, top: float
) -> tuple[Frustum, Pose]:
    """A frustum from `start` to `end` and its pose."""
    # Pitch takes +z down towards the axis, yaw then turns it to the axis's azimuth.
    axis = np.subtract(end, start)
    length = float(np.linalg.norm(axis))
    pitch = float(np.arctan2(np.hypot(axis[0], axis[1]), axis[2]))
    yaw = float(np.arctan2(axis[1], axis[0]))
    return Frustum(bottom, top, length), pose(quaternion(yaw, pitch), start)
