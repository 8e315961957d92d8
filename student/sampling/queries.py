"""Where to ask whether space is empty or filled (paper section 3.4, after ALSO), and the settings
of that task."""

import math
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from ...errors import CleverError
from ..choices import Aggregation, Distance, IntensityError, NeighbourRule, QueryPattern
from ..draws import Draws
from ..points import PointBatch, scene_index

FRONT, BEHIND, SIGHT = 0, 1, 2
"""Kinds of query: just before the surface (empty), just behind it (filled), on the line of sight
(empty)."""


@dataclass(frozen=True, slots=True)
class OccupancyTask:
    """Settings of the occupancy task; the defaults are the paper's, `PAPER`, and ALSO's code is
    `ALSO`.

    Attributes:
        aggregation: which features answer a query, each beside the query's place relative to it:
            `source`, that of the query's source point; `radius`, those of the support points around
            it, each for itself.
        queries: `triple`, three queries (front, behind, sight) for every source point; `thirds`,
            one for each, so that a third of the source points serve each kind.
        intensity: error of the predicted intensity, squared or absolute.
        intensity_weight: lambda, the weight of that error beside the cross-entropy of occupancy.
        delta: metres from the source point to its queries in front and behind; more than 0.
        distance: these queries lie at `delta` (`fixed`: the paper's "small distance") or at a
            uniform share of it (`uniform`: ALSO's 0.1 m * U(0, 1)).
        share: share in (0, 1] of a scene's points that become source points, rounded up; ALSO takes
            2,048 of 16,384.
        count: source points a scene instead of a share, or all of a smaller scene; None: `share`
            holds.
        radius: metres; how far a support may lie from a query (`radius` only).
        max_neighbours: at most so many supports answer a query (`radius` only).
        neighbours: which of them, where there are more (`radius` only): `nearest`; `first`, in the
            order of the voxels (x, y, z), whichever ALSO's search meets first.
        latent: width of a linear layer between the student's features and the decoder; None: there
            is none. ALSO's takes 96 features to 128.
        hidden: width of the decoder; ALSO's is that of its latent layer, 128.

    Raises:
        CleverError: a setting out of its range.
    """

    aggregation: Aggregation = "source"
    queries: QueryPattern = "triple"
    intensity: IntensityError = "mse"
    intensity_weight: float = 1.0
    delta: float = 0.1
    distance: Distance = "uniform"
    share: float = 2048 / 16384
    count: int | None = None
    radius: float = 1.0
    max_neighbours: int = 32
    neighbours: NeighbourRule = "nearest"
    latent: int | None = None
    hidden: int = 128

    def __post_init__(self) -> None:
        words = {
            "aggregation": Aggregation,
            "queries": QueryPattern,
            "distance": Distance,
            "neighbours": NeighbourRule,
            "intensity": IntensityError,
        }
        for name, kind in words.items():
            if getattr(self, name) not in get_args(kind):
                raise CleverError(
                    f"occupancy {name}: {getattr(self, name)!r} is not one of "
                    f"{', '.join(get_args(kind))}"
                )
        for name in ("delta", "share", "count", "radius", "max_neighbours", "latent", "hidden"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise CleverError(f"occupancy {name}: {value} must be more than zero")
        if self.share > 1:
            raise CleverError(
                f"occupancy share: {self.share} of the points is more than all of them; use at "
                "most 1"
            )
        if not 0 <= self.intensity_weight < math.inf:
            raise CleverError(
                f"occupancy intensity_weight: {self.intensity_weight} must not be negative"
            )

    def sources(self, points: int) -> int:
        """Source points of a scene of `points` points."""
        return min(points, math.ceil(self.share * points) if self.count is None else self.count)


PAPER = OccupancyTask()
ALSO = OccupancyTask(
    aggregation="radius",
    queries="thirds",
    intensity="l1",
    count=2048,
    neighbours="first",
    latent=128,
)


@dataclass(frozen=True, slots=True)
class Queries:
    """Places in space whose occupancy is known, each seen from a surface point; those of a scene
    stand together.

    Attributes:
        source: (Q,) int64, the surface point in the batch; stays valid while the order of points
            does.
        offset: (Q, 3) float32, metres, from the source point to the query, in the frame of the
            batch's points.
        kind: (Q,) int64, `FRONT`, `BEHIND` or `SIGHT`.
        weight: (Q,) float32, 1, or 0 for a query that says nothing since its source point is too
            near the sensor.
        scene: (Q,) int64, ascending, the scene that the query belongs to: as loaded, not as mixed
            afterwards.
        counts: queries of every scene, known to the host.
    """

    source: Tensor
    offset: Tensor
    kind: Tensor
    weight: Tensor
    scene: Tensor
    counts: tuple[int, ...]

    @property
    def occupied(self) -> Tensor:
        """(Q,) bool."""
        return self.kind == BEHIND

    def transform(self, matrices: Tensor) -> "Queries":
        """The same queries after points of scene s, as loaded, moved by `matrices[s]` (S, 3, 3)."""
        offset = (
            matrices.to(self.offset, non_blocking=True)[self.scene] * self.offset[:, None, :]
        ).sum(-1)
        return replace(self, offset=offset)


def make_queries(
    points: PointBatch, task: OccupancyTask, draws: Draws, sensor_origin: Tensor | None = None
) -> Queries:
    """Queries in front of surface points p, behind them along the ray, and on the line of sight.

    Make them from points as the sensor measured them, since the line of sight ends at the sensor:
    before augmentation (then `Queries.transform`) and before scenes are mixed (nothing to do:
    sources stay valid).

    Source points are distinct. A point within `delta` of the sensor, whose front query would lie
    behind it, becomes one only where a scene has too few others, and then with weight 0: how many
    queries there are depends on the number of points alone, so that nothing is read back from the
    device.

    Args:
        points: the batch as loaded, in the sensor's frame.
        draws: of this batch; what a scene draws does not depend on the others.
        sensor_origin: (3,) or (S, 3), where the rays start, metres; None: at zero, as in a LiDAR's
            own frame.

    Returns:
        For every scene and source point its front, behind and sight query (`triple`), or for every
        scene all front, all sight, all behind, the last with the remainder (`thirds`). None for a
        scene without points.
    """
    place, kind, counts = (_triples if task.queries == "triple" else _thirds)(points.counts, task)
    place, kind, scene = (
        each.to(points.xyz.device, non_blocking=True) for each in (place, kind, scene_index(counts))
    )
    ray = points.xyz
    if sensor_origin is not None:
        ray = ray - sensor_origin.to(ray, non_blocking=True).expand(points.size, 3)[points.scene]
    length = torch.linalg.vector_norm(ray, dim=1)
    usable = length > task.delta
    source = _ordered(points, usable, draws)[place]
    draw = draws.for_points("query distance", 3, source).gather(1, kind[:, None]).squeeze(1)
    step = (
        task.delta * (1 - draw) if task.distance == "uniform" else torch.full_like(draw, task.delta)
    )
    step = step / length[source].clamp(min=task.delta)
    part = torch.where(kind == SIGHT, draw - 1, torch.where(kind == FRONT, -step, step))
    return Queries(source, part[:, None] * ray[source], kind, usable[source].float(), scene, counts)


def _ordered(points: PointBatch, usable: Tensor, draws: Draws) -> Tensor:
    """(N,) int64: scene by scene as they are, the points of each in random order, first those that
    are usable."""
    order = draws.order("query source")
    group = 2 * points.scene + (~usable).long()
    return order[torch.argsort(group[order], stable=True)]


def _triples(
    points: tuple[int, ...], task: OccupancyTask
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Place in `_ordered` and kind of every query (Q,) int64 on the CPU, and the number of queries
    in every scene."""
    sources = [task.sources(count) for count in points]
    kind = torch.tensor([FRONT, BEHIND, SIGHT]).repeat(sum(sources))
    return (
        _places(points, sources).repeat_interleave(3),
        kind,
        tuple(3 * count for count in sources),
    )


def _thirds(points: tuple[int, ...], task: OccupancyTask) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """As `_triples`."""
    sources = [task.sources(count) for count in points]
    sizes = [
        size for count in sources for size in (count // 3, count // 3, count - 2 * (count // 3))
    ]
    kind = (
        torch.tensor([FRONT, SIGHT, BEHIND])
        .repeat(len(sources))
        .repeat_interleave(torch.tensor(sizes))
    )
    return _places(points, sources), kind, tuple(sources)


def _places(points: tuple[int, ...], sources: list[int]) -> Tensor:
    """The first `sources[s]` of the `points[s]` places that belong to every scene s."""
    first = [sum(points[:scene]) for scene in range(len(points))]
    return torch.cat(
        [torch.arange(start, start + count) for start, count in zip(first, sources, strict=True)]
    )
