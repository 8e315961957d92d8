"""One step of distillation: a batch of cached frames in, losses out (paper sections 3.2 and
3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ...errors import CleverError
from ...student.choices import Centring, DistillationLoss, Weighting
from ...student.clouds.augment import Augmentation
from ...student.clouds.intensity import IntensityNorm, by_scene
from ...student.clouds.mix3d import mix3d
from ...student.draws import Draws
from ...student.heads import ProjectionHead
from ...student.losses.centring import Centre, patch_numbers
from ...student.losses.class_token import class_token_loss, frame_maximum
from ...student.losses.occupancy import OccupancyHead
from ...student.losses.pairs import distillation_loss, pair_distances, pair_weights
from ...student.points import PointBatch
from ...student.sampling.queries import Queries, make_queries
from ...student.student import Student
from ...student.voxelize import Voxels
from ..training.job import TrainingStep
from .cached_frames import DistillationBatch, TokenRun

PARTS = ("augment", "voxelise", "gather", "student", "heads", "occupancy")
"""Names under which a profiler finds the parts of the forward pass."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the networks of a step are given: a batch after all that has no weights. Q queries, K
    pairs, S voxels seen.

    Attributes:
        draws: of the batch.
        points, queries: augmented; scenes as loaded.
        mixed: the same points after Mix3D, with intensities as the student takes them.
        voxels: of `mixed`.
        visible_voxels: (S,) int64, the voxels that cameras see.
        slot: (K,) int64, the place of every pair's voxel in `visible_voxels`.
        weight: (K,) float32, of every pair; those of a batch add up to its number of views, or of
            pairs.
        targets: the teachers' features (K, C) float32 of every pair.
        class_token: (F, C) float32 of every frame, and the pairs of each; None where there is no
            class-token loss.
        centres: what is averaged on both sides for each teacher; empty where nothing is.
        pair_frame: (K,) int64, the frame of every pair; None likewise.
        store_weights: of every dataset whose loss is logged apart, as `weight`, 0 for pairs of the
            others.
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
    class_token: tuple[Tensor, tuple[int, ...]] | None = None
    centres: tuple[Centre, ...] = ()
    pair_frame: Tensor | None = None
    store_weights: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a head learns.

    Attributes:
        teacher: number among the batch's teachers.
        stage: of the student's decoder, counted back from the last one, 0.
        weight: of its loss among those of all heads.
    """

    teacher: int
    stage: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Stores:
    """What a step is told of several stores.

    Attributes:
        names: under which their losses are logged apart; empty for a single one.
        intensities: by which theirs are standardised; empty: they are left as they are.
        mixes: whether Mix3D mixes frames of different stores.
    """

    names: tuple[str, ...] = ()
    intensities: tuple[IntensityNorm, ...] = ()
    mixes: bool = False


class DistillationStep(TrainingStep):
    """Student, a projection head for each teacher and, where it is weighed, the occupancy task.

    Args:
        heads: by the names under which their losses are logged.
        lessons: what each head learns; None: one each of the batch's teachers, in their order,
            all at the student's last stage.
        occupancy: on the student's features, or None to leave the task out.
        occupancy_weight: weight of the occupancy loss beside the distillation loss (Table 2).
        augmentation: None to leave the clouds as they are.
        mix3d: probability that a pair of scenes is mixed.
        align_corners: where tokens lie in the image, see `sample_tokens`.
        class_head: on the student's features, whose maximum over the points that cameras see learns
            the class token; None to leave that out.
        class_token_weight: weight of the class-token loss beside the distillation loss.
        centre: ``frames``: predictions and targets less their mean over the pairs of each frame;
            ``patches``: the same after both are averaged over the points of each patch, which then
            counts once (Concerto).
        stores: what the batches' stores are.
        intensity_dropout: probability that the student sees a scene without intensities, all as 0.
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
        lessons: Sequence[Lesson] | None = None,
        class_head: ProjectionHead | None = None,
        class_token_weight: float = 0.0,
        centre: Centring = "none",
        stores: Stores | None = None,
        intensity_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.student, self.occupancy = student, occupancy
        self.teachers: Sequence[str] = list(heads)
        self.heads = nn.ModuleList(heads.values())
        if lessons is None:
            lessons = [Lesson(number) for number in range(len(heads))]
        self.lessons = tuple(lessons)
        self.class_head, self.class_token_weight = class_head, class_token_weight
        self.centre: Centring = centre
        self.loss: DistillationLoss = loss
        self.weighting: Weighting = weighting
        self.occupancy_weight, self.augmentation = occupancy_weight, augmentation
        self.mix3d, self.align_corners = mix3d, align_corners
        self.stores, self.intensity_dropout = stores or Stores(), intensity_dropout

    def last_head(self) -> ProjectionHead:
        """The first head on the student's last stage; raises CleverError where there is none."""
        for head, lesson in zip(self.heads, self.lessons, strict=True):
            if isinstance(head, ProjectionHead) and not lesson.stage:
                return head
        raise CleverError(
            f"no head on the student's last stage: {', '.join(self.teachers)}; choose another "
            "`teacher`"
        )

    def block_parameters(self) -> list[nn.Parameter]:
        return self.student.backbone.block_parameters()

    def counts(self, batch: DistillationBatch) -> dict[str, float]:
        """Camera views with pairs, or pairs, and frames; with pairs where class tokens count; views
        or pairs of each dataset where there are several."""
        counts: dict[str, float] = {
            "distillation": self._weight(batch.view_pairs),
            "frames": len(batch.ids),
        }
        if self.class_head is not None:
            counts["class_token"] = sum(count > 0 for count in batch.frame_pairs)
        if self.stores.names:
            view_stores = [
                store
                for store, views in zip(batch.stores, batch.frame_views, strict=True)
                for _ in range(views)
            ]
            for number, name in enumerate(self.stores.names):
                own = zip(batch.view_pairs, view_stores, strict=True)
                counts[by_dataset(name)] = self._weight(
                    [pairs for pairs, store in own if store == number]
                )
        return counts

    def _weight(self, view_pairs: Sequence[int]) -> int:
        """Views with pairs, or pairs."""
        if self.weighting == "view":
            return sum(count > 0 for count in view_pairs)
        return sum(view_pairs)

    def forward(self, batch: DistillationBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` = ``distillation`` + weight * (``occupancy`` + ``intensity``) + class-token
        weight * ``class_token``.

        With several heads ``distillation`` is the weighted mean of theirs, which are
        ``distillation/<name>`` each. Of several datasets the mean over a dataset's own pairs is
        ``<dataset>/distillation``.
        """
        return self.losses(self.prepare(batch), totals)

    @torch.no_grad()
    def prepare(self, batch: DistillationBatch) -> Prepared:
        """Draw, augment, mix, voxelise and gather, on the batch's device."""
        draws = Draws(batch.points, batch.keys, batch.number)
        with record_function("augment"):
            points, queries = self.clouds(batch.points, draws)
            mixed = mix3d(
                points, draws, self.mix3d, None if self.stores.mixes else batch.stores or None
            )
            mixed = replace(mixed, intensity=self._intensities(points, batch.stores, draws))
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
            targets = tuple(self._targets(batch, runs) for runs in batch.teachers)
        prepared = Prepared(
            draws, points, queries, mixed, voxels, visible_voxels, slot, weight, targets
        )
        if self.centre != "none":
            prepared = replace(prepared, centres=self._centres(batch, points))
        if self.stores.names:
            prepared = replace(prepared, store_weights=self._store_weights(batch, weight))
        if self.class_head is None:
            return prepared
        assert batch.class_token is not None
        return replace(
            prepared,
            class_token=(batch.class_token, batch.frame_pairs),
            pair_frame=points.scene.index_select(0, batch.pair_point),
        )

    def losses(self, prepared: Prepared, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the networks; see `forward`."""
        with record_function("student"):
            features, visible = self.stages(prepared)
        return self.losses_of(prepared, features, visible, totals)

    def losses_of(
        self,
        prepared: Prepared,
        features: Tensor,
        visible: Mapping[int, Tensor],
        totals: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Losses of features that `stages` gave; see `forward`. Without a head there is no
        distillation loss."""
        voxels, losses, total = prepared.voxels, dict[str, Tensor](), features.new_zeros(())
        with record_function("heads"):
            if len(self.heads):
                losses = self._distillation(prepared, visible, totals)
                total = losses["distillation"]
            if self.class_head is not None:
                losses["class_token"] = self._class_token(
                    prepared, visible[0], totals["class_token"]
                )
                total = total + self.class_token_weight * losses["class_token"]
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

    def _intensities(self, points: PointBatch, stores: Sequence[int], draws: Draws) -> Tensor:
        """(N,) as the student takes them: standardised, and none at all where a scene's are
        dropped."""
        intensity, norms = points.intensity, self.stores.intensities
        if norms:
            intensity = by_scene(intensity, points.scene, [norms[store] for store in stores])
        if self.intensity_dropout:
            stay = draws.for_scenes("intensity", 1)[:, 0] >= self.intensity_dropout
            scenes = stay.to(intensity.dtype).to(intensity.device, non_blocking=True)
            intensity = intensity * scenes.index_select(0, points.scene)
        return intensity

    def _store_weights(self, batch: DistillationBatch, weight: Tensor) -> tuple[Tensor, ...]:
        """`weight` (K,) for each dataset, 0 for pairs of the others."""
        store = torch.tensor(batch.stores).repeat_interleave(torch.tensor(batch.frame_pairs))
        store = store.to(weight.device, non_blocking=True)
        return tuple(weight * (store == number) for number in range(len(self.stores.names)))

    def stages(self, prepared: Prepared) -> tuple[Tensor, dict[int, Tensor]]:
        """The student's features (V, C), and by stage those (S, C) of the voxels that cameras
        see."""
        mixed, voxels, draws = prepared.mixed, prepared.voxels, prepared.draws
        taught = {lesson.stage for lesson in self.lessons} | {0}
        if taught == {0}:
            features = self.student.encode(mixed, voxels, draws)
            return features, {0: features.index_select(0, prepared.visible_voxels)}
        stages = self.student.encode_stages(mixed, voxels, draws)[::-1]
        # A coarser stage reaches a point through the voxel of its own that holds the point's.
        holders = {
            number: stages[number].holders(voxels).index_select(0, prepared.visible_voxels)
            for number in sorted(taught)
        }
        return stages[0].features, {
            number: stages[number].features.index_select(0, rows)
            for number, rows in holders.items()
        }

    def _distillation(
        self, prepared: Prepared, visible: Mapping[int, Tensor], totals: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of features (S, C) of the voxels that cameras see, by stage."""
        weight = prepared.weight / totals["distillation"]
        losses: dict[str, Tensor] = {}
        apart: list[list[Tensor]] = [[] for _ in prepared.store_weights]
        for name, head, lesson in zip(self.teachers, self.heads, self.lessons, strict=True):
            predicted = head(visible[lesson.stage]).index_select(0, prepared.slot)
            target, factor = prepared.targets[lesson.teacher], None
            if prepared.centres:
                centre = prepared.centres[lesson.teacher]
                predicted, target, factor = centre(predicted, target, prepared.weight)
            losses[f"distillation/{name}"] = distillation_loss(
                predicted, target, self.loss, weight if factor is None else weight * factor
            )
            if apart:
                with torch.no_grad():
                    distances = pair_distances(predicted, target, self.loss)
                    distances = distances if factor is None else distances * factor
                for store, own in zip(apart, prepared.store_weights, strict=True):
                    store.append((distances * own).sum())
        shares = {
            by_dataset(name): self._mean(parts) / totals[by_dataset(name)]
            for name, parts in zip(self.stores.names, apart, strict=True)
        }
        return {
            "distillation": self._mean(list(losses.values())),
            **(losses if len(losses) > 1 else {}),
            **shares,
        }

    def _mean(self, losses: Sequence[Tensor]) -> Tensor:
        """Mean of the heads' losses by their weights."""
        weights = [Fraction(lesson.weight) for lesson in self.lessons]
        if len(set(weights)) == 1:
            return torch.stack(list(losses)).mean()
        shares = (
            loss * float(part / sum(weights)) for loss, part in zip(losses, weights, strict=True)
        )
        return torch.stack(list(shares)).sum()

    def _class_token(self, prepared: Prepared, features: Tensor, total: Tensor) -> Tensor:
        """Loss of features (S, C) of the voxels that cameras see."""
        assert self.class_head is not None
        assert prepared.class_token is not None
        assert prepared.pair_frame is not None
        tokens, pairs = prepared.class_token
        predicted = self.class_head(features).index_select(0, prepared.slot)
        summit = frame_maximum(predicted, prepared.pair_frame, len(tokens))
        return class_token_loss(summit, tokens, pairs, total)

    def _centres(self, batch: DistillationBatch, points: PointBatch) -> tuple[Centre, ...]:
        """What is averaged on both sides, for each teacher."""
        frame, frames = points.scene.index_select(0, batch.pair_point), len(batch.ids)
        centres: list[Centre] = []
        for runs in batch.teachers:
            patches: list[Tensor] = []
            view = pair = first = 0
            for run in runs if self.centre == "patches" else ():
                own, grid = slice(pair, pair + run.pairs), run.tokens.tokens.shape[1:3]
                numbers = patch_numbers(
                    batch.pair_view[own] - view, batch.pair_uv[own], (grid[0], grid[1])
                )
                patches.append(first + numbers)
                view, pair = view + run.views, pair + run.pairs
                first += run.views * grid.numel()
            centres.append(Centre(frame, frames, torch.cat(patches) if patches else None, first))
        return tuple(centres)

    def _targets(self, batch: DistillationBatch, runs: Sequence[TokenRun]) -> Tensor:
        """A teacher's feature (K, C) float32 of every pair."""
        targets: list[Tensor] = []
        view = pair = 0
        for run in runs:
            own = slice(pair, pair + run.pairs)
            targets.append(
                run.tokens.features(
                    batch.pair_view[own] - view,
                    batch.pair_uv[own],
                    batch.image_size[view : view + run.views],
                    self.align_corners,
                )
            )
            view, pair = view + run.views, pair + run.pairs
        return torch.cat(targets)


def by_dataset(name: str) -> str:
    """Under which name the distillation loss of a dataset is logged."""
    return f"{name}/distillation"
