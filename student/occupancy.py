"""The auxiliary task: is a point in space empty or filled, and how bright is it (paper section 3.4, after ALSO).

Three parts, so that one may be replaced without the others: where to ask (`make_queries`), which features answer
(the caller: here the feature of the query's source point), and the answer itself (`OccupancyDecoder` and its loss).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CleverError
from .points import PointBatch

FRONT, BEHIND, SIGHT = 0, 1, 2
"""Kinds of query: just before the surface (empty), just behind it (filled), on the line of sight (empty)."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Places in space whose occupancy is known, each seen from a surface point.

    Attributes:
        source: (Q,) int64, the surface point in the batch; stays valid while the order of points does.
        offset: (Q, 3) float32, metres, from the source point to the query, in the frame of the batch's points.
        kind: (Q,) int64, `FRONT`, `BEHIND` or `SIGHT`.
    """

    source: Tensor
    offset: Tensor
    kind: Tensor

    @property
    def occupied(self) -> Tensor:
        """(Q,) bool."""
        return self.kind == BEHIND

    def transform(self, matrices: Tensor, scene: Tensor) -> "Queries":
        """The same queries after points of scene s moved by `matrices[s]` (S, 3, 3); `scene` (N,) as it was then."""
        moved = (matrices[scene[self.source]] * self.offset[:, None, :]).sum(-1)
        return replace(self, offset=moved)


def make_queries(
    points: PointBatch,
    sensor_origin: Tensor,
    generator: torch.Generator,
    delta: float = 0.1,
    distance: Literal["uniform", "fixed"] = "uniform",
    share: float = 2048 / 16384,
) -> Queries:
    """Three queries for each of some surface points p: in front and behind along the ray, and on the line of sight.

    Make them from points as the sensor measured them, since the line of sight ends at the sensor: before
    augmentation (then `Queries.transform`) and before scenes are mixed (nothing to do: sources stay valid).

    Args:
        points: in the sensor's frame.
        sensor_origin: (3,) or (S, 3), where the rays start, metres; zero for a cloud in its LiDAR's own frame.
        generator: draws source points and distances.
        delta: metres; front and behind lie this far from p (`fixed`: the paper's "small distance") or at a uniform
            share of it (`uniform`: ALSO's 0.1 m * U(0, 1)).
        share: of the points of each scene that become sources, rounded up; ALSO takes 2,048 of 16,384. Points
            within `delta` of the sensor are never taken: their front query would lie behind it.

    Returns:
        All front queries, then all behind, then all sight; none for a scene without points.
    """
    ray = points.xyz - sensor_origin.to(points.xyz).expand(points.size, 3)[points.scene]
    length = torch.linalg.vector_norm(ray, dim=1)
    source = _draw_sources(points, length > delta, share, generator)
    ray, direction = ray[source], ray[source] / length[source, None]
    draw = torch.rand(3, len(source), 1, generator=generator, device=generator.device).to(ray)
    front, behind = delta * (1 - draw[:2]) if distance == "uniform" else torch.full_like(draw[:2], delta)
    offset = torch.cat([-front * direction, behind * direction, (draw[2] - 1) * ray])
    kind = torch.tensor([FRONT, BEHIND, SIGHT], device=source.device).repeat_interleave(len(source))
    return Queries(source.repeat(3), offset, kind)


def _draw_sources(points: PointBatch, usable: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Indices of ceil(share * usable points) random usable points of every scene."""
    index = usable.nonzero().squeeze(1)
    order = torch.randperm(len(index), generator=generator, device=generator.device).to(index.device)
    scene, by_scene = torch.sort(points.scene[index[order]], stable=True)
    rank = torch.arange(len(scene), device=scene.device) - torch.searchsorted(scene, scene)
    wanted = torch.ceil(share * torch.bincount(scene, minlength=points.size).double())
    return index[order[by_scene[rank < wanted[scene]]]]


class OccupancyDecoder(nn.Module):
    """Reads occupancy and intensity at a query from a point's feature and the query's place relative to that point.

    Four linear layers of 128 channels with ReLU between them, as ALSO's (50,178 parameters for 128-d features).
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
        """Occupancy logit (Q,) and intensity (Q,) from features (Q, C) and offsets (Q, 3) in metres."""
        logit, intensity = self.layers(torch.cat([features, offset.to(features.dtype)], 1)).unbind(1)
        return logit, intensity


class OccupancyLoss(NamedTuple):
    """Scalars: `total` = `occupancy` + weight * `intensity`."""

    total: Tensor
    occupancy: Tensor
    intensity: Tensor


def occupancy_loss(
    logit: Tensor, intensity: Tensor, queries: Queries, points: PointBatch, intensity_weight: float = 1.0
) -> OccupancyLoss:
    """Binary cross-entropy of occupancy plus `intensity_weight` (lambda) times the squared error of intensity.

    The intensity to predict is that of the source point. Sight queries lie in free space, where nothing reflects, so
    they take no part in it.

    Raises:
        CleverError: there is not a single query.
    """
    if not len(logit):
        raise CleverError("no point of this batch can serve as an occupancy query: its scenes are empty")
    occupancy = F.binary_cross_entropy_with_logits(logit.float(), queries.occupied.float())
    near = queries.kind != SIGHT
    error = F.mse_loss(intensity.float()[near], points.intensity[queries.source[near]])
    return OccupancyLoss(occupancy + intensity_weight * error, occupancy, error)
