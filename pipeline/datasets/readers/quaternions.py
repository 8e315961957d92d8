"""Poses from quaternions and places, as files hold them."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ....cache.calibration_checks import ORTHONORMAL


def pose_matrices(
    quaternions: NDArray[np.floating], places: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Rigid transforms.

    Args:
        quaternions: (N, 4) w, x, y, z, of length 1 but for rounding.
        places: (N, 3) metres.

    Returns:
        (N, 4, 4) float64.

    Raises:
        ValueError: a number that is not finite, or a quaternion of another length.
    """
    quaternions, places = np.asarray(quaternions, np.float64), np.asarray(places, np.float64)
    if not (np.isfinite(quaternions).all() and np.isfinite(places).all()):
        raise ValueError("its poses hold NaN or infinity")
    lengths = np.linalg.norm(quaternions, axis=1)
    if (wrong := np.abs(lengths - 1) > ORTHONORMAL).any():
        raise ValueError(f"its poses hold a quaternion of length {lengths[wrong][0]:g}, not 1")
    result = np.tile(np.eye(4), (len(quaternions), 1, 1))
    result[:, :3, :3] = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()
    result[:, :3, 3] = places
    return result
