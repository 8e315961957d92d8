"""Occupancy queries against geometry, decoder and loss against closed forms."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.student.augment import Augmentation
from clever.student.mix3d import mix3d
from clever.student.occupancy import (
    BEHIND,
    FRONT,
    SIGHT,
    OccupancyDecoder,
    Queries,
    make_queries,
    occupancy_loss,
)
from clever.student.points import PointBatch

Make = Callable[..., PointBatch]
ORIGINS = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 3.0, 0.0]])


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def geometry(points: PointBatch, queries: Queries, origins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In float64: distance of the query along its ray, the point's range, and the query's distance from the ray."""
    start = origins.double().expand(points.size, 3)[points.scene[queries.source]]
    point = points.xyz.double()[queries.source]
    query = point + queries.offset.double() - start
    ray = point - start
    length = ray.norm(dim=1)
    along = (query * ray).sum(1) / length
    return along, length, torch.linalg.cross(query, ray).norm(dim=1) / length


@pytest.mark.parametrize("distance", ["uniform", "fixed"])
def test_queries_lie_where_their_kind_says(make_batch: Make, distance: Any):
    points = make_batch(400, 0, 300, extent=20.0)
    queries = make_queries(points, ORIGINS, seed(), delta=0.3, distance=distance, share=1.0)
    along, length, beside = geometry(points, queries, ORIGINS)
    assert beside.max() < 1e-5  # all on the line through sensor and point
    front, behind, sight = (queries.kind == kind for kind in (FRONT, BEHIND, SIGHT))
    step = (along - length).abs()
    assert (along[front] < length[front]).all()
    assert (along[behind] > length[behind]).all()
    assert (step[~sight] <= 0.3 + 1e-6).all()
    assert (along[sight] >= -1e-5).all()
    assert (along[sight] < length[sight]).all()
    if distance == "fixed":
        torch.testing.assert_close(step[~sight], torch.full_like(step[~sight], 0.3), atol=1e-6, rtol=0)
    else:
        for draws in (step[front] / 0.3, step[behind] / 0.3):
            assert uniform(draws)
    assert uniform(along[sight] / length[sight])
    assert torch.equal(queries.occupied, behind)


def uniform(draws: Tensor) -> bool:
    """Kolmogorov-Smirnov distance to U(0, 1) below its 0.1 % point."""
    ordered = draws.sort().values
    steps = torch.arange(len(ordered) + 1) / len(ordered)
    distance = torch.maximum((ordered - steps[:-1]).abs(), (ordered - steps[1:]).abs()).max()
    return distance.item() < 1.95 / math.sqrt(len(ordered))


def test_each_scene_gives_its_share_of_distinct_sources_with_three_queries_each(make_batch: Make):
    points = make_batch(800, 0, 3, 401, extent=20.0)
    queries = make_queries(points, torch.zeros(3), seed())
    sources = queries.source.view(3, -1)
    assert torch.equal(sources[0], sources[1])
    assert torch.equal(sources[0], sources[2])
    assert len(sources[0].unique()) == len(sources[0])
    assert torch.bincount(points.scene[sources[0]], minlength=4).tolist() == [100, 0, 1, 51]


def test_sources_are_drawn_evenly(make_batch: Make):
    points = make_batch(20, 10, extent=20.0)
    generator, counts = seed(), np.zeros(30)
    for _ in range(3000):
        sources = make_queries(points, torch.zeros(3), generator, share=0.3).source.view(3, -1)[0]
        counts[sources.numpy()] += 1
    assert np.abs(counts / 3000 - 0.3).max() < 5 * math.sqrt(0.3 * 0.7 / 3000)


def test_points_within_delta_of_the_sensor_are_never_sources():
    cloud = torch.tensor([[0.0, 0, 0, 0], [0.05, 0, 0, 0], [0.0, 0.2, 0, 0], [4.0, 0, 0, 0]])
    queries = make_queries(PointBatch.from_clouds([cloud]), torch.zeros(3), seed(), delta=0.1, share=1.0)
    assert sorted(set(queries.source.tolist())) == [2, 3]
    assert queries.offset.isfinite().all()


