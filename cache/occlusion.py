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


def hidden_points(
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
        uv: (K, 2) pixels as an ideal pinhole camera, without its lens, sees them.
        depth: (K,) metres along the optical axis.
        camera: its `camera_from_lidar` tells where the LiDAR is.

    Returns:
        (K,) bool, true where the camera does not see the point.
    """
    result = np.zeros(len(depth), np.bool_)
    # Directions (x / z, y / z, 1) from the camera; the LiDAR sees the same points from its place.
    rays = np.column_stack([uv, np.ones(len(uv))]) @ np.linalg.inv(camera.intrinsics).T
    from_lidar = rays * depth[:, None] - camera.camera_from_lidar[:3, 3]
    # Points beside or behind the LiDAR have no place in an image plane in front of it.
    index = np.flatnonzero(from_lidar[:, 2] > 0)
    # Both views as places in one plane, in spacings of the beams: parallel axes, other origins.
    spacing, depth = np.tan(np.radians(SPACING)), depth[index]
    lidar_view = from_lidar[index, :2] / from_lidar[index, 2:] / spacing
    camera_view = rays[index, :2] / spacing
    far, near = _neighbours(camera_view, depth)
    # Where the nearer point lies as seen from the farther one, in either view, and how it moved.
    start, end = lidar_view[near] - lidar_view[far], camera_view[near] - camera_view[far]
    shift = end - start
    # Its way is a line past the farther point: the end's part along it, times its length, and the
    # line's distance from the point, times the same length.
    along, aside = (end * shift).sum(1), np.abs(end[:, 0] * shift[:, 1] - end[:, 1] * shift[:, 0])
    # It passed over the point: before it at the start, beyond it at the end, and close to it.
    passes = (
        ((start * shift).sum(1) <= 0)
        & (along > 0)
        & (aside < TRACK * np.linalg.norm(shift, axis=1))
    )
    # Hidden where another neighbour still follows, not yet beyond the point: the thing covers it.
    result[index[np.intersect1d(far[passes], far[along <= 0])]] = True
    return result


def _neighbours(
    place: NDArray[np.float64], depth: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of a point and a nearer one within `REACH`, as two arrays of indices.

    Args:
        place: (n, 2) in spacings.
        depth: (n,) metres.
    """
    pairs = KDTree(place).query_pairs(REACH, output_type="ndarray")
    # Only pairs of clearly different depth, by share and by metres.
    low, high = depth[pairs].min(1), depth[pairs].max(1)
    pairs = pairs[low < np.minimum(high * (1 - RELATIVE), high - ABSOLUTE)]
    # The farther point first.
    swap = depth[pairs[:, 0]] < depth[pairs[:, 1]]
    pairs[swap] = pairs[swap, ::-1]
    return pairs[:, 0], pairs[:, 1]
