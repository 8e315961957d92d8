"""The occupancy decoder, head and loss against closed forms and against loops over scenes, queries
and supports."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clever.student.choices import IntensityError
from clever.student.draws import Draws
from clever.student.losses.occupancy import (
    OccupancyDecoder,
    OccupancyHead,
    OccupancyLoss,
    occupancy_loss,
)
from clever.student.points import PointBatch
from clever.student.sampling.neighbours import neighbours_within
from clever.student.sampling.queries import (
    ALSO,
    BEHIND,
    FRONT,
    PAPER,
    SIGHT,
    OccupancyTask,
    Queries,
    make_queries,
)

Make = Callable[..., PointBatch]
CHANNELS = 5
SMALL = [
    replace(PAPER, hidden=16),
    replace(ALSO, hidden=16, latent=9, max_neighbours=6, count=60),
    replace(ALSO, hidden=16, latent=None, max_neighbours=6, count=60, neighbours="nearest"),
]


class Scene(NamedTuple):
    """A batch as a student would leave it."""

    features: Tensor
    voxel: Tensor
    representative: Tensor
    queries: Queries
    points: PointBatch


def scene(points: PointBatch, task: OccupancyTask, keys: range | None = None) -> Scene:
    """Every second point of a scene stands for itself and its successor; features are drawn by
    point."""
    keys = keys or range(points.size)
    count = len(points)
    within = torch.cat([torch.arange(n) for n in points.counts])
    stands = within % 2 == 0
    voxel = stands.cumsum(0) - 1
    draws = Draws(points, keys)
    features = draws.normal("features", CHANNELS)[stands].requires_grad_()
    queries = make_queries(points, task, draws)
    return Scene(features, voxel, torch.arange(count)[stands], queries, points)


def head(task: OccupancyTask) -> OccupancyHead:
    torch.manual_seed(0)
    return OccupancyHead(CHANNELS, task)


def by_loops(module: OccupancyHead, batch: Scene) -> OccupancyLoss:
    """The task read off the paper and ALSO's code, one answer at a time."""
    task, queries, points, zero = module.task, batch.queries, batch.points, torch.zeros(())
    entropies, errors = zero, zero
    for number in range(points.size):
        entropy: list[Tensor] = []
        error: list[Tensor] = []
        for q in range(len(queries.source)):
            source = int(queries.source[q])
            if points.scene[source] != number or points.xyz[source].norm() <= task.delta:
                continue
            kind, intensity = int(queries.kind[q]), points.intensity[source]
            for feature, offset in answers(batch, q, task):
                latent = feature if module.latent is None else module.latent(feature)
                logit, guess = module.decoder.layers(torch.cat([latent, offset]))
                probability = torch.sigmoid(logit)
                entropy.append(-torch.log(probability if kind == BEHIND else 1 - probability))
                if kind != SIGHT:
                    error.append(
                        (guess - intensity) ** 2
                        if task.intensity == "mse"
                        else (guess - intensity).abs()
                    )
        entropies = entropies + (torch.stack(entropy).mean() if entropy else zero)
        errors = errors + (torch.stack(error).mean() if error else zero)
    occupancy, brightness = entropies / points.size, errors / points.size
    return OccupancyLoss(occupancy + task.intensity_weight * brightness, occupancy, brightness)


def answers(batch: Scene, q: int, task: OccupancyTask) -> list[tuple[Tensor, Tensor]]:
    """Features that answer query q, and the query's place relative to where each lies."""
    queries, points = batch.queries, batch.points
    source = int(queries.source[q])
    if task.aggregation == "source":
        return [(batch.features[batch.voxel[source]], queries.offset[q])]
    place = points.xyz[source] + queries.offset[q]
    near = []
    for voxel, point in enumerate(batch.representative.tolist()):
        offset = place - points.xyz[point]
        if points.scene[point] == points.scene[source] and offset.norm() < task.radius:
            near.append((offset.norm().item(), voxel, offset))
    order = sorted(near) if task.neighbours == "nearest" else near
    return [(batch.features[voxel], offset) for _, voxel, offset in order[: task.max_neighbours]]


