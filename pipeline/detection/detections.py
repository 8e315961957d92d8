"""What a detector says of a frame."""

from dataclasses import dataclass

import torch
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

    @classmethod
    def none(cls) -> "Detections":
        """Of a frame without a box."""
        return cls(Boxes(torch.zeros(0, 7)), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    def cpu(self) -> "Detections":
        """The same on the host."""
        return Detections(Boxes(self.boxes.rows.cpu()), self.scores.cpu(), self.classes.cpu())

    def names(self, class_names: tuple[str, ...]) -> list[str]:
        """Name of the class of every box."""
        return [class_names[category] for category in self.classes.tolist()]

    def records(self, class_names: tuple[str, ...]) -> list[dict[str, object]]:
        """A record a box as JSON has it: ``name``, ``score``, ``box`` (the seven numbers of
        `Boxes`)."""
        parts = (self.names(class_names), self.scores.tolist(), self.boxes.rows.tolist())
        return [
            {"name": name, "score": score, "box": box}
            for name, score, box in zip(*parts, strict=True)
        ]
