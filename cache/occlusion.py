"""Which points a camera cannot see because nearer ones stand in front: the LiDAR sits elsewhere and sees past them."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from .frame import Camera

CELL = 4
"""Edge of a depth-buffer cell in pixels."""
WINDOW = (0.5, 1.5)
"""Degrees that are searched to each side and up and down: the spacing of a 32-beam LiDAR's points."""
RELATIVE, ABSOLUTE = 0.2, 0.5
"""A point counts as nearer when it is by this share and by these metres; less would let the road hide itself."""
QUADRANTS = 3
"""Quadrants around a point that must hold a nearer one: an edge of an object fills two, its middle four."""


def hidden(uv: NDArray[np.float64], depth: NDArray[np.float64], camera: Camera) -> NDArray[np.bool_]:
    """Z-buffer test of the points of one camera against each other.

    Points are sparse, so a hidden point rarely shares its pixel with the one in front. The surface in front shows
    instead all around it: a point is hidden when in at least `QUADRANTS` of the four quadrants (upper left, upper
    right, lower left, lower right) a point within `WINDOW` is nearer to the camera. A point beside the outline of a
    nearer object has such neighbours on one side only and stays.

    Args:
        uv: (K, 2) pixels inside the image.
        depth: (K,) metres along the optical axis.

    Returns:
        (K,) bool.
    """
    column, row = (uv / CELL).astype(np.intp).T
    buffer = np.full((camera.height // CELL + 1, camera.width // CELL + 1), np.inf)
    np.minimum.at(buffer, (row, column), depth)
    across, along = (
        max(1, round(np.tan(np.radians(angle)) * camera.intrinsics[axis, axis] / CELL))
        for axis, angle in enumerate(WINDOW)
    )
    limit = np.minimum(depth * (1 - RELATIVE), depth - ABSOLUTE)
    count = np.zeros(len(depth), np.intp)
    for up in (False, True):
        for left in (False, True):
            nearest = _quadrant(buffer, along, across, up, left)
            count += nearest[row, column] < limit
    return count >= QUADRANTS


def _quadrant(buffer: NDArray[np.float64], along: int, across: int, up: bool, left: bool) -> NDArray[np.float64]:
    """Smallest depth within `along` rows and `across` columns of every cell towards one corner, the cell included."""
    for axis, (reach, towards_start) in enumerate(((along, up), (across, left))):
        size = reach + 1
        # SciPy's window starts size // 2 + origin before the cell: all of it, or none, puts the cell at an end.
        origin = (size - 1) // 2 if towards_start else -(size // 2)
        buffer = minimum_filter1d(buffer, size, axis, mode="constant", cval=np.inf, origin=origin)
    return buffer
