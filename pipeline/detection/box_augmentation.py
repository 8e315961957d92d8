"""Random flip, rotation and scale of a frame, points and boxes alike."""

import math
from dataclasses import dataclass

import torch

from ..training.seeds import stream
from .box_frame import BoxFrame
from .boxes import Boxes, turn


@dataclass(frozen=True, slots=True)
class BoxAugmentation:
    """Flip of y, then rotation about z, then scale about the LiDAR, drawn anew for every frame and
    epoch; the defaults are those of PointRCNN in OpenPCDet.

    Attributes:
        flip_p: probability that y becomes -y.
        rotation: radians; the angle is uniform in [-rotation, rotation).
        scale: range of the uniform factor of places and sizes.
    """

    flip_p: float = 0.5
    rotation: float = math.pi / 4
    scale: tuple[float, float] = (0.95, 1.05)

    def __call__(self, frame: BoxFrame, key: int) -> BoxFrame:
        """The augmented frame; `key` (of seed, pass and frame, see `FrameDraw`) alone decides
        it."""
        generator = stream(key, "box augmentation")
        flip, place, size = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        low, high = self.scale
        return moved(
            frame, flip < self.flip_p, self.rotation * (2 * place - 1), low + (high - low) * size
        )


def moved(frame: BoxFrame, flip: bool, angle: float, factor: float) -> BoxFrame:
    """A frame whose y is mirrored where `flip`, then turned counter-clockwise by `angle` radians,
    then scaled by `factor`."""
    sign = -1.0 if flip else 1.0
    points, rows = frame.points.clone(), frame.boxes.rows.clone()
    for part in (points, rows):
        part[:, 1] *= sign
        part[:, :2] = turn(part[:, :2], part.new_tensor(angle))
        part[:, :3] *= factor
    rows[:, 3:6] *= factor
    rows[:, 6] = sign * rows[:, 6] + angle
    return BoxFrame(points, Boxes(rows), frame.classes)
