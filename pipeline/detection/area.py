"""Where boxes are looked for, and how many points are looked at there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..training.seeds import stream
from .box_frame import BoxFrame

FAR = 40.0
"""Depth in metres beyond which points are always among those drawn (OpenPCDet's)."""


@dataclass(frozen=True, slots=True)
class Area:
    """An upright block of the LiDAR frame.

    Attributes:
        low, high: its corners, metres: x, y, z.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def contains(self, xyz: Tensor) -> Tensor:
        """(N,) bool: which of the places (N, 3) lie in it."""
        low, high = xyz.new_tensor(self.low), xyz.new_tensor(self.high)
        return ((xyz >= low) & (xyz <= high)).all(1)

    def points(self, cloud: Tensor) -> Tensor:
        """Those of the points (N, 4) that lie in it."""
        return cloud[self.contains(cloud[:, :3])]

    def frame(self, frame: BoxFrame) -> BoxFrame:
        """A frame with those of its points, and of its boxes by their centres, that lie in it."""
        inside = self.contains(frame.boxes.centres)
        return BoxFrame(self.points(frame.points), frame.boxes[inside], frame.classes[inside])


def drawn_points(cloud: Tensor, count: int | None, key: int) -> Tensor:
    """At most `count` of the points (N, 4), in their order: all beyond `FAR` first, the others at
    random (where those beyond are too many, of these at random); None: all.

    As PointRCNN in OpenPCDet, but that of fewer points none is repeated.

    Args:
        key: decides the draw (see `FrameDraw`).
    """
    if count is None or len(cloud) <= count:
        return cloud
    order = torch.randperm(len(cloud), generator=stream(key, "points of a frame"))
    far = cloud[:, :3].norm(dim=1) >= FAR
    first = order[far[order]]
    near = order[~far[order]]
    return cloud[torch.cat([first, near])[:count].sort().values]
