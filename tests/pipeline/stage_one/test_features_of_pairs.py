"""Layers that store the interpolated feature of every pair: made, read, verified, repaired, copied,
dropped and trained from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.drop import drop_teacher
from clever.cache.care.problems import Problem
from clever.cache.codec import decode
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.sampling import sample_tokens
from clever.cache.store.layout import PAIR_BLOCK
from clever.cache.store.records.commits import write_commit
from clever.cache.store.store import Store
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.stores import open_teachers
from clever.pipeline.repair import repair
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import RepairSettings, VerifySettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.stage_one.plan import plan
from clever.pipeline.stage_one.plan_sizes import kind_bytes
from clever.pipeline.steps.cached_frames import DistillationBatch, PairedFrames, PairTokens
from clever.pipeline.verify import verify


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.*")} | {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("c/*/*/*")
        if file.is_file()
    }


@pytest.fixture
def job(write_kitti: Callable[..., Path], tmp_path: Path) -> Callable[..., CacheTeacherSettings]:
    """Settings of 18 frames, two shards, through a small network."""
    root = write_kitti({"40": 18}, points=300)

    def settings(**changes: Any) -> CacheTeacherSettings:
        values = {
            "dataset": "semantickitti", "data_root": root, "sequences": ("40",),
            "cache": tmp_path / "run.zarr", "model": "test_vit", "weights": "random:1",
            "image_size": (32, 64), "device": "cpu", "split": "all", **changes,
        }  # fmt: skip
        return CacheTeacherSettings(**values)

    return settings


def problems_of(store: Path) -> list[Problem]:
    return verify(VerifySettings(path=store, data_root=None)).problems


def layers_of(job: Callable[..., CacheTeacherSettings], codec: str, *kinds: str) -> list[str]:
    return [cache_teacher(job(codec=codec, tokens=kind)).teacher.id for kind in kinds]


@pytest.mark.parametrize("codec", ["fp16", "int8", "int8-zstd"])
def test_features_are_those_that_sampling_gives(
    job: Callable[..., CacheTeacherSettings], tmp_path: Path, codec: str
) -> None:
    kinds = ("grid", "points", "points-centred")
    ids = layers_of(job, codec, *kinds)
    grid, *pair_layers = (FeatureCache(tmp_path / "run.zarr", name) for name in ids)
    for cache, align_corners in zip(pair_layers, (True, False), strict=True):
        for index in (0, 17):
            frame, own = grid[index], cache[index]
            assert own.tokens.shape == (len(frame.pair_point), grid.teacher.channels)
            expected = sample_tokens(
                frame.tokens, frame.pair_camera, frame.pair_uv, frame.image_size,
                frame.calibration, align_corners,
            )  # fmt: skip
            values = decode(own.tokens, own.calibration)
            step = 2e-3 * expected.abs().max()
            if own.calibration is not None:
                assert frame.calibration is not None
                assert torch.equal(own.calibration.step, frame.calibration.step)
                step = 1.01 * own.calibration.step
            assert ((values - expected).abs() <= step).all()
    infos = {info.id: info for info in Store(tmp_path / "run.zarr").teachers()}
    assert [infos[name].tokens for name in ids] == list(kinds)
    assert len(set(ids)) == 3
    assert problems_of(tmp_path / "run.zarr") == []


def test_damage_is_found_and_mended(
    job: Callable[..., CacheTeacherSettings], tmp_path: Path
) -> None:
    (layer,) = layers_of(job, "int8", "points")
    store = tmp_path / "run.zarr"
    before = content(store)
    file = store / f"teachers/{layer}/grid/c/0/0/0"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    (problem,) = problems_of(store)
    assert (problem.layer, problem.shard) == (layer, 0)
    assert "differs from its checksum" in problem.what
    summary = repair(RepairSettings(path=store, data_root=job().data_root, device="cpu"))
    assert (summary.remainder, summary.recomputed) == ([], [(layer, 0)])
    assert content(store) == before


def test_pairs_of_another_store_are_found(
    job: Callable[..., CacheTeacherSettings], tmp_path: Path
) -> None:
    (layer,) = layers_of(job, "fp16", "points")
    store = Store(tmp_path / "run.zarr")
    commit = store.commit(layer, 1)
    first, *others = commit.frames
    moved = replace(first, offsets=(0, first.pairs - 1))
    write_commit(store.path, replace(commit, frames=(moved, *others)))
    problems = problems_of(store.path)
    assert [problem.what for problem in problems if problem.shard == 1] == [
        "its pairs are not the store's"
    ]


def test_copies_and_what_is_dropped(
    job: Callable[..., CacheTeacherSettings], tmp_path: Path
) -> None:
    first, second = layers_of(job, "int8", "grid", "points")
    source = tmp_path / "run.zarr"
    Copy(source, tmp_path / "same.zarr", Selection(limit=17)).run(lambda _: None)
    Copy(source, tmp_path / "half.zarr", Selection((second,), codec="fp16")).run(lambda _: None)
    for name in ("same", "half"):
        assert problems_of(tmp_path / f"{name}.zarr") == []
    own = FeatureCache(source, second)
    same = FeatureCache(tmp_path / "same.zarr", second)
    half = FeatureCache(tmp_path / "half.zarr")
    assert (len(same), half.teacher.codec, half.teacher.tokens) == (17, "fp16", "points")
    assert torch.equal(same.tokens(16), own.tokens(16))
    torch.testing.assert_close(
        half.tokens(3).float(), decode(own.tokens(3), own.calibration), atol=1e-3, rtol=1e-3
    )
    drop_teacher(tmp_path / "same.zarr", second)
    assert [info.id for info in Store(tmp_path / "same.zarr").teachers()] == [first]


def test_training_reads_them_as_it_does_tokens(
    job: Callable[..., CacheTeacherSettings], tmp_path: Path
) -> None:
    ids = layers_of(job, "fp16", "grid", "points", "points-centred")
    values = {
        "cache": tmp_path / "run.zarr", "student": "minkunet-tiny", "head_hidden": 16,
        "voxel_size": 0.5, "epochs": 1, "batch_size": 6, "device": "cpu", "rankme_every": 0,
        "pairs": 40, "mix3d": 0.5,
    }  # fmt: skip
    losses = []
    for name in ids[:2]:
        settings = PretrainSettings.resolve(
            None, {**values, "teacher": name, "out": tmp_path / name}
        )
        losses.append(pretrain(settings).losses.first["distillation"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    caches = [FeatureCache(tmp_path / "run.zarr", name) for name in ids[:2]]
    for frames in (
        PairedFrames(caches, view="one-camera", pairs=25),
        PairedFrames(caches, view="all", pairs=25),
    ):
        batch = DistillationBatch.collate([frames[index, 9 + index] for index in range(3)])
        (by_grid,), (by_pairs,) = batch.teachers
        assert isinstance(by_pairs.tokens, PairTokens)
        place = (batch.pair_view, batch.pair_uv, batch.image_size, True)
        targets = by_pairs.tokens.features(*place)
        assert len(targets) == len(batch.pair_point) == by_pairs.pairs
        torch.testing.assert_close(targets, by_grid.tokens.features(*place), atol=5e-3, rtol=5e-3)
    odd = PretrainSettings.resolve(None, {**values, "teacher": ids[2]})
    with pytest.raises(CleverError, match="interpolated with `align_corners=no`; choose that"):
        open_teachers(odd)


def test_the_plan_says_what_each_kind_takes(
    job: Callable[..., CacheTeacherSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clever.pipeline.stage_one.plan.SECONDS", 0.1)
    reckoned = plan(job(tokens="points", codec="fp16"))
    assert reckoned
    (layer, sizes), *_ = reckoned.sample.kind_bytes.items()
    assert sizes["points"] % (PAIR_BLOCK * 2) == 0
    assert reckoned.sample.layer_bytes[layer] >= sizes["points"]
    assert f"tokens    a frame of {layer}: grid " in str(reckoned)
    smallest = min(sizes, key=lambda kind: sizes[kind])
    assert f"smallest: {smallest}" in str(reckoned)


def test_sizes_of_kinds_in_closed_form(job: Callable[..., CacheTeacherSettings]) -> None:
    cache_teacher(job(tokens="points"))
    (info,) = Store(job().store).teachers()
    intrinsics = np.array([[320.0, 0, 320], [0, 320, 160], [0, 0, 1]])
    camera = Camera("image_2", Path("x.png"), 640, 320, intrinsics, np.eye(4))
    frame = Frame("a", "s", 0, np.zeros((300, 4), np.float32), np.eye(4), (camera,))
    uv = np.full((257, 2), 100.0)
    pairs = Correspondences(np.arange(257, dtype=np.uint32), uv, np.array([0, 257]))
    cells = info.grid[0] * info.grid[1]
    assert kind_bytes(info.grid, info.channels, info.codec, [(frame, pairs)]) == {
        "grid": cells * info.channels,
        "hit": 64 * info.channels + cells,
        "points": 512 * info.channels,
    }
