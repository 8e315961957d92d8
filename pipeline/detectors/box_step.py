"""Frames with boxes as training has them, and one step of training a detector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...student.draws import Draws
from ...student.points import PointBatch
from ...student.student import Student
from ..datasets.boxes import BoxDataset
from ..detection.area import Area, drawn_points
from ..detection.box_augmentation import BoxAugmentation
from ..detection.box_frame import BoxFrame, box_frame
from ..detection.detections import Detections
from ..detection.object_bank import ObjectBank
from ..training.batches import FrameDraw
from ..training.job import TrainingStep
from .box_batch import BoxBatch
from .box_heads import BoxHead

MEMORY_POINTS = 1 << 24
"""Points of all frames that stay in memory: 256 MB, some 800 frames of KITTI."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Ground-truth sampling: objects of `bank`, up to `targets` of every class in a frame."""

    bank: ObjectBank
    targets: Mapping[int, int]


class BoxFrames(Dataset[tuple[str, int, BoxFrame]]):
    """Some frames of a dataset as (id, key, points and boxes), augmented by their keys: first
    objects of other frames, then flip, rotation and scale, then the area and the draw of points.

    Frames are read once, as long as those in memory have no more than `MEMORY_POINTS` points.

    Args:
        indices: of the frames.
        class_names: of classes 0, 1, ...
        sampling, augmentation, area: None for none.
        points: how many are drawn; None: all.
    """

    def __init__(
        self,
        dataset: BoxDataset,
        indices: Sequence[int],
        class_names: tuple[str, ...],
        sampling: Sampling | None = None,
        augmentation: BoxAugmentation | None = None,
        area: Area | None = None,
        points: int | None = None,
    ) -> None:
        self.dataset, self.indices, self.class_names = dataset, indices, class_names
        self.sampling, self.augmentation = sampling, augmentation
        self.area, self.points = area, points
        self._in_memory: dict[int, BoxFrame] = {}
        self._room = MEMORY_POINTS

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> tuple[str, int, BoxFrame]:
        """Raises FrameError where points or boxes of the frame cannot be read."""
        number, key = draw
        index = self.indices[number]
        frame = self._plain(index)
        if self.sampling is not None:
            frame = self.sampling.bank.add_to(frame, self.sampling.targets, key)
        if self.augmentation is not None:
            frame = self.augmentation(frame, key)
        if self.area is not None:
            frame = self.area.frame(frame)
        frame = replace(frame, points=drawn_points(frame.points, self.points, key))
        return self.dataset.frame_ids[index], key, frame

    def _plain(self, index: int) -> BoxFrame:
        """A frame as the dataset has it."""
        if index in self._in_memory:
            return self._in_memory[index]
        points = torch.from_numpy(self.dataset.points(index))
        frame = box_frame(points, self.dataset.boxes(index), self.class_names)
        if len(points) <= self._room:
            self._in_memory[index] = frame
            self._room -= len(points)
        return frame


class BoxStep(TrainingStep):
    """A head and the student whose features it reads, the student frozen in evaluation mode where
    `frozen`."""

    def __init__(self, student: Student, head: BoxHead, *, frozen: bool) -> None:
        super().__init__()
        self.student, self.head, self.frozen = student, head, frozen
        student.requires_grad_(not frozen)

    def changing(self) -> nn.Module:
        return self.head if self.frozen else self

    def train(self, mode: bool = True) -> "BoxStep":
        """A frozen student stays in evaluation mode: its batch norms keep their statistics."""
        super().train(mode)
        if self.frozen:
            self.student.eval()
        return self

    def block_parameters(self) -> list[nn.Parameter]:
        return [] if self.frozen else self.student.backbone.block_parameters()

    def counts(self, batch: BoxBatch) -> dict[str, float]:
        """Frames: the losses of a head are means over what its part holds, so every part of a step
        weighs as many frames as it has."""
        return {"frames": len(batch.ids)}

    def forward(self, batch: BoxBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        points = PointBatch.from_clouds([frame.points for frame in batch.frames])
        draws = None if self.frozen else Draws(points, batch.keys)
        with torch.set_grad_enabled(not self.frozen):
            features = self.student(points, draws)
        share = len(batch.ids) / totals["frames"]
        losses = {
            name: loss * share for name, loss in self.head.losses(features, points, batch).items()
        }
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.no_grad()
    def detections(self, clouds: Sequence[Tensor]) -> list[Detections]:
        """Boxes of clouds (N, 4) float32; call it in evaluation mode."""
        points = PointBatch.from_clouds(clouds)
        return self.head.detections(self.student(points), points)
