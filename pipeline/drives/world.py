"""The world of one scene: street, things, light and the drive through it, all drawn from a seed."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .geometry import Pose, invert, pose, quaternion, transform
from .light import Light
from .raycast import Rays
from .shapes import Solid
from .street import KERB, Street
from .things import Model

SKY = 255
"""Label of rays that meet nothing."""
GROUND_SOLID, SKY_SOLID = -1, -2
"""Solid indices of `Hits` for the ground and for nothing."""


class Motion(Protocol):
    """Pose over time."""

    def at(self, time: float) -> Pose:
        """world_from_thing at `time` seconds after the scene's start."""
        ...


@dataclass(frozen=True, slots=True)
class Still:
    """Something that stays."""

    pose: Pose

    def at(self, time: float) -> Pose:
        """The one pose."""
        return self.pose


@dataclass(frozen=True, slots=True)
class Speed:
    """A speed of `mean` + `swing` * sin(2 pi time / `period`), metres a second."""

    mean: float
    swing: float = 0.0
    period: float = 10.0

    def distance(self, time: float) -> float:
        """Metres travelled since time 0."""
        rate = 2 * np.pi / self.period
        return self.mean * time + self.swing / rate * (1 - float(np.cos(rate * time)))


@dataclass(frozen=True, slots=True)
class Along:
    """Something that follows the street at the distance `d` from the centre line, with (1) or
    against (-1) s."""

    street: Street
    start: float
    d: float
    direction: int
    speed: Speed

    def at(self, time: float) -> Pose:
        """Upright, on the roadway or on the raised ground beside it."""
        rate = 1 - self.d * self.street.curvature
        s = self.start + self.direction * self.speed.distance(time) / rate
        x, y, heading = self.street.to_world(s, self.d)
        z = KERB if abs(self.d) > self.street.half_width else 0.0
        return pose(quaternion(heading + (0.0 if self.direction > 0 else np.pi)), (x, y, z))


@dataclass(frozen=True, slots=True)
class Ego:
    """The recording vehicle, origin on the ground below its rear axle, x forward; it sways, pitches
    and rolls."""

    street: Street
    lane: float
    speed: Speed

    def at(self, time: float) -> Pose:
        """world_from_ego."""
        s = self.speed.distance(time)
        x, y, heading = self.street.to_world(s, self.lane + 0.15 * np.sin(s / 9))
        steer = 0.15 / 9 * np.cos(s / 9)
        pitch, roll = 0.004 * np.sin(1.7 * time), 0.005 * np.sin(1.1 * time + 1)
        return pose(quaternion(heading + steer, pitch, roll), (x, y, 0.0))


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of the world.

    Attributes:
        model: its solids and category.
        motion: where it is when.
        instance: positive number within the scene for boxed things, else 0.
        state: ``moving``, ``parked``, ``standing``, ...: decides the annotation's attribute.
    """

    model: Model
    motion: Motion
    instance: int = 0
    state: str = ""

    def box(self, margin: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, (3,) each in the thing's frame, of the box about all solids and
        `margin` metres more."""
        corners = self.model.corners.reshape(-1, 3)
        return corners.min(axis=0) - margin, corners.max(axis=0) + margin


@dataclass(frozen=True, slots=True)
class Placement:
    """All solids at one instant.

    Attributes:
        solids: P solids.
        owner: (P,) index into the world's things.
        poses: (P, 4, 4) world_from_solid.
        corners: (P, 8, 3) bounding box corners in the world frame.
    """

    solids: tuple[Solid, ...]
    owner: NDArray[np.int64]
    poses: NDArray[np.float64]
    corners: NDArray[np.float64]

    def only(self, numbers: NDArray[np.int64]) -> "Placement":
        """The solids of these `numbers`, (n,)."""
        solids = tuple(self.solids[number] for number in numbers)
        return Placement(solids, self.owner[numbers], self.poses[numbers], self.corners[numbers])


