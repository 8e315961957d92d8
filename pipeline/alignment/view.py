"""One camera image with the depth edges in its view."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...cache.projection import in_view, project
from .depth_edges import DepthEdges, depth_edges
from .image_edges import ImageEdges, image_edges

EDGES = 1000
"""Most depth edges of one image; more are thinned by a seed."""
STRIPS = 8
"""Edges of the same upright strip of an image hang together: they are one block."""


@dataclass(frozen=True, slots=True)
class View:
    """What one image of one frame tells of a calibration.

    Attributes:
        camera: its calibration is the one that is judged.
        edges: depth edges in its view.
        direction: (E, 2) unit vectors in the image, across each edge.
        image: edges of the image.
        block: (E,) int64, equal for edges that hang together; no other view has the same.
    """

    camera: Camera
    edges: DepthEdges
    direction: NDArray[np.float64]
    image: ImageEdges
    block: NDArray[np.int64]

    def strengths(self, transforms: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, E) edge strength of the image where the depth edges fall under other transforms
        `camera_from_lidar` (R, 4, 4)."""
        uv, depth = _pixels(self.edges.place, self.camera, transforms)
        np.copyto(uv[..., 0], np.nan, where=depth <= 0)
        return self.image.at(uv, self.direction)


@dataclass(frozen=True, slots=True)
class ViewPair:
    """The views of one image under its calibration and under the inverse of its extrinsics; either
    may hold no edge."""

    usual: View
    inverse: View


def views_of(frame: Frame, images: Sequence[NDArray[np.uint8]], number: int) -> list[ViewPair]:
    """Views of all cameras of a frame.

    Args:
        images: (H, W, 3) of every camera.
        number: of the frame among those that are judged together.
    """
    fields = [image_edges(pixels) for pixels in images]
    return view_pairs(frame.cameras, depth_edges(frame.points[:, :3]), fields, number)


def view_pairs(
    cameras: Sequence[Camera], edges: DepthEdges, images: Sequence[ImageEdges], number: int
) -> list[ViewPair]:
    """The same of edges: depth edges of the frame's sweep, and those of every camera's image."""
    pairs = []
    for m, (camera, image) in enumerate(zip(cameras, images, strict=True)):
        inverse = replace(camera, camera_from_lidar=np.linalg.inv(camera.camera_from_lidar))
        seed = number * len(cameras) + m
        pairs.append(ViewPair(*(make_view(side, edges, image, seed) for side in (camera, inverse))))
    return pairs


def make_view(camera: Camera, edges: DepthEdges, image: ImageEdges, number: int) -> View:
    """The view of one camera, with at most `EDGES` depth edges.

    Args:
        edges: of the whole sweep.
        number: of the view: tells its blocks from those of others, and seeds the thinning.
    """
    uv, depth = project(edges.place, camera)
    index = np.flatnonzero(in_view(uv, depth, camera, 1.0, 1.0))
    if len(index) > EDGES:
        index = np.sort(np.random.default_rng(number).choice(index, EDGES, replace=False))
    uv, edges = uv[index], edges[index]
    across = project(edges.beyond, camera)[0] - uv
    length = np.linalg.norm(across, axis=1, keepdims=True)
    direction = across / np.maximum(length, 1e-12)
    strip = (uv[:, 0] / camera.width * STRIPS).astype(np.int64)
    return View(camera, edges, direction, image, number * STRIPS + strip)


def _pixels(
    points_xyz: NDArray[np.float64], camera: Camera, transforms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`project` under many transforms at once.

    Args:
        points_xyz: (E, 3), metres, in the LiDAR frame.
        transforms: (R, 4, 4) in place of the camera's own `camera_from_lidar`.

    Returns:
        (R, E, 2) pixels and (R, E) depth.
    """
    if camera.lens:
        in_camera = (
            points_xyz @ transforms[:, :3, :3].transpose(0, 2, 1) + transforms[:, None, :3, 3]
        )
        itself = replace(camera, camera_from_lidar=np.eye(4))
        uv, depth = project(in_camera.reshape(-1, 3), itself)
        return uv.reshape(*in_camera.shape[:2], 2), depth.reshape(in_camera.shape[:2])
    pixels_from_lidar = camera.intrinsics @ transforms[:, :3]
    # One product of (3R, 3) and (3, E): all u z, all v z and all z of a transform lie in a row.
    image = pixels_from_lidar.reshape(-1, 4)[:, :3] @ points_xyz.T
    image = image.reshape(len(transforms), 3, -1)
    image += pixels_from_lidar[:, :, 3:]
    uv, depth = image[:, :2], image[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv /= depth[:, None]
    return np.moveaxis(uv, 1, -1), depth
