"""Rigid poses as 4x4 matrices and quaternions (w, x, y, z), in float64.

`pose` and `rotation_of` could be `Rotation.as_matrix` and `Rotation.from_matrix`, but those round
the last bit otherwise, and the tables of a drive hold every bit: a seed would give other bytes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Pose = NDArray[np.float64]
"""(4, 4) float64; ``world_from_ego`` maps ego coordinates to world coordinates."""


def quaternion(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """(4,) unit quaternion of rotations about z, then the new y, then the new x, in radians."""
    return Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat(scalar_first=True)


def pose(rotation: NDArray[np.float64], translation: tuple[float, float, float]) -> Pose:
    """4x4 matrix of a unit quaternion (4,) and a translation in metres."""
    w, x, y, z = rotation
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def invert(matrix: Pose) -> Pose:
    """Inverse of a rigid 4x4 matrix, or of each of (..., 4, 4)."""
    # x = R y + t, hence y = R^T x - R^T t.
    inverse = np.zeros_like(matrix)
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ matrix[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def transform(matrix: Pose, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map (..., 3) points by a 4x4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def rotation_of(matrix: Pose) -> NDArray[np.float64]:
    """(4,) unit quaternion, w >= 0, of a pose: the leading eigenvector of Bar-Itzhack's matrix."""
    (a, b, c), (d, e, f), (g, h, i) = matrix[:3, :3]
    # The form is 4 q q^T - 1 for the sought q: its eigenvalues are 3, -1, -1, -1, so the leading
    # eigenvector is q or -q. Unlike formulas by cases it is accurate for every rotation.
    form = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    vector = np.linalg.eigh(form)[1][:, -1]
    return vector if vector[0] >= 0 else -vector
