"""Which clouds a student cannot train on, known from their bounds before the first step."""

import numpy as np
from numpy.typing import NDArray

from ..voxelize import MAX_EXTENT

LARGEST_SCALE = 1.1
"""An augmentation scales and turns a cloud: it must have room for that."""


def extent_fault(bounds: NDArray[np.floating], voxel_size: float, halvings: int | None) -> str:
    """Why a student cannot train on a cloud; empty where it can.

    Args:
        bounds: (2, 3) lowest and highest x, y, z in metres around the sensor.
        voxel_size: metres.
        halvings: of the resolution, down to the student's coarsest level; None for a frozen
            student, which needs no batch statistics.
    """
    lowest, highest = np.asarray(bounds, np.float64)
    x, y, z = np.maximum(np.abs(lowest), np.abs(highest))
    # However it is turned about z, mixed with another cloud and scaled, it lies within this cube.
    reach = float(max(np.hypot(x, y), z))
    if 2 * LARGEST_SCALE * reach >= MAX_EXTENT * voxel_size:
        return (
            f"its points lie up to {reach:.0f} m from the sensor, too far for {MAX_EXTENT} voxels "
            f"of {voxel_size:g} m; use larger voxels or remove the far points"
        )
    if halvings is None:
        return ""
    voxels = int((np.floor(highest / voxel_size) - np.floor(lowest / voxel_size)).max()) + 1
    if voxels <= 2**halvings:
        return (
            f"it is {voxels} voxels wide, a single voxel of the student's coarsest level "
            f"({voxel_size * 2**halvings:g} m); use smaller voxels"
        )
    return ""
