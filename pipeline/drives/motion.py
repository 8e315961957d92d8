"""Where the ego vehicle and everything else is at a given time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .geometry import Pose, pose, quaternion
from .street import KERB, Street


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
