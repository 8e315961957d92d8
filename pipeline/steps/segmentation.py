"""One step of training with labels: a batch of labelled clouds in, a loss out."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...student.choices import SegmentationLoss
from ...student.clouds.augment import Augmentation
from ...student.clouds.mix3d import mix3d
from ...student.draws import Draws
from ...student.points import PointBatch
from ...student.segmentation import segmentation_loss
from ...student.segmenter import Segmenter
from ...student.student import Student
from ..datasets import IGNORE
from ..training.job import TrainingStep
from .labelled import LabelledBatch

FEATURE_BYTES = 4 * 2**30
"""Features of a frozen student that a probe holds in memory; those beyond are computed anew in
every epoch."""


class FeatureMemory:
    """Features of a frozen student, one frame at a time, held up to `limit` bytes; held or not,
    they are the same."""

    def __init__(self, student: Student, limit: int) -> None:
        self.student, self.room = student, limit
        self._stored: dict[str, Tensor] = {}

    def __call__(self, batch: LabelledBatch) -> Tensor:
        """Features (N, D) of a batch of unaugmented clouds."""
        clouds = torch.cat([batch.points.xyz, batch.points.intensity[:, None]], 1).split(
            batch.points.counts
        )
        return torch.cat(
            [self._features(name, cloud) for name, cloud in zip(batch.ids, clouds, strict=True)]
        )

    @torch.no_grad()
    def _features(self, name: str, cloud: Tensor) -> Tensor:
        if name in self._stored:
            return self._stored[name].to(cloud.device)
        features = self.student(PointBatch.from_clouds([cloud]))
        if features.nbytes <= self.room:
            self.room -= features.nbytes
            self._stored[name] = features.cpu()
        return features


class SegmentationStep(TrainingStep):
    """Classifier and student, the student frozen in evaluation mode for a probe.

    The loss is over all points with a label. Pointcept's is over one point a voxel, all that its
    clouds have in training (`GridSample`).
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        frozen: bool,
        loss: SegmentationLoss,
        augmentation: Augmentation | None,
        mix3d: float,
    ) -> None:
        super().__init__()
        self.segmenter, self.frozen, self.loss = segmenter, frozen, loss
        self.augmentation, self.mix3d = augmentation, mix3d
        self._memory = FeatureMemory(segmenter.student, FEATURE_BYTES)
        segmenter.student.requires_grad_(not frozen)

    def changing(self) -> nn.Module:
        return self.segmenter.classifier if self.frozen else self.segmenter

    def train(self, mode: bool = True) -> "SegmentationStep":
        """A frozen student stays in evaluation mode: its batch norms keep their statistics."""
        super().train(mode)
        if self.frozen:
            self.segmenter.student.eval()
        return self

    def block_parameters(self) -> list[nn.Parameter]:
        return [] if self.frozen else self.segmenter.student.backbone.block_parameters()

    def counts(self, batch: LabelledBatch) -> dict[str, float]:
        """Frames: Lovasz-softmax is no sum over points, so every part of a step weighs as many
        frames as it has."""
        return {"frames": len(batch.ids)}

    def forward(self, batch: LabelledBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = self.segmenter.classifier(self._features(batch))
        if self.loss == "ce":
            loss = F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORE)
        else:
            loss = segmentation_loss(logits, batch.labels, IGNORE)
        return {"loss": loss * len(batch.ids) / totals["frames"]}

    def _features(self, batch: LabelledBatch) -> Tensor:
        if self.frozen and self.augmentation is None:
            return self._memory(batch)
        points, draws = batch.points, None
        if self.augmentation is not None:
            draws = Draws(points, batch.keys)
            points, _ = self.augmentation(points, draws)
            points = mix3d(points, draws, self.mix3d)
        with torch.set_grad_enabled(not self.frozen):
            return self.segmenter.student(points, draws)
