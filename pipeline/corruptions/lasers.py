"""Which laser of a rotating LiDAR a point comes from."""

import numpy as np
from numpy.typing import NDArray

ELEVATIONS = {
    32: -30.67 + np.arange(32) * 41.34 / 31,
    64: np.concatenate([2.0 - np.arange(32) / 3, -8.83 - np.arange(32) / 2]),
}
"""Nominal elevations in degrees by number of lasers, in the order of the rings: Velodyne's HDL-32E
from below, the HDL-64E from above, as KITTI's files have them."""
SLACK = 2
"""How many turns more or fewer than lasers a file may have."""


def turns(xyz: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) number of the turn around the sensor in which a point stands in its file: a new one
    begins where the azimuth leaps from the last fifth of a turn to the first (Robo3D)."""
    yaw = -np.arctan2(xyz[:, 1], -xyz[:, 0])
    place = 0.5 * (yaw / np.pi + 1)
    leaps = (place[:-1] > 0.8) & (place[1:] < 0.2)
    return np.concatenate([[0], np.cumsum(leaps)])


def lasers(xyz: NDArray[np.floating], count: int) -> tuple[NDArray[np.int64], str]:
    """Laser of every point (N, 3) of a file that does not say it, and how it was told: by turns
    where the file has one a laser, else by the nominal elevation next to the point's.

    Args:
        count: lasers of the sensor, 32 or 64.
    """
    turn = turns(xyz)
    if abs(int(turn[-1]) + 1 - count) <= SLACK:
        return np.minimum(turn, count - 1), "lasers by turns of the file"
    flat = np.linalg.norm(xyz[:, :2], axis=1)
    elevation = np.degrees(np.arctan2(xyz[:, 2], flat))
    nominal = ELEVATIONS[count]
    order = np.argsort(nominal)
    edges = (nominal[order][1:] + nominal[order][:-1]) / 2
    return order[np.searchsorted(edges, elevation)], "lasers by elevation"
