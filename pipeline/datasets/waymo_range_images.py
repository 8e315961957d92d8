"""Range images of the Waymo Open Dataset: which pixels are points, and where those lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, slots=True)
class Laser:
    """Calibration of one LiDAR.

    Attributes:
        vehicle_from_laser: (4, 4) float64, rigid.
        inclinations: (H,) float64 radians above the LiDAR's horizon, of rows from the lowest to the
            highest; None where the beams are spread evenly.
        lowest, highest: radians, the edges of the evenly spread beams.
    """

    vehicle_from_laser: NDArray[np.float64]
    inclinations: NDArray[np.float64] | None
    lowest: float
    highest: float

    def row_inclinations(self, height: int) -> NDArray[np.float64]:
        """(height,) radians, row 0 the highest.

        Raises:
            ValueError: the calibration is of another number of rows.
        """
        if self.inclinations is None:
            share = (np.arange(height) + 0.5) / height
            return (self.lowest + share * (self.highest - self.lowest))[::-1]
        if len(self.inclinations) != height:
            raise ValueError(
                f"its calibration has {len(self.inclinations)} beam inclinations, its range image "
                f"{height} rows"
            )
        return self.inclinations[::-1]


def returns(ranges: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels of a range image (H, W) that have a return, a range above 0
    m, row by row."""
    row, column = np.nonzero(ranges > 0)
    return row, column


def points_of(
    ranges: NDArray[np.float32],
    laser: Laser,
    pixel_poses: NDArray[np.float32] | None,
    world_from_vehicle: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Points of a range image in the vehicle frame at the frame's time, in the order of `returns`.

    Args:
        ranges: (H, W) metres, not above 0 where nothing came back.
        laser: the LiDAR.
        pixel_poses: (H, W, 6) roll, pitch, yaw in radians and x, y, z in metres: where the vehicle
            was in the world when it measured each pixel; None where the pixels are of one time.
        world_from_vehicle: (4, 4) float64 pose of the vehicle at the frame's time.

    Returns:
        (K, 3) float64 metres.

    Raises:
        ValueError: an array of another shape than the range image.
    """
    height, width = ranges.shape
    row, column = returns(ranges)
    inclination = laser.row_inclinations(height)[row]
    # Column 0 looks backwards, the middle one along the axis x of the vehicle: the azimuth is
    # counted from there, so the LiDAR's own turn around z is taken off.
    rotation, place = laser.vehicle_from_laser[:3, :3], laser.vehicle_from_laser[:3, 3]
    turn = np.arctan2(rotation[1, 0], rotation[0, 0])
    azimuth = (2 * (width - column - 0.5) / width - 1) * np.pi - turn
    # Spherical to Cartesian, in the LiDAR's frame.
    flat = np.cos(inclination)
    direction = np.column_stack(
        [np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(inclination)]
    )
    points = ranges[row, column].astype(np.float64)[:, None] * direction
    # To the vehicle as it stood when the pixel was measured.
    points = points @ rotation.T + place
    if pixel_poses is None:
        return points
    if pixel_poses.shape != (height, width, 6):
        raise ValueError(
            f"its poses are of shape {pixel_poses.shape}, its range image has {height} x {width} "
            "pixels"
        )
    poses = pixel_poses[row, column].astype(np.float64)
    # To the world, by R = Rz(yaw) Ry(pitch) Rx(roll), then to the vehicle at the frame's time.
    world = Rotation.from_euler("ZYX", poses[:, [2, 1, 0]]).apply(points) + poses[:, 3:]
    return (world - world_from_vehicle[:3, 3]) @ world_from_vehicle[:3, :3]
