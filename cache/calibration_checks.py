"""What no camera and no rigid motion can be: calibrations and poses that a frame is refused for."""

import numpy as np
from numpy.typing import NDArray

ORTHONORMAL = 2e-3
"""Largest deviation of R R^T from the identity, and of a quaternion's length from 1: calibrations
rounded to three decimals pass."""
FOCAL_RANGE = 50.0
"""A focal length lies within the longer side of its image divided and multiplied by this: fields of
view from 1.2 to 178 degrees."""

LARGEST_SIDE = 65535
"""Pixels of an image across and down that a store keeps."""
LARGEST_SKEW = 0.1
"""Share of the horizontal focal length that the skew of a matrix may have: pixels of true cameras
are square to a fraction of a per cent, and 0.1 shears the image by 5.7 degrees."""

FARTHEST_CAMERA = 100.0
"""Metres between a camera and the LiDAR, with what the car drove between their timestamps: beyond,
the calibration is in other units."""


def matrix_fault(intrinsics: NDArray[np.float64]) -> str:
    """Why `intrinsics` cannot be those of any camera, whatever its image; empty where they can.

    The skew, right of the horizontal focal length, is honoured wherever points are projected; one
    beyond `LARGEST_SKEW` is a number in a wrong place.
    """
    if intrinsics.shape != (3, 3):
        return f"its intrinsics are {_shape(intrinsics)}, not 3 x 3"
    if not np.isfinite(intrinsics).all():
        return "its intrinsics are not finite"
    (fx, skew, _), (below, fy, _), last = intrinsics.tolist()
    if last != [0, 0, 1]:
        return f"the last row of its intrinsics is {_numbers(last)}, not 0 0 1"
    if below:
        return f"its intrinsics have {below:g} below the diagonal, not 0"
    if min(fx, fy) <= 0:
        return f"its focal lengths are {fx:g} and {fy:g}, not positive"
    if abs(skew) > LARGEST_SKEW * fx:
        return (
            f"its skew is {skew:g} pixels, more than {LARGEST_SKEW:g} of its focal length "
            f"{fx:g}; it stands right of fx and is 0 for most cameras"
        )
    return ""


def intrinsics_fault(intrinsics: NDArray[np.float64], width: int, height: int) -> str:
    """Why `intrinsics` (3, 3), in pixels, cannot be those of a `width` x `height` image; empty
    where they can.

    A principal point outside the middle half of the image belongs to an image of another size.
    """
    if fault := matrix_fault(intrinsics):
        return fault
    fx, fy, (cx, cy) = intrinsics[0, 0], intrinsics[1, 1], intrinsics[:2, 2]
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        return f"its image has {width} x {height} pixels, not 1 to {LARGEST_SIDE} either way"
    side = max(width, height)
    if not side / FOCAL_RANGE < min(fx, fy) <= max(fx, fy) < side * FOCAL_RANGE:
        return (
            f"its focal lengths are {fx:g} and {fy:g} pixels, which its image of "
            f"{width}x{height} pixels cannot have"
        )
    if not (width / 4 <= cx <= 3 * width / 4 and height / 4 <= cy <= 3 * height / 4):
        return (
            f"its principal point ({cx:g}, {cy:g}) lies outside the middle half of its image of "
            f"{width}x{height} pixels, so the calibration is for images of another size"
        )
    return ""


def rigid_fault(transform: NDArray[np.float64]) -> str:
    """Why `transform` (4, 4) cannot be a rotation and a translation; empty where it can."""
    if transform.shape != (4, 4):
        return f"is {_shape(transform)}, not 4 x 4"
    if not np.isfinite(transform).all():
        return "is not finite"
    if np.abs(transform[3] - [0, 0, 0, 1]).max() > 1e-9:
        return f"has the last row {_numbers(transform[3])}, not 0 0 0 1"
    rotation = transform[:3, :3]
    if np.linalg.matrix_rank(rotation) < 3:
        return "is singular"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > ORTHONORMAL:
        return "does not rotate: its axes are not of length 1 and at right angles"
    if np.linalg.det(rotation) < 0:
        return "is a reflection, not a rotation (determinant -1)"
    return ""


def camera_place_fault(camera_from_lidar: NDArray[np.float64]) -> str:
    """Why `camera_from_lidar` (4, 4) cannot be where a camera of the same car is; empty where it
    can."""
    if fault := rigid_fault(camera_from_lidar):
        return f"its transform from the LiDAR {fault}"
    distance = float(np.linalg.norm(camera_from_lidar[:3, 3]))
    if distance > FARTHEST_CAMERA:
        return f"it is {distance:g} m from the LiDAR, more than {FARTHEST_CAMERA:g}"
    return ""


def quaternion_fault(quaternion: NDArray[np.float64]) -> str:
    """Why `quaternion` cannot be a rotation, w, x, y, z; empty where it can."""
    if quaternion.shape != (4,):
        return f"has {quaternion.size} numbers, not 4"
    if not np.isfinite(quaternion).all():
        return "is not finite"
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1) > ORTHONORMAL:
        return f"has the length {length:g}, not 1"
    return ""


def _shape(array: NDArray[np.float64]) -> str:
    return " x ".join(map(str, array.shape)) or "a number"


def _numbers(values: NDArray[np.float64] | list[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