@pytest.fixture
def clouds(make_batch: Make) -> PointBatch:
    """Five scenes: one without points, one all within delta of the sensor."""
    points = make_batch(120, 0, 30, 10, 151, extent=3.0)
    near = torch.where(points.scene == 3, 0.01, 1.0)
    return replace(points, xyz=points.xyz * near[:, None])


@pytest.mark.parametrize("task", SMALL + [replace(task, intensity_weight=0.3) for task in SMALL])
def test_loss_and_gradients_equal_loops(clouds: PointBatch, task: OccupancyTask):
    module = head(task)
    batch = scene(clouds, task)
    variables = [batch.features, *module.parameters()]
    loss, expected = module(*batch), by_loops(module, batch)
    for name in OccupancyLoss._fields:
        torch.testing.assert_close(
            getattr(loss, name), getattr(expected, name), rtol=1e-5, atol=1e-6
        )
    assert expected.occupancy > 0.1
    assert expected.intensity > 0.01
    gradients = torch.autograd.grad(loss.total, variables)
    for gradient, reference in zip(
        gradients, torch.autograd.grad(expected.total, variables), strict=True
    ):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", SMALL)
def test_parts_of_a_batch_add_up_to_the_whole(make_batch: Make, task: OccupancyTask):
    points = make_batch(100, 200, 0, 150, extent=3.0)
    module = head(task)
    whole = module(*scene(points, task))
    total = torch.zeros(())
    for first, last in ((0, 1), (1, 4)):
        own = (points.scene >= first) & (points.scene < last)
        part = PointBatch(
            points.xyz[own],
            points.intensity[own],
            points.scene[own] - first,
            points.counts[first:last],
        )
        total = total + module(*scene(part, task, range(first, last)), scenes_total=4).total
    torch.testing.assert_close(total, whole.total, rtol=1e-6, atol=0)


@pytest.mark.parametrize("task", SMALL)
@pytest.mark.parametrize("counts", [(0, 0), (8,)])
def test_nothing_to_ask_is_a_loss_of_zero(
    make_batch: Make, task: OccupancyTask, counts: tuple[int, ...]
):
    points = make_batch(*counts)
    batch = scene(replace(points, xyz=0.01 * points.xyz), task)
    module = head(task)
    loss = module(*batch).total
    loss.backward()
    assert loss == 0
    assert all(
        parameter.grad is not None and (parameter.grad == 0).all()
        for parameter in module.parameters()
    )


def test_other_scenes_never_answer(make_batch: Make):
    """Two scenes in one place, as Mix3D leaves them: each is answered as though it were alone."""
    task, points = SMALL[1], make_batch(100, 100, extent=3.0)
    on_top = replace(points, xyz=torch.cat([points.xyz[:100], points.xyz[:100] + 0.01]))
    module = head(task)
    together = module(*scene(on_top, task))
    alone = []
    for number in (0, 1):
        own = on_top.scene == number
        part = PointBatch(
            on_top.xyz[own], on_top.intensity[own], on_top.scene[own] - number, (100,)
        )
        alone.append(module(*scene(part, task, range(number, number + 1))).total)
    torch.testing.assert_close(together.total, torch.stack(alone).mean(), rtol=1e-6, atol=0)


def test_supports_lie_where_the_augmented_points_do(make_batch: Make):
    """A scene turned about the sensor, its queries with it: the same neighbours answer."""
    task, points = SMALL[1], make_batch(150, 80, extent=3.0)
    turns = torch.linalg.qr(torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))).Q
    batch = scene(points, task)
    moved = replace(points, xyz=torch.einsum("nij,nj->ni", turns[points.scene], points.xyz))
    queries = batch.queries.transform(turns)
    searches = []
    for cloud, part in ((points, batch.queries), (moved, queries)):
        place, support = cloud.xyz[part.source] + part.offset, batch.representative
        searches.append(
            neighbours_within(
                place, part.counts, cloud.xyz[support], cloud.scene[support], cloud.counts, 1.0, 6
            )
        )
    still, turned = searches
    assert torch.equal(still.filled, turned.filled)
    assert torch.equal(still.support[still.filled], turned.support[turned.filled])


