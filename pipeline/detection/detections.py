"""What a detector says of a frame."""

from dataclasses import dataclass

from torch import Tensor

from .boxes import Boxes


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one frame by falling score.

    Attributes:
        scores: (N,) float32 in (0, 1).
        classes: (N,) int64 from 0.
    """

    boxes: Boxes
    scores: Tensor
    classes: Tensor
