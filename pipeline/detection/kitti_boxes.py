"""Boxes of KITTI's files in the LiDAR frame, and back, through the calibration."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.readers.kitti_layout import KittiCalibration
from ..datasets.readers.kitti_objects import KittiObjects, lidar_rows
from .boxes import Boxes, wrapped

_NEAR = 0.01
"""Depth in metres at which a box is cut before it is drawn into the image."""
_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
)  # fmt: skip
"""Edges of a box by the numbers of its corners."""


def camera_boxes(objects: KittiObjects) -> Boxes:
    """Objects as boxes in the frame that KITTI measures overlaps in, z up: (x, z, -y) of
    rectified camera 0, float64. No calibration is needed."""
    x, y, z = torch.tensor(objects.bottoms, dtype=torch.float64).unbind(1)
    sizes = torch.tensor(objects.sizes, dtype=torch.float64)
    # About y, downwards, a rotation turns x towards -z: the other way round as seen from above.
    yaws = -torch.tensor(objects.rotations, dtype=torch.float64)
    rows = torch.stack([x, z, sizes[:, 2] / 2 - y, *sizes.unbind(1), yaws], 1)
    return Boxes(rows)


def lidar_boxes(objects: KittiObjects, camera0_from_lidar: NDArray[np.float64]) -> Boxes:
    """Objects as boxes in the LiDAR frame, float64: see `lidar_rows`, of which `kitti_objects` is
    the exact inverse.

    Args:
        camera0_from_lidar: (4, 4), rectified camera 0 <- LiDAR.
    """
    return Boxes(torch.from_numpy(lidar_rows(objects, camera0_from_lidar)))


def kitti_objects(
    boxes: Boxes,
    names: Sequence[str],
    scores: Tensor,
    calibration: KittiCalibration,
    image_size: tuple[int, int],
) -> KittiObjects:
    """Detections (N,) in the LiDAR frame as KITTI's results.

    The rectangle in the image is that around what of the box is before camera 2, cut at the
    image's edges; it has no area where nothing of the box is in the image.

    Args:
        names: of the classes of the boxes.
        scores: (N,).
        image_size: width and height, pixels.
    """
    rows = boxes.rows.detach().double().cpu()
    rotation, shift = _parts(calibration.camera0_from_lidar)
    bottoms = rows[:, :3] @ rotation.T + shift
    bottoms[:, 1] += rows[:, 5] / 2
    # The horizontal heading of the LiDAR frame, lifted along the LiDAR's z until it is horizontal
    # for the camera: what `lidar_rows` projected.
    ahead = torch.stack([rows[:, 6].cos(), rows[:, 6].sin()], 1)
    lift = -(ahead @ rotation[1, :2]) / rotation[1, 2]
    heading = torch.cat([ahead, lift[:, None]], 1) @ rotation.T
    rotations = torch.atan2(-heading[:, 2], heading[:, 0])
    alpha = wrapped(rotations - torch.atan2(bottoms[:, 0], bottoms[:, 2]))
    unknown = np.full(len(rows), -1.0)
    result = KittiObjects(
        tuple(names), unknown, unknown, alpha.numpy(), np.zeros((len(rows), 4)),
        rows[:, 3:6].numpy(), bottoms.numpy(), rotations.numpy(),
        scores.detach().double().cpu().numpy(),
    )  # fmt: skip
    projection = torch.tensor(calibration.projection, dtype=torch.float64)
    result.image_boxes[:] = _image_boxes(camera_boxes(result), projection, image_size).numpy()
    return result


def _image_boxes(boxes: Boxes, projection: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(N, 4) float64, pixels: rectangles around boxes of `camera_boxes`."""
    corners = boxes.corners()
    corners = torch.stack([corners[..., 0], -corners[..., 2], corners[..., 1]], -1)
    corners = corners @ projection[:, :3].T + projection[:, 3]
    # Homogeneous pixels, the last of them the depth. Points of the outline: the corners, and
    # where edges pass through the plane at depth `_NEAR`.
    start, end = (corners[:, side] for side in torch.tensor(_EDGES).T)
    rise = end[..., 2] - start[..., 2]
    place = (_NEAR - start[..., 2]) / torch.where(rise == 0, 1.0, rise)
    cuts = start + place[..., None] * (end - start)
    ahead = torch.cat([corners[..., 2] >= _NEAR, (rise != 0) & (place >= 0) & (place <= 1)], 1)
    outline = torch.cat([corners, cuts], 1)
    pixels = outline[..., :2] / torch.where(ahead, outline[..., 2], 1.0)[..., None]
    low = torch.where(ahead[..., None], pixels, torch.inf).amin(1)
    high = torch.where(ahead[..., None], pixels, -torch.inf).amax(1)
    edge = torch.tensor(image_size, dtype=torch.float64) - 1
    low, high = (torch.minimum(part.clamp_min(0), edge) for part in (low, high))
    return torch.where(ahead.any(1)[:, None], torch.cat([low, high], 1), 0.0)


def _parts(transform: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Rotation (3, 3) and translation (3,) float64."""
    matrix = torch.tensor(transform, dtype=torch.float64)
    return matrix[:3, :3], matrix[:3, 3]
