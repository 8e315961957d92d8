"""One step of distillation: a batch of cached frames in, losses out (paper sections 3.2 and
3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ...cache.sampling import sample_tokens
from ...student.augment import Augmentation
from ...student.choices import DistillationLoss, Weighting
from ...student.draws import Draws
from ...student.heads import ProjectionHead
from ...student.losses.occupancy import OccupancyHead
from ...student.losses.pairs import distillation_loss, pair_weights
from ...student.mix3d import mix3d
from ...student.points import PointBatch
from ...student.queries import Queries, make_queries
from ...student.student import Student
from ...student.voxelize import Voxels
from ..training.job import TrainingStep
from .cached_frames import DistillationBatch, TokenGrid

PARTS = ("augment", "voxelise", "gather", "student", "heads", "occupancy")
"""Names under which a profiler finds the parts of the forward pass."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the networks of a step are given: a batch after all that has no weights. Q queries, K
    pairs, S voxels seen.

    Attributes:
        draws: of the batch.
        points, queries: augmented; scenes as loaded.
        mixed: the same points after Mix3D.
        voxels: of `mixed`.
        visible_voxels: (S,) int64, the voxels that cameras see.
        slot: (K,) int64, the place of every pair's voxel in `visible_voxels`.
        weight: (K,) float32, of every pair; those of a batch add up to its number of views, or of
            pairs.
        targets: the teachers' features (K, C) float32 of every pair.
    """

    draws: Draws
    points: PointBatch
    queries: Queries | None
    mixed: PointBatch
    voxels: Voxels
    visible_voxels: Tensor
    slot: Tensor
    weight: Tensor
    targets: tuple[Tensor, ...]


class DistillationStep(TrainingStep):
    """Student, a projection head for each teacher and, where it is weighed, the occupancy task.

    Args:
        heads: in the order of the batch's teachers, by the names under which their losses are
            logged.
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
        loss: DistillationLoss,
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
        self.loss: DistillationLoss = loss
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

        With several teachers ``distillation`` is the mean of theirs, which are
        ``distillation/<name>`` each.
        """
        return self.losses(self.prepare(batch), totals)

    @torch.no_grad()
    def prepare(self, batch: DistillationBatch) -> Prepared:
        """Draw, augment, mix, voxelise and gather, on the batch's device."""
        draws = Draws(batch.points, batch.keys, batch.number)
        with record_function("augment"):
            points, queries = self.clouds(batch.points, draws)
            mixed = mix3d(points, draws, self.mix3d)
        with record_function("voxelise"):
            voxels = self.student.voxels(mixed, draws)
            # The points of a voxel share one feature, so the heads need run only once for each that
            # a camera sees. How many those are must be known to the host; asking now, before the
            # network, keeps nothing waiting.
            visible_voxels, slot = voxels.inverse.index_select(0, batch.pair_point).unique(
                return_inverse=True
            )
        with record_function("gather"):
            weight = pair_weights(batch.view_pairs, self.weighting, total=1).to(
                slot.device, non_blocking=True
            )
            targets = tuple(self._targets(batch, grid) for grid in batch.teachers)
        return Prepared(
            draws, points, queries, mixed, voxels, visible_voxels, slot, weight, targets
        )

    def losses(self, prepared: Prepared, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the networks; see `forward`."""
        voxels = prepared.voxels
        with record_function("student"):
            features = self.student.encode(prepared.mixed, voxels, prepared.draws)
        with record_function("heads"):
            losses = self._distillation(
                prepared, features.index_select(0, prepared.visible_voxels), totals["distillation"]
            )
        total = losses["distillation"]
        if self.occupancy is not None and prepared.queries is not None:
            # In half precision a line of sight of 50 m would end a quarter of a metre off.
            with record_function("occupancy"), torch.autocast(features.device.type, enabled=False):
                parts = self.occupancy(
                    features.float(),
                    voxels.inverse,
                    voxels.representative,
                    prepared.queries,
                    prepared.points,
                    1,
                )
            losses |= {
                "occupancy": parts.occupancy / totals["frames"],
                "intensity": parts.intensity / totals["frames"],
            }
            total = total + self.occupancy_weight * parts.total / totals["frames"]
        return {"loss": total, **losses}

    def clouds(self, points: PointBatch, draws: Draws) -> tuple[PointBatch, Queries | None]:
        """Augmented points; queries were made where the sensor stands at the origin and moved
        along."""
        queries = None
        if self.occupancy is not None:
            queries = make_queries(points, self.occupancy.task, draws)
        if self.augmentation is not None:
            points, matrices = self.augmentation(points, draws)
            queries = queries and queries.transform(matrices)
        return points, queries

    def _distillation(
        self, prepared: Prepared, features: Tensor, total: Tensor
    ) -> dict[str, Tensor]:
        """Losses of features (S, C) of the voxels that cameras see."""
        weight = prepared.weight / total
        losses: dict[str, Tensor] = {}
        for name, head, targets in zip(self.teachers, self.heads, prepared.targets, strict=True):
            predicted = head(features).index_select(0, prepared.slot)
            losses[f"distillation/{name}"] = distillation_loss(
                predicted, targets, self.loss, weight
            )
        mean = torch.stack(list(losses.values())).mean()
        return {"distillation": mean} | (losses if len(losses) > 1 else {})

    def _targets(self, batch: DistillationBatch, grid: TokenGrid) -> Tensor:
        """A teacher's feature (K, C) float32 of every pair."""
        return sample_tokens(
            grid.tokens,
            batch.pair_view,
            batch.pair_uv,
            batch.image_size,
            grid.calibration,
            self.align_corners,
        )
