"""A point cloud with its boxes: what is augmented and learnt from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..datasets.boxes import LabelledBoxes
from .boxes import Boxes


@dataclass(frozen=True, slots=True)
class BoxFrame:
    """Points and boxes of one frame, in the LiDAR frame.

    Attributes:
        points: (P, 4) float32: x, y, z in metres, intensity in [0, 1].
        boxes: N boxes.
        classes: (N,) int64 from 0, of the boxes.
    """

    points: Tensor
    boxes: Boxes
    classes: Tensor

    def points_inside(self) -> Tensor:
        """(N,) int64: number of points in every box."""
        return self.boxes.contain(self.points[:, :3]).sum(1)


def box_frame(points: Tensor, labels: LabelledBoxes, class_names: tuple[str, ...]) -> BoxFrame:
    """A frame with those of its labelled boxes whose class is learnt, float32; boxes that hold no
    point by the labels are left out.

    Args:
        points: (P, 4) float32.
        class_names: of classes 0, 1, ...; boxes of other names are left out.
    """
    classes = torch.tensor(
        [class_names.index(name) if name in class_names else -1 for name in labels.names],
        dtype=torch.int64,
    )
    learnt = classes >= 0
    if labels.points is not None:
        learnt &= torch.from_numpy(labels.points) > 0
    boxes = Boxes(torch.from_numpy(labels.rows).float())
    return BoxFrame(points, boxes[learnt], classes[learnt])
