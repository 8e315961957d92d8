"""What a corruption takes and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.base import IGNORE

FULL = 255.0
"""Full intensity in the units of the published equations; ours is 1."""
GROUND = frozenset(
    {
        *("driveable_surface", "other_flat", "sidewalk"),
        *("road", "parking", "other-ground"),
    }
)
"""Classes that get wet: 11 to 13 of nuScenes, 9 to 12 of SemanticKITTI, counted from 1."""
VEHICLES = frozenset(
    {
        *("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "trailer", "truck"),
        "other-vehicle",
    }
)
"""Classes that lose their echo: 2 to 6, 9 and 10 of nuScenes, 1 to 5 of SemanticKITTI."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A clean sweep.

    Attributes:
        points: (N, 4) float32 x, y, z in metres in the LiDAR frame, intensity in [0, 1].
        ring: (N,) integers, the laser of every point.
        ground: (N,) bool, points on the ground.
        vehicle: (N,) int16, a number for every class of vehicles, -1 for all other points.
    """

    points: NDArray[np.float32]
    ring: NDArray[np.integer]
    ground: NDArray[np.bool_]
    vehicle: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def distance(self) -> NDArray[np.float64]:
        """(N,) metres from the sensor."""
        return np.linalg.norm(self.points[:, :3].astype(np.float64), axis=1)


@dataclass(frozen=True, slots=True)
class Corrupted:
    """What became of a sweep. No corruption adds a pulse: a point that is put in is the echo of a
    flake, of fog or of another sensor instead of the surface.

    Attributes:
        points: (M, 4) float32 as in `Sweep.points`, but intensity may lie outside [0, 1], as it
            does in the published sets.
        pulse: (M,) int64, the point of the sweep whose pulse it is.
        inserted: (M,) bool, points that show no surface any more; the metric ignores them.
    """

    points: NDArray[np.float32]
    pulse: NDArray[np.int64]
    inserted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def source(self) -> NDArray[np.int64]:
        """(M,) int64, the point of the sweep that a point shows, -1 for an inserted one."""
        return np.where(self.inserted, -1, self.pulse)

    def labels(self, clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(M,) uint8 training labels from those of the sweep, (N,); inserted points have none."""
        return np.where(self.inserted, np.uint8(IGNORE), clean[self.pulse])

    def part(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Corrupted":
        """Some of the points, in the order of `rows`."""
        return Corrupted(self.points[rows], self.pulse[rows], self.inserted[rows])


def unchanged(sweep: Sweep) -> Corrupted:
    """The sweep as it is; its points are a copy."""
    return Corrupted(
        sweep.points.copy(), np.arange(len(sweep), dtype=np.int64), np.zeros(len(sweep), np.bool_)
    )


def vehicle_classes(
    labels: NDArray[np.uint8] | None, class_names: Sequence[str], count: int
) -> NDArray[np.int16]:
    """(N,) int16 for `Sweep.vehicle` from training labels; all -1 where there are no labels."""
    numbers = np.full(IGNORE + 1, -1, np.int16)
    for label, name in enumerate(class_names):
        if name in VEHICLES:
            numbers[label] = label
    return numbers[labels] if labels is not None else np.full(count, -1, np.int16)
