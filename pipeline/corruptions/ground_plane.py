"""The ground of a sweep without labels: a plane, as KITTI-C has it."""

import numpy as np
from numpy.typing import NDArray

TRIALS = 200
NEAR, FAR = 2.0, 40.0
"""Metres from the sensor, in which the plane is looked for."""
LEVEL = 0.95
"""Smallest vertical part of the plane's normal."""
FIT, GROUND = 0.1, 0.3
"""Metres from the plane of points that speak for it, and of those that belong to the ground."""


def ground_plane(points: NDArray[np.floating], generator: np.random.Generator) -> NDArray[np.bool_]:
    """(N,) bool, points (N, 3+) next to the level plane below the sensor that most points lie on;
    of planes through three points drawn at random the best. None where there is no such plane."""
    xyz = points[:, :3].astype(np.float64)
    reach = np.linalg.norm(xyz[:, :2], axis=1)
    below = np.flatnonzero((xyz[:, 2] < 0) & (reach > NEAR) & (reach < FAR))
    if len(below) < 3:
        return np.zeros(len(xyz), np.bool_)
    corners = xyz[below[generator.integers(0, len(below), (TRIALS, 3))]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    level = np.abs(normals[:, 2]) > LEVEL * np.maximum(lengths, 1e-9)
    if not level.any():
        return np.zeros(len(xyz), np.bool_)
    normals, corners = normals[level] / lengths[level, None], corners[level]
    heights = (normals * corners[:, 0]).sum(1)
    votes = (np.abs(xyz[below] @ normals.T - heights) < FIT).sum(0)
    best = int(votes.argmax())
    return np.abs(xyz @ normals[best] - heights[best]) < GROUND
