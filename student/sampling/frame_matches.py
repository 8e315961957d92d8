"""Which points of two sweeps lie at one place: non-ground points that overlap in the global frame
(appendix A8 of the paper).

The paper names neither how it finds the ground, nor what overlaps, nor the loss. This reading: a
plane by RANSAC with the threshold and the number of trials of public neighbours (SegContrast),
points one to one nearest within a radius; moving things and hidden surfaces drop out by themselves.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

GROUND_DISTANCE = 0.25
"""Metres from the plane within which a point is ground."""
TRIALS = 200
"""Planes that are tried."""
LOW_BAND = 2.0
"""Metres above the lowest points between which planes are sought."""
LOWEST = 0.01
"""Share of the points that count as lowest."""
STEEPEST = 0.3
"""Largest slope of the ground, as the tangent of its angle."""


def ground_mask(points: NDArray[np.floating], seed: int) -> NDArray[np.bool_]:
    """(N,) bool: the points of the plane that holds most of the low ones.

    Args:
        points: (N, 3) metres in the LiDAR frame, z up.
        seed: of the trials.
    """
    mask = np.zeros(len(points), bool)
    if len(points) < 3:
        return mask
    lowest = np.quantile(points[:, 2], LOWEST)
    low = points[points[:, 2] < lowest + LOW_BAND].astype(np.float64)
    if len(low) < 3:
        return mask
    trios = low[np.random.default_rng(seed).integers(0, len(low), (TRIALS, 3))]
    normal = np.cross(trios[:, 1] - trios[:, 0], trios[:, 2] - trios[:, 0])
    length = np.linalg.norm(normal, axis=1)
    level = np.abs(normal[:, 2]) > length / np.hypot(1, STEEPEST)
    normal, origin = normal[level] / length[level, None], trios[level, 0]
    if not len(normal):
        return mask
    offset = (normal * origin).sum(1)
    support = (np.abs(low @ normal.T - offset) < GROUND_DISTANCE).sum(0)
    best = int(np.argmax(support))
    return np.abs(points @ normal[best] - offset[best]) < GROUND_DISTANCE


def match_points(
    points: NDArray[np.floating],
    others: NDArray[np.floating],
    others_to_points: NDArray[np.float64],
    radius: float,
    seed: int,
) -> NDArray[np.int64]:
    """Pairs of non-ground points that are each other's nearest within a radius, (R, 2) int64,
    ascending in the first.

    Args:
        points, others: (N, 3) and (M, 3) metres, each in its own LiDAR frame.
        others_to_points: (4, 4) float64, maps the second frame to the first.
        radius: metres.
        seed: of the ground's trials.
    """
    near, far = (
        np.flatnonzero(~ground_mask(cloud, seed + number))
        for number, cloud in enumerate((points, others))
    )
    if not len(near) or not len(far):
        return np.empty((0, 2), np.int64)
    here = points[near].astype(np.float64)
    there = others[far].astype(np.float64) @ others_to_points[:3, :3].T + others_to_points[:3, 3]
    way, forth = map(np.asarray, KDTree(there).query(here, distance_upper_bound=radius))
    close = np.flatnonzero(np.isfinite(way))
    _, back = KDTree(here).query(there[forth[close]])
    mutual = close[back == close]
    return np.stack([near[mutual], far[forth[mutual]]], 1)
