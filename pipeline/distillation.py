"""One step of distillation: a batch of cached frames in, losses out (paper sections 3.2 and 3.4)."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..cache import CachedFrame
from ..cache.sampling import sample_tokens
from ..student.augment import Augmentation
from ..student.backbone import Student
from ..student.heads import ProjectionHead
from ..student.losses import Kind, Weighting, distillation_loss
from ..student.mix3d import mix3d
from ..student.occupancy import OccupancyDecoder, Queries, make_queries, occupancy_loss
from ..student.points import PointBatch
from .training import TrainingStep


@dataclass(frozen=True, slots=True)
class DistillationBatch:
    """Cached frames of one step: B frames of M cameras are V = B * M views.

    Attributes:
        ids: frame ids.
        points: (N,) points of all frames, each in its own LiDAR frame.
        pair_point: (K,) int64, index into `points`.
        pair_view: (K,) int64, index into the views.
        pair_uv: (K, 2) float32, normalised pixels.
        image_size: (V, 2) int64, width and height in pixels.
        tokens: (V, h, w, C) int8 or float16, as stored.
        centre, step: (C,) float32 of the int8 codec, or None.
    """

    ids: list[str]
    points: PointBatch
    pair_point: Tensor
    pair_view: Tensor
    pair_uv: Tensor
    image_size: Tensor
    tokens: Tensor
    centre: Tensor | None
    step: Tensor | None

    @classmethod
    def collate(cls, frames: list[CachedFrame]) -> "DistillationBatch":
        """Concatenate frames of one cache."""
        first_point, first_view, points, views = [], [], 0, 0
        for frame in frames:
            first_point.append(frame.pair_point + points)
            first_view.append(frame.pair_camera + views)
            points += len(frame.points)
            views += len(frame.tokens)
        return cls(
            ids=[frame.id for frame in frames],
            points=PointBatch.from_clouds([frame.points for frame in frames]),
            pair_point=torch.cat(first_point),
            pair_view=torch.cat(first_view),
            pair_uv=torch.cat([frame.pair_uv for frame in frames]),
            image_size=torch.cat([frame.image_size for frame in frames]),
            tokens=torch.cat([frame.tokens for frame in frames]),
            centre=frames[0].centre,
            step=frames[0].step,
        )

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`; tokens stay as stored."""
        names = ("pair_point", "pair_view", "pair_uv", "image_size", "tokens", "centre", "step")
        tensors = {name: getattr(self, name) for name in names}
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items() if tensor is not None}
        return replace(self, points=self.points.to(device), **moved)


class DistillationStep(TrainingStep):
    """Student, projection head and, where it is weighed, the occupancy decoder.

    Args:
        occupancy: decoder on the student's features, or None to leave the task out.
        occupancy_weight: weight of the occupancy loss beside the distillation loss (Table 2).
        augmentation: None to leave the clouds as they are.
        mix3d: probability that a pair of scenes is mixed.
        align_corners: where tokens lie in the image, see `sample_tokens`.
    """

    def __init__(
        self,
        student: Student,
        head: ProjectionHead,
        occupancy: OccupancyDecoder | None,
        *,
        loss: Kind,
        weighting: Weighting,
        occupancy_weight: float,
        augmentation: Augmentation | None,
        mix3d: float,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.student, self.head, self.occupancy = student, head, occupancy
        self.loss: Kind = loss
        self.weighting: Weighting = weighting
        self.occupancy_weight, self.augmentation = occupancy_weight, augmentation
        self.mix3d, self.align_corners = mix3d, align_corners

    def forward(self, batch: DistillationBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """``loss`` = ``distillation`` + weight * (``occupancy`` + ``intensity``); a batch without pairs has no
        ``distillation``."""
        points, queries = self._clouds(batch.points, generator)
        features, voxel = self.student.voxel_features(points, generator)
        losses: dict[str, Tensor] = {}
        total = 0 * features.sum()
        if len(batch.pair_point):
            losses["distillation"] = self._distillation(batch, features, voxel)
            total = total + losses["distillation"]
        if self.occupancy is not None and queries is not None:
            logit, intensity = self.occupancy(features.index_select(0, voxel[queries.source]), queries.offset)
            parts = occupancy_loss(logit, intensity, queries, points)
            losses |= {"occupancy": parts.occupancy, "intensity": parts.intensity}
            total = total + self.occupancy_weight * parts.total
        return {"loss": total, **losses}

    def _clouds(self, points: PointBatch, generator: torch.Generator) -> tuple[PointBatch, Queries | None]:
        """Augmented and mixed points; queries were made where the sensor stands at the origin and moved along."""
        queries = None
        if self.occupancy is not None:
            queries = make_queries(points, points.xyz.new_zeros(3), generator)
        if self.augmentation is not None:
            scene = points.scene
            points, matrices = self.augmentation(points, generator)
            queries = queries and queries.transform(matrices, scene)
        return mix3d(points, generator, self.mix3d), queries

    def _distillation(self, batch: DistillationBatch, features: Tensor, voxel: Tensor) -> Tensor:
        # The points of a voxel share one feature, so the head need run only once a voxel.
        seen, slot = voxel[batch.pair_point].unique(return_inverse=True)
        predicted = self.head(features.index_select(0, seen)).index_select(0, slot)
        targets = sample_tokens(
            batch.tokens,
            batch.pair_view,
            batch.pair_uv,
            batch.image_size,
            batch.centre,
            batch.step,
            self.align_corners,
        )
        return distillation_loss(predicted, targets, batch.pair_view, self.loss, self.weighting)
