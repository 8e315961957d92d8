"""Frames of a cache as a step sees them: views, samples of pairs, several teachers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from clever.cache import FeatureCache
from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.pretraining.stores import open_teachers
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import (
    DistillationBatch,
    PairedFrames,
    one_camera,
    sample_pairs,
)
from clever.pipeline.steps.distillation import DistillationStep
from clever.student.losses.pairs import pair_distances

MakeCache = Callable[..., Path]


def test_a_frame_is_the_cache_s(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache())
    stored, frame = cache[3], PairedFrames([cache])[3, 77]
    assert (frame.id, frame.key) == (stored.id, 77)
    assert torch.equal(frame.points, stored.points)
    assert torch.equal(frame.pair_view, stored.pair_camera)
    assert torch.equal(frame.teachers[0].tokens, stored.tokens)


def test_frames_that_cannot_be_trained_on_are_left_out_by_name(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    path = make_cache()
    cache = FeatureCache(path)
    for number in range(5):
        xyz = cache[number].points[:, :3]
        assert cache.bounds(number).tolist() == [xyz.amin(0).tolist(), xyz.amax(0).tolist()]
    highest = sorted(float(cache.bounds(number)[1, 0]) for number in range(5))
    frames = PairedFrames(
        [cache], limit=4, fault=lambda bounds: "too wide" if bounds[1, 0] == highest[-1] else ""
    )
    widest = next(n for n in range(5) if float(cache.bounds(n)[1, 0]) == highest[-1])
    expected = [f"frame-{n}" for n in range(4) if n != widest]
    assert frames.ids == expected
    assert frames.unfit == ({f"frame-{widest}": "too wide"} if widest < 4 else {})
    with pytest.raises(CleverError, match=r"none of 5 frames of .*, frame-0: too small"):
        PairedFrames([cache], fault=lambda bounds: "too small")
    # Records from before bounds were kept say none: the points tell.
    zarr.open_array(path / "frames/bounds", mode="r+")[...] = np.nan
    older = FeatureCache(path)
    assert older.bounds(3).tolist() == cache.bounds(3).tolist()


def test_one_camera_keeps_its_points_pairs_and_tokens(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache())
    stored = cache[2]
    cameras = set()
    for number in range(20):
        frame = PairedFrames([cache], view="one-camera")[2, number]
        camera = 0 if len(frame.points) == 66 else 1
        cameras.add(camera)
        members = stored.pair_camera == camera
        assert torch.equal(frame.points, stored.points[stored.pair_point[members]])
        assert torch.equal(
            frame.points[frame.pair_point], stored.points[stored.pair_point[members]]
        )
        assert torch.equal(frame.pair_uv, stored.pair_uv[members])
        assert frame.pair_view.tolist() == [0] * int(members.sum())
        assert frame.image_size.tolist() == [stored.image_size[camera].tolist()]
        assert torch.equal(frame.teachers[0].tokens, stored.tokens[camera : camera + 1])
    assert cameras == {0, 1}


def test_a_camera_that_sees_nothing_is_not_chosen(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache(unpaired=(1,)))
    frames = PairedFrames([cache])
    blind = frames[1, 0]
    assert one_camera(blind) is blind
    half = frames[2, 0]
    only = half.pair_view == 1
    half = replace(
        half,
        pair_point=half.pair_point[only],
        pair_view=half.pair_view[only],
        pair_uv=half.pair_uv[only],
    )
    assert all(len(one_camera(replace(half, key=key)).points) == 100 for key in range(10))


def test_a_sample_of_pairs_is_uniform_within_each_view(make_cache: MakeCache) -> None:
    frames = PairedFrames([FeatureCache(make_cache())])
    whole = frames[0, 0]
    rows = {
        (int(view), int(point))
        for view, point in zip(whole.pair_view, whole.pair_point, strict=True)
    }
    hits = torch.zeros(2, len(whole.points))
    for key in range(400):
        frame = sample_pairs(replace(whole, key=key), 33)
        assert torch.bincount(frame.pair_view).tolist() == [33, 33]
        assert torch.equal(frame.pair_view, frame.pair_view.sort().values)
        sample = {
            (int(view), int(point))
            for view, point in zip(frame.pair_view, frame.pair_point, strict=True)
        }
        assert len(sample) == 66
        assert sample < rows
        hits[frame.pair_view, frame.pair_point] += 1
    for view, share in ((0, 1 / 2), (1, 1 / 3)):
        rates = hits[view][hits[view] > 0] / 400
        assert len(rates) == (66, 100)[view]
        assert (rates - share).abs().max() < 5 * (share * (1 - share) / 400) ** 0.5
    assert torch.equal(sample_pairs(whole, 1000).pair_uv, whole.pair_uv)


def settings(cache: Path, out: Path, **changes: object) -> PretrainSettings:
    values = {
        "cache": cache,
        "out": out,
        "student": "minkunet-tiny",
        "head_hidden": 16,
        "voxel_size": 0.5,
        "epochs": 2,
    }
    return PretrainSettings.resolve(
        None, {**values, "batch_size": 2, "device": "cpu", "rankme_every": 0, **changes}
    )


def test_several_teachers_teach_at_once_and_each_has_its_head(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    """Losses against one teacher at a time: same student, same draws."""
    path = make_cache(second=True)
    both = settings(path, tmp_path / "both", teacher=["toy", "other"], mix3d=0)
    caches = open_teachers(both)
    step = build_step(both, caches)
    heads: Any = step.heads
    assert [head[-1].out_features for head in heads] == [6, 8]

    def losses(step: DistillationStep, caches: list[FeatureCache]) -> dict[str, float]:
        batch = DistillationBatch.collate(
            [PairedFrames(caches)[number, number] for number in range(4)]
        )
        totals = {name: torch.tensor(float(count)) for name, count in step.counts(batch).items()}
        return {name: float(loss.detach()) for name, loss in step(batch, totals).items()}

    together = losses(step, caches)
    alone = [losses(build_step(both, [cache]), [cache])["distillation"] for cache in caches]
    assert [name for name in together if name.startswith("distillation/")] == [
        f"distillation/{cache.teacher.id}" for cache in caches
    ]
    assert list(together.values())[2:4] == pytest.approx(alone)
    assert together["distillation"] == pytest.approx(sum(alone) / 2)

    result = pretrain(both)
    assert result.teacher_ids == [cache.teacher.id for cache in caches]
    heads = sorted(file.name for file in (tmp_path / "both").glob("head*"))
    assert heads == sorted(f"head-{cache.teacher.id}.safetensors" for cache in caches)
    with pytest.raises(CleverError, match="give each teacher once"):
        open_teachers(settings(path, tmp_path, teacher=["toy", "toy-3x5"]))


def test_frames_that_lack_a_teacher_are_named_and_left_out(
    make_cache: MakeCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_cache(second=True, lacking=(1, 3))
    result = pretrain(settings(path, tmp_path / "run", teacher="toy,other"))
    assert (result.frames, result.missing) == (3, ["frame-1", "frame-3"])
    line = "2 of 5 frames are not in every layer that is read: frame-1, frame-3"
    assert line in capsys.readouterr().err


def test_teachers_without_a_common_frame_are_refused(make_cache: MakeCache, tmp_path: Path) -> None:
    caches = open_teachers(settings(make_cache(second=True), tmp_path, teacher="toy,other"))
    caches[1].ids = ["elsewhere"]
    with pytest.raises(
        CleverError, match=r"has no frame with all of toy-3x5-\w+, other-2x2-\w+; run cache-teacher"
    ):
        PairedFrames(caches)


def test_the_second_teacher_s_targets_are_decoded_tokens(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache(second=True), "other")
    frame = PairedFrames([cache])[0, 0]
    grid = frame.teachers[0]
    assert grid.calibration is not None
    decoded = grid.calibration.centre + grid.calibration.step * grid.tokens.float()
    original = torch.randn(2, 2, 2, 8, generator=torch.Generator().manual_seed(1))
    assert pair_distances(decoded.view(-1, 8), original.view(-1, 8)).max() < 0.02
