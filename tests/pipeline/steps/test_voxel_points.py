"""One point a voxel: which point, how often each, and what becomes of its pairs, queries and the
network's input."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clever.cache import FeatureCache
from clever.errors import CleverError
from clever.pipeline.pretraining.frames import point_thinning
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import DistillationBatch, PairedFrame, PairedFrames
from clever.pipeline.steps.distillation import DistillationStep, Prepared
from clever.pipeline.steps.voxel_points import VoxelPoints
from clever.student.clouds.augment import Augmentation
from clever.student.draws import Draws
from clever.student.points import PointBatch

MakeCache = Callable[..., Path]
Cell = tuple[int, ...]


def cells(xyz: torch.Tensor, size: float) -> list[Cell]:
    """The voxel of every point, one by one."""
    return [tuple(math.floor(value / size) for value in point) for point in xyz.tolist()]


def augmented(frame: PairedFrame, augmentation: Augmentation | None) -> torch.Tensor:
    points = PointBatch.from_clouds([frame.points])
    return augmentation(points, Draws(points, [frame.key]))[0].xyz if augmentation else points.xyz


@pytest.mark.parametrize("augmentation", [None, Augmentation(rotate_p=1, jitter_sigma=0.1)])
def test_every_voxel_has_one_of_its_points(
    make_cache: MakeCache, augmentation: Augmentation | None
) -> None:
    whole = PairedFrames([FeatureCache(make_cache())])[0, 7]
    thinned = VoxelPoints(1.0, augmentation)(whole)
    assert torch.equal(thinned.points, whole.points[thinned.number])
    assert (thinned.number.diff() > 0).all()
    of_points = cells(augmented(whole, augmentation), 1.0)
    remaining = [of_points[number] for number in thinned.number.tolist()]
    assert len(remaining) == len(set(remaining)) < len(of_points)
    assert set(remaining) == set(of_points)


def test_points_of_a_voxel_are_equally_likely(make_cache: MakeCache) -> None:
    whole = PairedFrames([FeatureCache(make_cache())])[0, 0]
    of_points = cells(whole.points[:, :3], 1.5)
    thin, rounds = VoxelPoints(1.5, None), 1200
    hits = torch.zeros(len(of_points))
    for key in range(rounds):
        hits[thin(replace(whole, key=key)).number] += 1
    square, freedom = 0.0, 0
    for cell in set(of_points):
        own = hits[[number for number, other in enumerate(of_points) if other == cell]]
        assert own.sum() == rounds
        expected = rounds / len(own)
        square += float(((own - expected) ** 2 / expected).sum())
        freedom += len(own) - 1
    assert freedom > 80
    assert abs(square - freedom) < 5 * math.sqrt(2 * freedom)


def test_pairs_go_with_their_points(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache())
    thinning = VoxelPoints(1.0, Augmentation())
    whole, thinned = PairedFrames([cache])[2, 9], PairedFrames([cache], thinning=thinning)[2, 9]
    numbers = set(thinned.number.tolist())
    rows = list(zip(whole.pair_view, whole.pair_point, whole.pair_uv, strict=True))
    expected = [row for row in rows if int(row[1]) in numbers]
    assert 0 < len(expected) < len(rows)
    assert torch.equal(thinned.pair_view, torch.stack([view for view, _, _ in expected]))
    points = thinned.number[thinned.pair_point]
    assert torch.equal(points, torch.stack([point for _, point, _ in expected]))
    assert torch.equal(thinned.pair_uv, torch.stack([uv for _, _, uv in expected]))
    # A sample is one of the pairs that remain, and one camera is chosen before.
    few = PairedFrames([cache], thinning=thinning, pairs=5)[2, 9]
    assert torch.bincount(few.pair_view).tolist() == [5, 5]
    assert set(few.number[few.pair_point].tolist()) < set(points.tolist())
    one = PairedFrames([cache], view="one-camera", thinning=thinning)[2, 9]
    alone = PairedFrames([cache], view="one-camera")[2, 9]
    assert torch.equal(one.number, thinning(alone).number)
    assert torch.equal(one.pair_point, torch.arange(len(one.points)))


def test_a_frame_draws_alone_and_anew_each_time(make_cache: MakeCache) -> None:
    frames = PairedFrames([FeatureCache(make_cache())], thinning=VoxelPoints(1.0, Augmentation()))
    assert torch.equal(frames[1, 5].number, frames[1, 5].number)
    assert not torch.equal(frames[1, 5].number, frames[1, 6].number)


def test_a_cloud_without_an_end_is_told_by_its_frame(make_cache: MakeCache) -> None:
    whole = PairedFrames([FeatureCache(make_cache())])[3, 0]
    points = whole.points.index_fill(0, torch.tensor([4]), torch.nan)
    with pytest.raises(CleverError, match=r"^frame frame-3: .* not finite"):
        VoxelPoints(1.0, None)(replace(whole, points=points))


def step_and_batches(
    path: Path, mix3d: float
) -> tuple[DistillationStep, DistillationBatch, DistillationBatch]:
    """A step, and four frames with all points and with one a voxel."""
    values = {"cache": path, "student": "minkunet-tiny", "head_hidden": 16, "voxel_size": 0.8}
    cache = FeatureCache(path)
    step = build_step(PretrainSettings.resolve(None, {**values, "mix3d": mix3d}), [cache])
    every, voxel = (
        DistillationBatch.collate([frames[number, 50 + number] for number in range(4)])
        for frames in (
            PairedFrames([cache], thinning=point_thinning(points, step))
            for points in ("all", "voxel")
        )
    )
    return step, every, voxel


def network_input(prepared: Prepared) -> torch.Tensor:
    points = torch.cat([prepared.mixed.xyz, prepared.mixed.intensity[:, None]], 1)
    return points[prepared.voxels.representative]


@pytest.mark.parametrize("mix3d", [0.0, 1.0])
def test_the_network_sees_the_same_and_pairs_and_queries_come_from_one_point_a_voxel(
    make_cache: MakeCache, mix3d: float
) -> None:
    step, every, voxel = step_and_batches(make_cache(), mix3d)
    base, prepared = step.prepare(every), step.prepare(voxel)
    assert torch.equal(prepared.voxels.coords, base.voxels.coords)
    assert torch.equal(network_input(prepared), network_input(base))
    points, voxels = len(prepared.points), len(prepared.voxels.coords)
    if mix3d:
        # Thinned before clouds were mixed: a voxel has at most one point of each.
        place = torch.stack([prepared.voxels.inverse, prepared.points.scene], 1)
        assert len(place.unique(dim=0)) == points
        assert voxels < points < 2 * voxels
    else:
        assert points == voxels < len(base.points)
    # Every pair's target is the one that the same pair has with all points.
    names = [set(zip(*pair_names(batch), strict=True)) for batch in (voxel, every)]
    assert names[0] < names[1]
    assert prepared.targets[0].shape[0] == len(names[0]) == sum(voxel.view_pairs)
    for view in range(8):
        total = prepared.weight[voxel.pair_view == view].sum()
        torch.testing.assert_close(total, torch.tensor(1.0))
    assert prepared.queries is not None
    assert step.occupancy is not None
    counts = [step.occupancy.task.sources(count) for count in voxel.points.counts]
    assert prepared.queries.counts == tuple(3 * count for count in counts)
    assert step.counts(voxel) == {"distillation": 8, "frames": 4}


def pair_names(batch: DistillationBatch) -> tuple[list[int], list[int], list[float]]:
    """View, point of the whole cloud and u of every pair."""
    point = batch.number[batch.pair_point]
    return batch.pair_view.tolist(), point.tolist(), batch.pair_uv[:, 0].tolist()
