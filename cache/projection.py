"""LiDAR points into cameras: which point is seen at which pixel (paper section 3.1)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .choices import Occlusion
from .frame import Camera, Frame
from .occlusion import hidden_points


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Point-pixel pairs of one frame, grouped by camera (CSR).

    Attributes:
        point: (K,) uint32, index into `Frame.points`, ascending inside a camera; a point that two
            cameras see comes twice.
        uv: (K, 2) float64, continuous pixels; pixel centres lie at integer coordinates.
        offsets: (M + 1,) int64; the pairs of camera m of `Frame.cameras` are ``offsets[m]:offsets[m
            + 1]``.
    """

    point: NDArray[np.uint32]
    uv: NDArray[np.float64]
    offsets: NDArray[np.int64]


def project(
    points_xyz: NDArray[np.floating], camera: Camera
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points into one camera: [u v 1] = (1 / depth) K T_camera<-lidar [x y z 1], by way of
    its lens where it has one.

    Without a lens the two matrices are composed first and applied once, in float64: a path through
    global coordinates in float32 errs by up to 0.16 px.

    Args:
        points_xyz: (N, 3), metres, in the LiDAR frame.

    Returns:
        (N, 2) float64 pixels, meaningless where the depth is not positive and NaN beyond the reach
        of the lens, and (N,) float64 depth along the optical axis in metres.
    """
    if camera.lens:
        pose = camera.camera_from_lidar
        in_camera = points_xyz.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        distorted = camera.lens.distort(in_camera)
        return distorted @ camera.intrinsics[:2, :2].T + camera.intrinsics[:2, 2], in_camera[:, 2]
    pixels_from_lidar = camera.intrinsics @ camera.camera_from_lidar[:3]
    image = points_xyz.astype(np.float64) @ pixels_from_lidar[:, :3].T + pixels_from_lidar[:, 3]
    depth = image[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[:, :2] / depth[:, None], depth


def in_view(
    uv: NDArray[np.float64],
    depth: NDArray[np.float64],
    camera: Camera,
    min_depth: float,
    margin: float,
) -> NDArray[np.bool_]:
    """(N,) bool: depth > min_depth metres, margin < u < width - margin and margin < v < height -
    margin, strictly."""
    u, v = uv.T
    inside = (
        (u > margin) & (u < camera.width - margin) & (v > margin) & (v < camera.height - margin)
    )
    return inside & (depth > min_depth)


def visible_pairs(
    frame: Frame, min_depth: float = 1.0, margin: float = 1.0, occlusion: Occlusion = "none"
) -> Correspondences:
    """The point-pixel pairs of all cameras of `frame`; see `in_view` for the rule.

    Args:
        min_depth: metres along the optical axis.
        margin: pixels.
        occlusion: ``parallax`` leaves out what `occlusion.hidden_points` finds behind others.
    """
    indices: list[NDArray[np.intp]] = []
    pixels: list[NDArray[np.float64]] = []
    for camera in frame.cameras:
        index, uv = _pairs_of(frame.points[:, :3], camera, min_depth, margin)
        if occlusion == "parallax":
            # The test compares directions, so it wants the pixels of an ideal pinhole camera.
            ideal = replace(camera, lens=None, projected=None)
            visible = ~hidden_points(*project(frame.points[index, :3], ideal), ideal)
            index, uv = index[visible], uv[visible]
        indices.append(index)
        pixels.append(uv)
    return Correspondences(
        point=np.concatenate([np.empty(0, np.intp), *indices]).astype(np.uint32),
        uv=np.concatenate([np.empty((0, 2)), *pixels]),
        offsets=np.cumsum([0, *map(len, indices)], dtype=np.int64),
    )


def _pairs_of(
    points_xyz: NDArray[np.floating], camera: Camera, min_depth: float, margin: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(K,) ascending indices of the points in view and their (K, 2) pixels, by the dataset's own
    projection where there is one."""
    if camera.projected:
        point, uv = camera.projected.point, camera.projected.uv
        _, depth = project(points_xyz[point], camera)
    else:
        uv, depth = project(points_xyz, camera)
        point = np.arange(len(points_xyz))
    inside = in_view(uv, depth, camera, min_depth, margin)
    return point[inside], uv[inside]
