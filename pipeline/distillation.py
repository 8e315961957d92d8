"""One step of distillation: a batch of cached frames in, losses out (paper sections 3.2 and 3.4)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..cache.sampling import sample_tokens
from ..student.augment import Augmentation
from ..student.backbone import Student
from ..student.draws import Draws
from ..student.heads import ProjectionHead
from ..student.losses import Kind, Weighting, distillation_loss, pair_weights
from ..student.mix3d import mix3d
from ..student.occupancy import OccupancyHead
from ..student.points import PointBatch
from ..student.queries import Queries, make_queries
from .cached_frames import DistillationBatch, TokenGrid
from .training import TrainingStep

PARTS = ("augment", "voxelise", "student", "gather", "heads", "occupancy")
"""Names under which a profiler finds the parts of the forward pass."""


class DistillationStep(TrainingStep):
    """Student, a projection head for each teacher and, where it is weighed, the occupancy task.

    Args:
        heads: in the order of the batch's teachers, by the names under which their losses are logged.
        occupancy: on the student's features, or None to leave the task out.
        occupancy_weight: weight of the occupancy loss beside the distillation loss (Table 2).
        augmentation: None to leave the clouds as they are.
        mix3d: probability that a pair of scenes is mixed.
        align_corners: where tokens lie in the image, see `sample_tokens`.
    """

    def __init__(
        self,
        student: Student,
        heads: Mapping[str, ProjectionHead],
        occupancy: OccupancyHead | None,
        *,
        loss: Kind,
        weighting: Weighting,
        occupancy_weight: float,
        augmentation: Augmentation | None,
        mix3d: float,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.student, self.occupancy = student, occupancy
        self.teachers: Sequence[str] = list(heads)
        self.heads = nn.ModuleList(heads.values())
        self.loss: Kind = loss
        self.weighting: Weighting = weighting
        self.occupancy_weight, self.augmentation = occupancy_weight, augmentation
        self.mix3d, self.align_corners = mix3d, align_corners

    def block_parameters(self) -> list[nn.Parameter]:
        return self.student.backbone.block_parameters()

    def counts(self, batch: DistillationBatch) -> dict[str, float]:
        """Camera views with pairs, or pairs, and frames."""
        views = sum(count > 0 for count in batch.view_pairs)
        return {
            "distillation": views if self.weighting == "view" else sum(batch.view_pairs),
            "frames": len(batch.ids),
        }

    def forward(self, batch: DistillationBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` = ``distillation`` + weight * (``occupancy`` + ``intensity``).

        With several teachers ``distillation`` is the mean of theirs, which are ``distillation/<name>`` each.
        """
        draws = Draws(batch.points, batch.keys)
        with record_function("augment"):
            points, queries = self.clouds(batch.points, draws)
            mixed = mix3d(points, draws, self.mix3d)
        with record_function("voxelise"):
            voxels = self.student.voxels(mixed, draws)
            # The points of a voxel share one feature, so the heads need run only once for each that a camera sees.
            # How many those are must be known to the host; asking now, before the network, keeps nothing waiting.
            seen, slot = voxels.inverse.index_select(0, batch.pair_point).unique(return_inverse=True)
        with record_function("student"):
            features = self.student.encode(mixed, voxels, draws)
        losses = self._distillation(batch, features.index_select(0, seen), slot, totals["distillation"])
        total = losses["distillation"]
        if self.occupancy is not None and queries is not None:
            # In half precision a line of sight of 50 m would end a quarter of a metre off.
            with record_function("occupancy"), torch.autocast(features.device.type, enabled=False):
                parts = self.occupancy(features.float(), voxels.inverse, voxels.representative, queries, points, 1)
            losses |= {"occupancy": parts.occupancy / totals["frames"], "intensity": parts.intensity / totals["frames"]}
            total = total + self.occupancy_weight * parts.total / totals["frames"]
        return {"loss": total, **losses}

    def clouds(self, points: PointBatch, draws: Draws) -> tuple[PointBatch, Queries | None]:
        """Augmented points; queries were made where the sensor stands at the origin and moved along."""
        queries = None
        if self.occupancy is not None:
            queries = make_queries(points, self.occupancy.task, draws)
        if self.augmentation is not None:
            points, matrices = self.augmentation(points, draws)
            queries = queries and queries.transform(matrices)
        return points, queries

    def _distillation(
        self, batch: DistillationBatch, features: Tensor, slot: Tensor, total: Tensor
    ) -> dict[str, Tensor]:
        """Losses of features (S, C) of the voxels that cameras see; pair k is at row slot[k]."""
        weight = pair_weights(batch.view_pairs, self.weighting, total=1).to(features.device, non_blocking=True) / total
        losses: dict[str, Tensor] = {}
        for name, head, grid in zip(self.teachers, self.heads, batch.teachers, strict=True):
            with record_function("gather"):
                targets = self.targets_of(batch, grid)
            with record_function("heads"):
                predicted = head(features).index_select(0, slot)
                losses[f"distillation/{name}"] = distillation_loss(predicted, targets, self.loss, weight)
        mean = torch.stack(list(losses.values())).mean()
        return {"distillation": mean} | (losses if len(losses) > 1 else {})

    def targets_of(self, batch: DistillationBatch, grid: TokenGrid) -> Tensor:
        """A teacher's feature (K, C) float32 of every pair."""
        return sample_tokens(
            grid.tokens, batch.pair_view, batch.pair_uv, batch.image_size, grid.centre, grid.step, self.align_corners
        )