def test_same_seed_same_queries(make_batch: Make):
    points = make_batch(100, extent=20.0)
    first, again, other = (make_queries(points, torch.zeros(3), seed(number)) for number in (1, 1, 2))
    assert torch.equal(first.source, again.source)
    assert torch.equal(first.offset, again.offset)
    assert not torch.equal(first.offset, other.offset)


def test_queries_follow_their_augmented_scene(make_batch: Make):
    points = make_batch(300, 200, 100, extent=20.0)
    queries = make_queries(points, ORIGINS, seed(), share=1.0)
    moved_points, matrices = Augmentation(jitter_sigma=0.0)(points, seed(3))
    moved = queries.transform(matrices, points.scene)
    # As if the queries, and the sensors, had been points of their scenes all along.
    before = points.xyz[queries.source] + queries.offset
    after = moved_points.xyz[queries.source] + moved.offset
    expected = torch.einsum("qij,qj->qi", matrices[points.scene[queries.source]].double(), before.double())
    torch.testing.assert_close(after.double(), expected, atol=1e-5, rtol=0)
    origins = torch.einsum("sij,sj->si", matrices, ORIGINS)
    along, length, beside = geometry(moved_points, moved, origins)
    assert beside.max() < 1e-4
    assert torch.equal(along > length, moved.occupied)


def test_queries_stay_valid_when_scenes_are_mixed(make_batch: Make):
    points = make_batch(30, 40, extent=20.0)
    queries = make_queries(points, torch.zeros(3), seed(), share=1.0)
    mixed = mix3d(points, seed(), p=1.0)
    assert mixed.size == 1
    assert torch.equal(mixed.xyz[queries.source], points.xyz[queries.source])


def test_decoder_size_and_inputs():
    torch.manual_seed(0)
    assert sum(p.numel() for p in OccupancyDecoder(128).parameters()) == 50_178  # ALSO's
    decoder = OccupancyDecoder(5)
    features, offset = torch.randn(7, 5), torch.randn(7, 3)
    logit, intensity = decoder(features, offset)
    joint = decoder.layers(torch.cat([features, offset], 1))
    assert torch.equal(torch.stack([logit, intensity], 1), joint)
    assert not torch.allclose(decoder(features, offset + 1)[0], logit)


def test_loss_closed_form():
    points = PointBatch.from_clouds([torch.tensor([[1.0, 0, 0, 0.25], [2.0, 0, 0, 0.75]])])
    queries = Queries(torch.tensor([0, 1, 0]), torch.zeros(3, 3), torch.tensor([FRONT, BEHIND, SIGHT]))
    logit = torch.tensor([math.log(3.0), math.log(3.0), 0.0])  # filled with probability 3/4, 3/4, 1/2
    intensity = torch.tensor([0.5, 0.25, 9.0])  # the last is of a sight query: masked
    loss = occupancy_loss(logit, intensity, queries, points, intensity_weight=2.0)
    entropy = -(math.log(1 / 4) + math.log(3 / 4) + math.log(1 / 2)) / 3
    error = (0.25**2 + 0.5**2) / 2
    assert loss.occupancy.item() == pytest.approx(entropy, rel=1e-6)
    assert loss.intensity.item() == pytest.approx(error, rel=1e-6)
    assert loss.total.item() == pytest.approx(entropy + 2 * error, rel=1e-6)


def test_a_decoder_learns_front_from_behind(make_batch: Make):
    torch.manual_seed(0)
    points = make_batch(500, extent=20.0)
    queries = make_queries(points, torch.zeros(3), seed(), distance="fixed", share=1.0)
    direction = points.xyz / points.xyz.norm(dim=1, keepdim=True)
    features = torch.cat([direction, points.intensity[:, None]], 1)[queries.source]
    decoder = OccupancyDecoder(4)
    optimizer = torch.optim.AdamW(decoder.parameters(), 3e-3)
    for _ in range(120):
        loss = occupancy_loss(*decoder(features, queries.offset * 10), queries, points)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    found = decoder(features, queries.offset * 10)[0] > 0
    assert (found == queries.occupied).float().mean() > 0.9


def test_no_queries_is_an_error(make_batch: Make):
    points = make_batch(0, 0)
    queries = make_queries(points, torch.zeros(3), seed())
    assert len(queries.source) == 0
    with pytest.raises(CleverError, match="occupancy"):
        occupancy_loss(torch.zeros(0), torch.zeros(0), queries, replace(points))
