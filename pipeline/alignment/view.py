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

    def strength(self, camera_from_lidar: NDArray[np.float64]) -> NDArray[np.float64]:
        """(E,) edge strength of the image where the depth edges fall under another transform."""
        camera = replace(self.camera, camera_from_lidar=camera_from_lidar)
        uv, depth = project(self.edges.place, camera)
        uv[depth <= 0] = np.nan
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
    edges = depth_edges(frame.points[:, :3])
    pairs = []
    for m, (camera, pixels) in enumerate(zip(frame.cameras, images, strict=True)):
        image = image_edges(pixels)
        inverse = replace(camera, camera_from_lidar=np.linalg.inv(camera.camera_from_lidar))
        seed = number * len(frame.cameras) + m
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
