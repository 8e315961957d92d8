"""Occupancy queries against geometry written as plain loops, and which points they are drawn
from."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.student.draws import Draws
from clever.student.points import PointBatch
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
ORIGINS = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 3.0, 0.0]])
EVERY = replace(PAPER, share=1.0)
FORMS = [EVERY, replace(EVERY, queries="thirds")]


def draws(points: PointBatch, first: int = 0) -> Draws:
    return Draws(points, range(first, first + points.size))


def check_places(
    points: PointBatch, queries: Queries, origins: Tensor, task: OccupancyTask
) -> dict[int, list[float]]:
    """Walk along the ray of every query; the uniform draw behind it, by kind."""
    shares: dict[int, list[float]] = {FRONT: [], BEHIND: [], SIGHT: []}
    for q in range(len(queries.source)):
        source = int(queries.source[q])
        assert queries.scene[q] == points.scene[source]
        start = origins.double().expand(points.size, 3)[points.scene[source]].numpy()
        point = points.xyz[source].double().numpy()
        place = point + queries.offset[q].double().numpy()
        ray = point - start
        length = float(np.linalg.norm(ray))
        along = float(np.dot(place - start, ray)) / length
        assert np.linalg.norm(place - start - along * ray / length) < 1e-5  # beside the ray
        kind = int(queries.kind[q])
        if kind == SIGHT:
            share = along / length
            assert -1e-6 <= share < 1
        else:
            share = (along - length if kind == BEHIND else length - along) / task.delta
            assert 0 < share < 1 + 1e-4
        assert bool(queries.occupied[q]) == (along > length)
        shares[kind].append(share)
    return shares


def uniform(shares: list[float]) -> bool:
    """Kolmogorov-Smirnov distance to U(0, 1) below its 0.1 % point."""
    ordered = np.sort(shares)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return max(
        np.abs(ordered - steps[:-1]).max(), np.abs(ordered - steps[1:]).max()
    ) < 1.95 / math.sqrt(len(ordered))


@pytest.mark.parametrize("task", FORMS)
@pytest.mark.parametrize("distance", ["uniform", "fixed"])
def test_queries_lie_where_their_kind_says(make_batch: Make, task: OccupancyTask, distance: Any):
    points = make_batch(400, 0, 301, extent=20.0)
    task = replace(task, delta=0.3, distance=distance)
    shares = check_places(points, make_queries(points, task, draws(points), ORIGINS), ORIGINS, task)
    assert uniform(shares[SIGHT])
    for kind in (FRONT, BEHIND):
        if distance == "fixed":
            np.testing.assert_allclose(shares[kind], 1, atol=1e-5)
        else:
            assert uniform(shares[kind])


def test_a_triple_for_every_source(make_batch: Make):
    points = make_batch(800, 0, 3, 401, extent=20.0)
    queries = make_queries(points, PAPER, draws(points))
    assert queries.counts == (300, 0, 3, 153)  # 100, 0, 1 and 51 sources: an eighth, rounded up
    assert torch.equal(queries.scene.bincount(minlength=4), torch.tensor(queries.counts))
    assert torch.equal(queries.scene, queries.scene.sort().values)
    counts = Counter(zip(queries.source.tolist(), queries.kind.tolist(), strict=True))
    sources = set(queries.source.tolist())
    assert counts == Counter(
        (source, kind) for source in sources for kind in (FRONT, BEHIND, SIGHT)
    )
    assert (queries.weight == 1).all()


def test_queries_of_a_triple_are_drawn_apart(make_batch: Make):
    points = make_batch(2000, extent=20.0)
    queries = make_queries(points, EVERY, draws(points))
    length = points.xyz.norm(dim=1)[queries.source]
    step = queries.offset.norm(dim=1) / torch.where(queries.kind == SIGHT, length, EVERY.delta)
    correlation = torch.corrcoef(
        torch.stack([step[queries.kind == kind] for kind in (FRONT, BEHIND, SIGHT)])
    )
    assert (correlation - torch.eye(3)).abs().max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize(
    ("points_in_scene", "expected"), [(3000, (682, 684, 682)), (100, (33, 34, 33)), (2, (0, 2, 0))]
)
def test_thirds_have_distinct_sources(
    make_batch: Make, points_in_scene: int, expected: tuple[int, int, int]
):
    points = make_batch(50, points_in_scene, extent=20.0)
    queries = make_queries(points, ALSO, draws(points))
    assert queries.counts == (50, min(2048, points_in_scene))
    own = queries.scene == 1
    assert (
        tuple((queries.kind[own] == kind).sum().item() for kind in (FRONT, BEHIND, SIGHT))
        == expected
    )
    assert len(queries.source.unique()) == len(queries.source)


def test_sources_are_drawn_evenly(make_batch: Make):
    points, task, counts = (
        make_batch(20, 10, extent=20.0),
        replace(PAPER, share=0.3, queries="thirds"),
        np.zeros((3, 30)),
    )
    for trial in range(2000):
        queries = make_queries(points, task, draws(points, 2 * trial))
        np.add.at(counts, (queries.kind.numpy(), queries.source.numpy()), 1)
    for kind, share in ((FRONT, 2 / 6), (SIGHT, 2 / 6), (BEHIND, 2 / 6)):
        # 6 of 20 points and 3 of 10, a third of them for each kind.
        expected = 0.3 * share
        assert np.abs(counts[kind] / 2000 - expected).max() < 5 * math.sqrt(
            expected * (1 - expected) / 2000
        )


@pytest.mark.parametrize("task", FORMS)
def test_points_near_the_sensor_come_last_and_weigh_nothing(task: OccupancyTask):
    near, far = torch.zeros(6, 4), torch.zeros(6, 4)
    near[1:, 0] = 0.02 * torch.arange(1, 6)  # the last at delta itself, as float32 has it
    far[:, 1] = torch.arange(6) + 0.11
    points = PointBatch.from_clouds([torch.cat([near, far]), near, far])
    for seed in range(20):
        some = make_queries(points, replace(task, share=0.5), draws(points, 3 * seed))
        every = make_queries(points, task, draws(points, 3 * seed))
        for queries in (some, every):
            usable = points.xyz[queries.source].norm(dim=1) > task.delta
            assert torch.equal(queries.weight, usable.float())
            assert queries.offset.isfinite().all()
        assert (some.weight[some.scene == 0] == 1).all()  # six are wanted and six are usable
        assert (some.weight[some.scene == 1] == 0).all()
        assert len(every.source.unique()) == len(points)


@pytest.mark.parametrize("task", [PAPER, ALSO, replace(PAPER, count=40)])
def test_a_scene_asks_the_same_whatever_else_is_in_the_batch(make_batch: Make, task: OccupancyTask):
    points = make_batch(300, 100, 0, 500, extent=20.0)
    keys, last = (11, 12, 13, 14), points.scene == 3
    alone = PointBatch(points.xyz[last], points.intensity[last], points.scene[last] - 3, (500,))
    joint, single = (
        make_queries(points, task, Draws(points, keys)),
        make_queries(alone, task, Draws(alone, keys[3:])),
    )
    own = joint.scene == 3
    assert torch.equal(joint.source[own] - 400, single.source)
    for name in ("offset", "kind", "weight"):
        assert torch.equal(getattr(joint, name)[own], getattr(single, name))
    assert joint.counts[3:] == single.counts
    other = make_queries(alone, task, Draws(alone, [15]))
    assert not torch.equal(other.source, single.source)
    assert not torch.equal(other.offset, single.offset)


@pytest.mark.parametrize("task", FORMS)
def test_a_turned_scene_has_turned_queries(make_batch: Make, task: OccupancyTask):
    points = make_batch(300, 200, 100, extent=20.0)
    turns = torch.linalg.qr(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0))).Q
    turned = replace(points, xyz=torch.einsum("nij,nj->ni", turns[points.scene], points.xyz))
    moved = make_queries(points, task, draws(points)).transform(turns)
    expected = make_queries(turned, task, draws(turned))
    assert torch.equal(moved.source, expected.source)
    assert torch.equal(moved.kind, expected.kind)
    torch.testing.assert_close(moved.offset, expected.offset, atol=1e-5, rtol=0)
    assert not torch.allclose(
        make_queries(points, task, draws(points)).offset, expected.offset, atol=1e-2
    )


def test_presets():
    assert (PAPER.aggregation, PAPER.queries, PAPER.intensity, PAPER.count) == (
        "source",
        "triple",
        "mse",
        None,
    )
    assert (ALSO.aggregation, ALSO.queries, ALSO.intensity, ALSO.count) == (
        "radius",
        "thirds",
        "l1",
        2048,
    )
    assert [PAPER.sources(n) for n in (0, 1, 16384)] == [0, 1, 2048]
    assert [ALSO.sources(n) for n in (0, 1, 16384)] == [0, 1, 2048]


@pytest.mark.parametrize(
    "setting",
    [
        {"delta": 0.0},
        {"share": 1.5},
        {"share": math.nan},
        {"count": 0},
        {"radius": -1.0},
        {"max_neighbours": 0},
        {"neighbours": "last"},
        {"latent": 0},
        {"intensity_weight": -1.0},
        {"aggregation": "nearest"},
        {"queries": "pairs"},
    ],
)
def test_settings_out_of_range(setting: dict[str, Any]):
    with pytest.raises(CleverError, match=next(iter(setting))):
        OccupancyTask(**setting)