@pytest.mark.parametrize("task", [PAPER, ALSO])
def test_nothing_is_read_back_from_the_device(make_batch: Make, task: OccupancyTask):
    """Tensors of PyTorch's meta device have no values: whatever asks for one, or for a size it
    decides, raises."""
    points = make_batch(300, 0, 200).to("meta")
    draws = Draws(points, range(3))
    queries = make_queries(points, task, draws, torch.zeros(3)).transform(
        torch.eye(3).expand(3, 3, 3)
    )
    features = torch.zeros(250, CHANNELS, device="meta", requires_grad=True)
    voxel, representative = (torch.zeros(n, dtype=torch.int64, device="meta") for n in (500, 250))
    loss = head(task).to("meta")(features, voxel, representative, queries, points)
    loss.total.backward()
    assert features.grad is not None
    assert loss.total.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        queries.occupied.nonzero()


def test_decoder_size_and_inputs():
    torch.manual_seed(0)
    also = OccupancyHead(96, ALSO)
    assert sum(p.numel() for p in also.decoder.parameters()) == 50_178  # ALSO's
    assert isinstance(also.latent, torch.nn.Linear)
    assert (also.latent.in_features, also.latent.out_features) == (96, 128)
    paper = OccupancyHead(96, PAPER)
    assert paper.latent is None
    assert paper.decoder.layers[0].in_features == 99
    decoder = OccupancyDecoder(5)
    features, offset = torch.randn(7, 4, 5), torch.randn(7, 4, 3)
    logit, intensity = decoder(features, offset)
    joint = decoder.layers(torch.cat([features, offset], 2))
    assert torch.equal(torch.stack([logit, intensity], 2), joint)
    assert not torch.allclose(decoder(features, offset + 1)[0], logit)


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_loss_closed_form(weight: float):
    """One scene of three queries; a fourth that weighs nothing changes nothing."""
    points = PointBatch.from_clouds([torch.tensor([[1.0, 0, 0, 0.25], [2.0, 0, 0, 0.75]])])
    kind = torch.tensor([FRONT, BEHIND, SIGHT, BEHIND])
    weights = torch.tensor([1, 1, 1, weight])
    queries = Queries(
        torch.tensor([0, 1, 0, 1]),
        torch.zeros(4, 3),
        kind,
        weights,
        torch.zeros(4, dtype=torch.int64),
        (4,),
    )
    logit = torch.tensor(
        [math.log(3.0), math.log(3.0), 0.0, 7.0]
    )  # filled with probability 3/4, 3/4, 1/2
    intensity = torch.tensor([0.5, 0.25, 9.0, 0.5])  # the third is of a sight query: masked
    entropies = [-math.log(1 / 4), -math.log(3 / 4), -math.log(1 / 2), math.log1p(math.exp(-7.0))]
    cases: tuple[tuple[IntensityError, list[float]], ...] = (
        ("mse", [0.25**2, 0.5**2, 0.25**2]),
        ("l1", [0.25, 0.5, 0.25]),
    )
    for kind_of_error, errors in cases:
        task = OccupancyTask(intensity=kind_of_error, intensity_weight=2.0)
        loss = occupancy_loss(
            logit[:, None], intensity[:, None], weights[:, None], queries, points, task
        )
        entropy = (sum(entropies[:3]) + weight * entropies[3]) / (3 + weight)
        error = (sum(errors[:2]) + weight * errors[2]) / (2 + weight)
        assert loss.occupancy.item() == pytest.approx(entropy, rel=1e-6)
        assert loss.intensity.item() == pytest.approx(error, rel=1e-6)
        assert loss.total.item() == pytest.approx(entropy + 2 * error, rel=1e-6)


@pytest.mark.parametrize("task", [PAPER, ALSO])
def test_a_head_learns_front_from_behind(make_batch: Make, task: OccupancyTask):
    """Where the sensor sees a wall from inside, free space ends at it."""
    points = make_batch(200, extent=10.0)
    direction = F.normalize(points.xyz, dim=1)
    points = replace(points, xyz=5 * direction)
    task = replace(task, delta=1.0, share=1.0, distance="fixed", radius=1.5)
    torch.manual_seed(0)
    module, index = OccupancyHead(3, task), torch.arange(200)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    queries = make_queries(points, task, Draws(points, [0]))
    first = None
    for _ in range(60):
        loss = module(direction, index, index, queries, points)
        first = loss.occupancy.item() if first is None else first
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert first is not None
    assert first > 0.6
    assert module(direction, index, index, queries, points).occupancy < 0.25