@dataclass(frozen=True, slots=True)
class Hits:
    """What a grid of rays meets first.

    Attributes:
        inverse: 1 / ray parameter, 0 where nothing is hit.
        solid: int16 index into `Placement.solids`, `GROUND_SOLID` or `SKY_SOLID`.
    """

    inverse: NDArray[np.floating]
    solid: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class World:
    """One scene.

    Attributes:
        street: the ground.
        things: everything that stands on it.
        ego: the recording vehicle.
        light: sun, sky and weather.
        global_from_world: (4, 4) pose of the world frame in the data set's global frame.
    """

    street: Street
    things: tuple[Thing, ...]
    ego: Ego
    light: Light
    global_from_world: Pose

    def at(self, time: float, indices: NDArray[np.int64] | None = None) -> Placement:
        """The solids of all things, or of those of `indices` (n,), `time` seconds after the scene's
        start."""
        indices = np.arange(len(self.things)) if indices is None else indices
        models = [self.things[index].model for index in indices]
        thing_poses = [self.things[index].motion.at(time) for index in indices]
        owner = np.repeat(indices, [len(model.solids) for model in models])
        if len(owner) == 0:
            return Placement((), owner, np.zeros((0, 4, 4)), np.zeros((0, 8, 3)))
        poses = np.concatenate(
            [pose @ model.poses for pose, model in zip(thing_poses, models, strict=True)]
        )
        corners = np.concatenate(
            [
                transform(pose, model.corners)
                for pose, model in zip(thing_poses, models, strict=True)
            ]
        )
        return Placement(
            tuple(solid for model in models for solid in model.solids), owner, poses, corners
        )

    def things_by_instance(self) -> dict[int, Thing]:
        """Things that carry a box, by instance number."""
        return {thing.instance: thing for thing in self.things if thing.instance}

    def movers(self) -> NDArray[np.int64]:
        """(n,) indices of the things that move."""
        return np.flatnonzero([thing.state == "moving" for thing in self.things])

    def labels(
        self, hits: Hits, placement: Placement, rays: Rays
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Raw category and instance of every ray's hit, of the rays' shape; `SKY` and 0 where
        nothing is hit."""
        categories = np.array(
            [self.things[owner].model.category for owner in placement.owner] + [SKY, 0], np.uint8
        )
        instances = np.array(
            [self.things[owner].instance for owner in placement.owner] + [0, 0], np.int32
        )
        label, instance = categories[hits.solid], instances[hits.solid]
        ground = hits.solid == GROUND_SOLID
        x, y, z = hit_points(rays, hits, ground)
        label[ground] = self.street.category(self.street.outside(*self.street.to_street(x, y)), z)
        return label, instance


def hit_points(rays: Rays, hits: Hits, mask: NDArray[np.bool_]) -> tuple[NDArray[np.floating], ...]:
    """World x, y and z of the hits in `mask`, each (n,), in the rays' precision."""
    s = hits.inverse[mask]
    return tuple(float(row[3]) + rays.linear(row[:3])[mask] / s for row in rays.pose[:3])


def cast(rays: Rays, placement: Placement, street: Street | None) -> Hits:
    """Nearest hit of every ray among the solids and, unless it is None, the ground."""
    shape = rays.shape
    inverse = np.zeros(shape, rays.x.dtype)
    index = np.full(shape, SKY_SOLID, np.int16)
    windows, nearest = rays.windows(placement.corners)
    # Nearest solids first: those behind what covers their whole window are skipped.
    visible = np.flatnonzero((windows[:, 0] < windows[:, 1]) & (windows[:, 2] < windows[:, 3]))
    order = visible[np.argsort(nearest[visible], kind="stable")]
    from_sensor = invert(placement.poses[order]) @ rays.pose
    for number, local in zip(order.tolist(), from_sensor, strict=True):
        top, bottom, left, right = windows[number].tolist()
        window = (slice(top, bottom), slice(left, right))
        nearest_hits = inverse[window]
        if nearest_hits.min() >= 1 / nearest[number]:
            continue
        solid_hits = placement.solids[number].shape.intersect(
            local[:3, 3], local[:3, :3], rays.crop(*window)
        )
        closer = solid_hits > nearest_hits
        np.copyto(nearest_hits, solid_hits, where=closer)
        np.copyto(index[window], np.int16(number), where=closer)
    if street is not None:
        ground_hits = street.intersect(rays, inverse)
        closer = ground_hits > inverse
        np.copyto(inverse, ground_hits, where=closer)
        np.copyto(index, np.int16(GROUND_SOLID), where=closer)
    return Hits(inverse, index)
