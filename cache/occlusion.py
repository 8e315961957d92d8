"""Which points a camera cannot see because nearer ones stand in front: the LiDAR sits elsewhere and
sees past them."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from .frame import Camera

SPACING = (0.5, 1.5)
"""Degrees across and down, a little more than between the points of a 32-beam LiDAR: the unit of
the two below."""
REACH = 2.0
"""Neighbours of a point lie within so many spacings."""
TRACK = 0.6
"""A neighbour passed over a point if its way led past it within so many spacings."""
RELATIVE, ABSOLUTE = 0.2, 0.5
"""A point counts as nearer when it is by this share and by these metres; less would let a road hide
itself."""


def hidden(
    uv: NDArray[np.float64], depth: NDArray[np.float64], camera: Camera
) -> NDArray[np.bool_]:
    """Test the points of one camera against each other for what the way from the LiDAR to the
    camera changes.

    The LiDAR saw every point, so none was hidden from there. Seen from the camera instead, near
    things are shifted against far ones. A point is hidden when the outline of a nearer thing was
    shifted over it and the thing still covers it: one nearer neighbour passed over the point,
    before it in the LiDAR's view and beyond it in the camera's, and another nearer neighbour
    follows. A thin pole that went by altogether hides nothing.

    On generated drives 78 % of the points found are truly hidden, and 63 % of the truly hidden ones
    are found (`clever benchmark occlusion`); what the LiDAR did not hit at all cannot be found.

    Args:
        uv: (K, 2) pixels inside the image.
        depth: (K,) metres along the optical axis.
        camera: its `camera_from_lidar` tells where the LiDAR is.

    Returns:
        (K,) bool.
    """
    result = np.zeros(len(depth), np.bool_)
    rays = np.column_stack([uv, np.ones(len(uv))]) @ np.linalg.inv(camera.intrinsics).T
    from_lidar = rays * depth[:, None] - camera.camera_from_lidar[:3, 3]
    usable = np.flatnonzero(
        from_lidar[:, 2] > 0
    )  # others lie beside the LiDAR: no plane shows both views
    spacing, depth = np.tan(np.radians(SPACING)), depth[usable]
    before = from_lidar[usable, :2] / from_lidar[usable, 2:] / spacing
    after = rays[usable, :2] / spacing
    far, near = _neighbours(after, depth)
    start, end = before[near] - before[far], after[near] - after[far]
    shift = end - start
    along, aside = (end * shift).sum(1), np.abs(end[:, 0] * shift[:, 1] - end[:, 1] * shift[:, 0])
    passed = (
        ((start * shift).sum(1) <= 0)
        & (along > 0)
        & (aside < TRACK * np.linalg.norm(shift, axis=1))
    )
    result[usable[np.intersect1d(far[passed], far[along <= 0])]] = True
    return result


def _neighbours(
    place: NDArray[np.float64], depth: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of a point and a nearer one within `REACH`, as two arrays of indices."""
    pairs = KDTree(place).query_pairs(REACH, output_type="ndarray")
    low, high = depth[pairs].min(1), depth[pairs].max(1)
    pairs = pairs[low < np.minimum(high * (1 - RELATIVE), high - ABSOLUTE)]
    swap = depth[pairs[:, 0]] < depth[pairs[:, 1]]
    pairs[swap] = pairs[swap, ::-1]
    return pairs[:, 0], pairs[:, 1]
