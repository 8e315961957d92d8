"""Depth edges of a sweep: where the range jumps between points that lie side by side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

NEAREST = 2.0
"""Metres: nearer points are mostly the car itself."""
SHARE, METRES = 0.1, 0.5
"""A jump is at least this share of the range and these metres: a road seen at a low angle has
none."""
ACROSS, DOWN = (0.8, 0.25), (0.25, 1.5)
"""Degrees of azimuth and elevation within which the neighbours beside and above or below a point
lie: on its own scan line, and on the next one of a 32-beam LiDAR."""
SHARPEST = 0.2
"""Degrees: an edge between points that are closer than this is not known better."""
CANDIDATES = 9
"""Nearest points among which the neighbours are looked for."""


@dataclass(frozen=True, slots=True)
class DepthEdges:
    """Outlines of near things before farther ones, as the LiDAR sees them.

    Attributes:
        place: (E, 3) float64, metres in the LiDAR frame: at the near point's range, midway between
            the directions of the near point and of its far neighbour, because the outline lies
            somewhere between the two.
        beyond: (E, 3) float64, metres: the same, a little farther towards the neighbour; the way
            from one to the other leads across the edge.
        weight: (E,) float64: 1 over the degrees between the two points, at most 1 over `SHARPEST`:
            between scan lines far apart the outline may be anywhere.
    """

    place: NDArray[np.float64]
    beyond: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> "DepthEdges":
        return DepthEdges(self.place[index], self.beyond[index], self.weight[index])


def depth_edges(xyz: NDArray[np.floating]) -> DepthEdges:
    """Depth edges of points (N, 3), metres, in a frame whose origin is the LiDAR and whose z axis
    it turns about.

    Neighbours are found by direction, so points may come in any order and need no ring numbers. In
    a cloud of several LiDARs, or one around another origin, some of the edges are none; they weaken
    a score and favour no calibration.
    """
    xyz = np.asarray(xyz, np.float64)
    distance = np.linalg.norm(xyz, axis=1)
    index = np.flatnonzero(distance > NEAREST)
    xyz, distance = xyz[index], distance[index]
    direction = xyz / distance[:, None]
    angles = np.degrees(
        np.column_stack(
            [np.arctan2(direction[:, 1], direction[:, 0]), np.arcsin(direction[:, 2].clip(-1, 1))]
        )
    )
    pairs = [_jumps(angles, distance, axis, reach) for axis, reach in enumerate((ACROSS, DOWN))]
    near, far = (np.concatenate(part) for part in zip(*pairs, strict=True))
    place = _between(direction[near], direction[far], 0.5) * distance[near, None]
    beyond = _between(direction[near], direction[far], 0.6) * distance[near, None]
    chord = np.linalg.norm(direction[near] - direction[far], axis=1)
    gap = np.degrees(2 * np.arcsin(chord / 2))
    return DepthEdges(place, beyond, 1 / np.maximum(gap, SHARPEST))


def _between(
    start: NDArray[np.float64], end: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """(n, 3) unit directions that share of the way from `start` to `end`."""
    middle = (1 - share) * start + share * end
    return middle / np.linalg.norm(middle, axis=1, keepdims=True)


def _jumps(
    angles: NDArray[np.float64],
    distance: NDArray[np.float64],
    axis: int,
    reach: tuple[float, float],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Near points and their far neighbours, as two arrays of indices.

    Args:
        angles: (N, 2) azimuth and elevation, degrees.
        distance: (N,) metres.
        axis: along which the neighbours lie: 0 beside, 1 above and below.
        reach: degrees of azimuth and elevation within which they lie.
    """
    if not len(distance):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    scaled = angles / reach
    _, neighbours = KDTree(scaled).query(scaled, k=CANDIDATES, distance_upper_bound=1.0)
    inside = neighbours < len(distance)
    neighbours = np.where(inside, neighbours, 0)
    offset = angles[neighbours, axis] - angles[:, None, axis]
    near, far = [], []
    for side in (-1, 1):
        # Of the points on this side the one next to it; the point itself is on neither.
        gap = np.where(inside & (side * offset > 0), np.abs(offset), np.inf)
        nearest = gap.argmin(1)
        rows = np.arange(len(distance))
        next_to = neighbours[rows, nearest]
        jump = distance[next_to] - distance
        edge = np.isfinite(gap[rows, nearest]) & (jump > np.maximum(METRES, SHARE * distance))
        near.append(rows[edge])
        far.append(next_to[edge])
    return np.concatenate(near), np.concatenate(far)
