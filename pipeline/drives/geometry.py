"""Rigid poses as 4x4 matrices and quaternions (w, x, y, z), in float64."""

import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]
"""(4, 4) float64; ``world_from_ego`` maps ego coordinates to world coordinates."""


def quaternion(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """(4,) unit quaternion of rotations about z, then the new y, then the new x, in radians."""
    (cz, cy, cx), (sz, sy, sx) = (
        np.cos([yaw / 2, pitch / 2, roll / 2]),
        np.sin([yaw / 2, pitch / 2, roll / 2]),
    )
    about_z, about_y, about_x = (
        np.array([cz, 0, 0, sz]),
        np.array([cy, 0, sy, 0]),
        np.array([cx, sx, 0, 0]),
    )
    return multiply(multiply(about_z, about_y), about_x)


def multiply(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hamilton product: the rotation `right` followed by the rotation `left`."""
    (a, b, c, d), (e, f, g, h) = left.tolist(), right.tolist()
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


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
