"""The auxiliary task: is a point in space empty or filled, and how bright is it (paper section 3.4,
after ALSO).

Three parts, so that one may be replaced without the others: where to ask (`queries`), which
features answer (`OccupancyHead`), and the answer itself (`OccupancyDecoder` and its loss).
`OccupancyTask` says which form of each.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..points import PointBatch
from ..sampling.neighbours import neighbours_within
from ..sampling.queries import SIGHT, OccupancyTask, Queries


class OccupancyDecoder(nn.Module):
    """Reads occupancy and intensity at a query from a point's feature and the query's place
    relative to that point.

    Four linear layers with ReLU between them: 131 -> 128 -> 128 -> 128 -> 2, ALSO's 50,178
    parameters, for 128-d features. ALSO's code has no ReLU before the last layer, which makes its
    last two layers a single linear map.
    """

    def __init__(self, in_channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels + 3, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2),
        )

    def forward(self, features: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Occupancy logit (...) and intensity (...) from features (..., C) and offsets (..., 3) in
        metres."""
        logit, intensity = self.layers(torch.cat([features, offset.to(features.dtype)], -1)).unbind(
            -1
        )
        return logit, intensity


class OccupancyLoss(NamedTuple):
    """Scalars: `total` = `occupancy` + `intensity_weight` * `intensity`."""

    total: Tensor
    occupancy: Tensor
    intensity: Tensor


class OccupancyHead(nn.Module):
    """The whole task on top of a student's features: a latent layer where the task has one, a
    decoder, and the features that it reads for every query.

    With aggregation `radius` the supports are the occupied voxels: where the point that stands for
    one lies, and the voxel's feature. ALSO's are the points that its network takes, which are one a
    voxel as well. Only supports of the query's own scene answer, also where Mix3D has laid another
    scene over it: the place was seen empty or filled in its own scene, and a surface of the other
    one there would contradict that.

    Args:
        in_channels: C, the student's.
        task: which form.
    """

    def __init__(self, in_channels: int, task: OccupancyTask) -> None:
        super().__init__()
        self.task = task
        self.latent = nn.Linear(in_channels, task.latent) if task.latent else None
        self.decoder = OccupancyDecoder(task.latent or in_channels, task.hidden)

    def forward(
        self,
        features: Tensor,
        voxel: Tensor,
        representative: Tensor,
        queries: Queries,
        points: PointBatch,
        scenes_total: int | None = None,
    ) -> OccupancyLoss:
        """The loss of `occupancy_loss`.

        Args:
            features: (V, C) of the occupied voxels.
            voxel: (N,) int64, the voxel of every point.
            representative: (V,) int64, the point that stands for every voxel.
            queries: in the frame of `points`.
            points: augmented but not mixed: scenes as loaded, places as the network saw them.
            scenes_total: see `occupancy_loss`.
        """
        logit, intensity, weight = self.answers(features, voxel, representative, queries, points)
        return occupancy_loss(logit, intensity, weight, queries, points, self.task, scenes_total)

    def answers(
        self,
        features: Tensor,
        voxel: Tensor,
        representative: Tensor,
        queries: Queries,
        points: PointBatch,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Occupancy logit, intensity and weight (Q, K) of K answers to every query; weight is 1, or
        0 where there is no answer. Arguments as in `forward`."""
        if self.task.aggregation == "source":
            index, offset = voxel[queries.source][:, None], queries.offset[:, None]
            weight = queries.weight[:, None]
        else:
            index, offset, weight = self._neighbourhood(representative, queries, points)
        if self.latent is not None:
            features = self.latent(features)
        # Not features[index]: on several CPU threads its gradient adds up in no fixed order.
        answering = features.index_select(0, index.flatten()).unflatten(0, index.shape)
        logit, intensity = self.decoder(answering, offset)
        return logit, intensity, weight

    def _neighbourhood(
        self, representative: Tensor, queries: Queries, points: PointBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of K supports a query: voxel (Q, K), offset from it to the query (Q, K, 3) metres, and
        weight (Q, K)."""
        place = points.xyz[queries.source] + queries.offset
        supports, scene = points.xyz[representative], points.scene[representative]
        index, filled = neighbours_within(
            place,
            queries.counts,
            supports,
            scene,
            points.counts,
            self.task.radius,
            self.task.max_neighbours,
            self.task.neighbours,
        )
        offset = torch.where(filled[:, :, None], place[:, None] - supports[index], 0)
        return index, offset, queries.weight[:, None] * filled


def occupancy_loss(
    logit: Tensor,
    intensity: Tensor,
    weight: Tensor,
    queries: Queries,
    points: PointBatch,
    task: OccupancyTask,
    scenes_total: int | None = None,
) -> OccupancyLoss:
    """Binary cross-entropy of occupancy plus lambda times the error of intensity, each the mean
    over scenes of the mean over all answers to a scene's queries.

    The intensity to predict is that of the source point. Sight queries lie in free space, where
    nothing reflects, so they take no part in it. A scene without an answer of weight counts as
    zero. ALSO takes one mean over all answers of the batch instead; here every scene weighs the
    same, however many supports it has.

    Args:
        logit, intensity, weight: (Q, K), of K answers to every query; `weight` is 1 or 0.
        scenes_total: number of scenes to divide by. The losses of parts of a batch add up to that
            of the whole if each is given the number of scenes in the whole; None: those of this
            batch.
    """
    scenes = len(queries.counts) if scenes_total is None else scenes_total
    filled = queries.occupied.float()[:, None].expand_as(logit)
    entropy = F.binary_cross_entropy_with_logits(logit.float(), filled, reduction="none")
    actual = points.intensity[queries.source][:, None].expand_as(intensity)
    error = (F.mse_loss if task.intensity == "mse" else F.l1_loss)(
        intensity.float(), actual, reduction="none"
    )
    occupancy = _sum_of_scene_means(entropy, weight, queries.counts) / scenes
    near = (queries.kind != SIGHT)[:, None]
    brightness = _sum_of_scene_means(error, weight * near, queries.counts) / scenes
    return OccupancyLoss(occupancy + task.intensity_weight * brightness, occupancy, brightness)


def _sum_of_scene_means(value: Tensor, weight: Tensor, counts: tuple[int, ...]) -> Tensor:
    parts = zip((value * weight).sum(1).split(counts), weight.sum(1).split(counts), strict=True)
    return torch.stack([part.sum() / weights.sum().clamp(min=1) for part, weights in parts]).sum()
