"""Stage one: what is stored, what is not done twice, what bad frames and bad endings leave
behind."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.care.summary import summarise
from clever.cache.codec import decode
from clever.cache.images import load_image
from clever.cache.projection import visible_pairs
from clever.cache.store.files.lock import writer_lock
from clever.cache.store.layout import SHARD_ROWS
from clever.cache.store.records.commits import committed_shards
from clever.cache.store.store import Store
from clever.cache.store.writer import GridShard
from clever.cache.teacher import Features, Teacher, load_teacher, outputs
from clever.errors import CleverError, FrameError
from clever.pipeline import cache_teacher as module
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.calibration import batches_of, calibration_sample
from clever.pipeline.stage_one.request import find_layer, teacher_settings

Writes = Callable[..., Path]
SCRIPT = Path(__file__).with_name("interrupt_stage_one.py")


def settings(root: Path, cache: Path, **values: Any) -> CacheTeacherSettings:
    tiny = {
        "model": "resnet10t",
        "weights": "random:0",
        "image_size": (32, 64),
        "device": "cpu",
        "split": "all",
    }
    kind = "semantickitti" if (root / "sequences").exists() else "nuscenes"
    return CacheTeacherSettings(
        **{"dataset": kind, "data_root": root, "cache": cache, **tiny, **values}
    )


def fill(root: Path, cache: Path, **values: Any) -> CacheSummary:
    return cache_teacher(settings(root, cache, **values))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def refuse(*_: object, **__: object) -> Any:
    raise AssertionError("this should not have been needed")


def image(root: Path, number: int, sequence: str = "00") -> Path:
    return root / "sequences" / sequence / "image_2" / f"{number:06}.png"


def sweep(root: Path, number: int, sequence: str = "00") -> Path:
    return root / "sequences" / sequence / "velodyne" / f"{number:06}.bin"


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize("codec", ["int8", "fp16"])
def test_what_is_stored_is_what_dataset_and_teacher_give(
    write_kitti: Writes, tmp_path: Path, codec: str, tokens: str
) -> None:
    root, job = write_kitti({"00": 18}, poses=True), settings(Path("x/sequences"), Path("x"))
    summary = fill(root, tmp_path / "store.zarr", codec=codec, tokens=tokens)
    dataset, cache = SemanticKittiDataset(root, split="all"), FeatureCache(tmp_path / "store.zarr")
    teacher = load_teacher(teacher_settings(job)[0])
    assert (summary.requested, summary.written, summary.images, summary.failed, summary.unseen) == (
        18,
        18,
        18,
        [],
        0,
    )
    assert cache.ids == list(dataset.frame_ids)
    for number, cached in enumerate(cache):
        frame = dataset.frame(number)
        np.testing.assert_array_equal(cached.points.numpy(), frame.points)
        np.testing.assert_array_equal(cached.global_from_lidar.numpy(), frame.global_from_lidar)
        assert (cached.id, cached.scene, cached.timestamp) == (
            frame.id,
            frame.scene,
            frame.timestamp,
        )
        pairs = visible_pairs(frame)
        np.testing.assert_array_equal(cached.pair_point.numpy(), pairs.point)
        pixels = cached.pair_uv.numpy() * [124, 38] - 0.5
        assert np.abs(pixels - pairs.uv).max() < 0.01
        picture = teacher.preprocess(load_image(frame.cameras[0].image))
        features = teacher.features(picture[None])
        values = decode(cached.tokens, cached.calibration)
        stored = (
            torch.ones_like(values[..., 0]) > 0
            if tokens == "grid"
            else (cached.tokens != 0).any(-1)
        )
        bound = (
            0.51 * cached.calibration.step if cached.calibration else 1e-3 * features.abs() + 1e-6
        )
        assert bool(((values - features).abs() <= bound + 1e-4)[stored].all())
        assert bool(stored.any())


def test_the_store_remembers_splits(write_kitti: Writes, tmp_path: Path) -> None:
    fill(write_kitti({"00": 2, "08": 1, "40": 1}), tmp_path / "store.zarr")
    commit = Store(tmp_path / "store.zarr").commit("points", 0)
    assert [(record.id, record.split) for record in commit.frames] == [
        ("00/000000", "train"),
        ("00/000001", "train"),
        ("08/000000", "val"),
        ("40/000000", ""),
    ]


def test_intensity_scale_is_noticed_and_remembered(
    write_nuscenes: Writes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, path = write_nuscenes({"scene-0061": 3}, labels=False), tmp_path / "store.zarr"
    for file in (root / "samples/LIDAR_TOP").iterdir():
        rows = np.fromfile(file, np.float32).reshape(-1, 5)
        rows[:, 3] /= 255
        rows.tofile(file)
    fill(root, path)
    assert (
        "nuscenes: in 3 of 3 sweeps looked at the brightest point has 0.00392 of full intensity; "
        "if the file's full intensity is not 255, give it with" in capsys.readouterr().err
    )
    summary = summarise(path)
    assert (summary.base.intensity_scale, summary.dark) == (255, 3)
    with pytest.raises(CleverError, match=r"intensity_scale: stored 255\.0, .* 1\.0"):
        fill(root, path, dataset_option="intensity_scale=1")
    fill(root, tmp_path / "right.zarr", dataset_option="intensity_scale=1")
    assert "brightest" not in capsys.readouterr().err
    summary = summarise(tmp_path / "right.zarr")
    points = np.concatenate(
        [frame.points.numpy() for frame in FeatureCache(tmp_path / "right.zarr")]
    )
    assert summary.intensity is not None
    assert (summary.base.intensity_scale, summary.dark) == (1, 0)
    assert summary.intensity.mean == pytest.approx(points[:, 3].mean(), rel=1e-6)
    assert summary.intensity.std == pytest.approx(points[:, 3].std(), rel=1e-5)
    with pytest.raises(CleverError, match="intensity_scale=bright` is no positive number"):
        fill(root, tmp_path / "no.zarr", dataset_option="intensity_scale=bright")


def test_a_complete_store_that_cannot_be_written_to_is_complete(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, path = write_kitti({"00": 2, "08": 1}), tmp_path / "place/store.zarr"
    fill(root, path, split="train")
    before = times(path)
    monkeypatch.setattr(module.os, "access", lambda place, _: Path(place) != path.parent)
    monkeypatch.setattr(module, "writer_lock", refuse)
    summary = fill(root, path, split="train")
    assert (summary.requested, summary.written, times(path)) == (2, 0, before)
    for more in ({"split": "all"}, {"codec": "fp16"}):
        with pytest.raises(AssertionError, match="not have been needed"):
            fill(root, path, **{"split": "train", **more})


def test_a_frame_that_features_would_refuse_is_skipped(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 4})
    for number, (place, value) in enumerate(((0, 1e30), (1, 9000.0))):
        rows = np.fromfile(sweep(root, number), np.float32).reshape(-1, 4)
        rows[3, place] = value
        rows.tofile(sweep(root, number))
    sweep(root, 2).write_bytes(sweep(root, 2).read_bytes()[:16])
    summary = fill(root, tmp_path / "store.zarr")
    assert [frame for frame, _ in summary.failed] == [f"00/00000{n}" for n in range(3)]
    for (_, reason), words in zip(
        summary.failed,
        ("point 3, at 1e+30 m", "point 3, at 9000 m", "its only point spans 0 m"),
        strict=True,
    ):
        assert words in reason


def test_nothing_to_do_needs_no_teacher(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_kitti({"00": 20})
    first = fill(root, tmp_path / "store.zarr")
    before = times(tmp_path / "store.zarr")
    monkeypatch.setattr(module, "load_teachers", refuse)
    again = fill(root, tmp_path / "store.zarr")
    assert (again.written, again.images, again.requested) == (0, 0, 20)
    assert (again.teacher, again.fidelity) == (first.teacher, first.fidelity)
    assert fill(root, tmp_path / "store.zarr", limit=5).requested == 5
    assert times(tmp_path / "store.zarr") == before
    for other in (
        {"codec": "fp16"},
        {"image_size": (64, 64)},
        {"layer": "stride:8"},
        {"weights": "random:1"},
    ):
        with pytest.raises(AssertionError, match="not have been needed"):
            fill(root, tmp_path / "store.zarr", **other)


def test_a_limit_within_a_known_shard_stores_it_whole_and_says_so(
    write_kitti: Writes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_kitti({"00": 20})
    fill(root, tmp_path / "store.zarr")
    assert "lie in the same shards" not in capsys.readouterr().err
    result = fill(root, tmp_path / "store.zarr", codec="fp16", limit=5)
    assert (result.written, result.requested) == (16, 5)
    messages = capsys.readouterr().err
    assert "11 frames more lie in the same shards, which are stored whole\n" in messages
    assert "16/16 frames" in messages


def test_nothing_to_do_needs_no_nuscenes_tables(
    write_nuscenes: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_nuscenes({"scene-0061": 2, "scene-0103": 1})
    assert fill(root, tmp_path / "store.zarr", limit=2).written == 2
    whole = fill(root, tmp_path / "store.zarr")
    monkeypatch.setattr(module, "open_dataset", refuse)
    assert fill(root, tmp_path / "store.zarr") == replace(
        whole, attempted=0, written=0, images=0, seconds=0.0
    )
    assert fill(root, tmp_path / "store.zarr", limit=2).requested == 2
    with pytest.raises(AssertionError, match="not have been needed"):
        fill(root, tmp_path / "store.zarr", split="train")
    tables = root / "v1.0-mini" / "sample.json"
    os.utime(tables, ns=(0, tables.stat().st_mtime_ns + 1))
    with pytest.raises(AssertionError, match="not have been needed"):
        fill(root, tmp_path / "store.zarr")


def test_weights_in_a_file_are_known_by_their_content(write_kitti: Writes, tmp_path: Path) -> None:
    root, teacher = (
        write_kitti({"00": 3}),
        teacher_settings(settings(Path("x/sequences"), Path("x")))[0],
    )
    network: Any = load_teacher(teacher).network.module
    torch.save(network.state_dict(), tmp_path / "a.pth")
    first = fill(root, tmp_path / "store.zarr", weights=str(tmp_path / "a.pth"))
    (tmp_path / "a.pth").rename(tmp_path / "b.pth")
    again = fill(root, tmp_path / "store.zarr", weights=str(tmp_path / "b.pth"))
    assert (again.written, again.teacher.id) == (0, first.teacher.id)
    state = {
        name: value + 1 if name == "conv1.0.weight" else value
        for name, value in network.state_dict().items()
    }
    torch.save(state, tmp_path / "b.pth")
    other = fill(root, tmp_path / "store.zarr", weights=str(tmp_path / "b.pth"))
    assert other.written == 3
    assert other.teacher.id != first.teacher.id


def test_a_layer_is_known_by_its_own_name_too(write_kitti: Writes, tmp_path: Path) -> None:
    """A store that remembers what the default was called when it was made."""
    fill(write_kitti({"00": 1}), tmp_path / "store.zarr")
    (info,) = Store(tmp_path / "store.zarr").teachers()
    assert info.request
    request, own = info.request, info.fingerprint.layer

    def layer_of(name: str) -> object:
        older = replace(info, request=request.model_copy(update={"layer": name}))
        store: Any = SimpleNamespace(teachers=lambda: [older])
        return find_layer(store, request.model_copy(update={"layer": own}))

    assert layer_of("the default of then") is not None
    store: Any = SimpleNamespace(teachers=lambda: [info])
    assert find_layer(store, request.model_copy(update={"layer": "another"})) is None


def test_another_teacher_leaves_the_rest_alone(write_kitti: Writes, tmp_path: Path) -> None:
    root, store = write_kitti({"00": 20}), tmp_path / "store.zarr"
    first = fill(root, store).teacher.id
    before = times(store)
    second = fill(root, store, codec="fp16").teacher.id
    after = times(store)
    assert {info.id for info in Store(store).teachers()} == {first, second}
    assert {path: after[path] for path in before} == before
    assert FeatureCache(store, first).ids == FeatureCache(store, second).ids


def test_more_frames_extend_a_store(write_kitti: Writes, tmp_path: Path) -> None:
    root, store = write_kitti({"00": 20, "08": 10}), tmp_path / "store.zarr"
    fill(root, store, sequences=("00",))
    before = {
        path: stamp
        for path, stamp in times(store).items()
        if "/c/" in str(path) and "frames" not in path.parts
    }
    frames = FeatureCache(store)[:]
    assert fill(root, store).written == 10
    views = {"status", "mean", "deviation"}  # these tell of all frames
    shards = [path for path in before if views.isdisjoint(path.parts)]
    assert {path: times(store)[path] for path in shards} == {path: before[path] for path in shards}
    cache = FeatureCache(store)
    tokens = torch.cat([decode(frame.tokens, frame.calibration).flatten(0, -2) for frame in cache])
    assert cache.stored_moments is not None
    mean, deviation = (
        torch.from_numpy(part)
        for part in (cache.stored_moments.mean, cache.stored_moments.deviation)
    )
    torch.testing.assert_close(mean, tokens.double().mean(0), rtol=1e-4, atol=1e-5)
    deviations = tokens.double().std(0, correction=0)
    torch.testing.assert_close(deviation, deviations, rtol=1e-4, atol=1e-5)
    assert cache.ids == list(SemanticKittiDataset(root, split="all").frame_ids)
    for old, new in zip(frames, cache, strict=False):
        assert torch.equal(old.tokens, new.tokens)
        assert torch.equal(old.points, new.points)


def test_frames_that_come_to_others_are_said(
    write_kitti: Writes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, store = write_kitti({"00": 2, "08": 1}), tmp_path / "store.zarr"
    words = f"{store} holds 2 other frames; the new ones (1) join them"
    fill(root, store, sequences=("00",))
    assert "other frame" not in capsys.readouterr().err
    fill(root, store, sequences=("08",))
    assert words in capsys.readouterr().err
    fill(root, store, sequences=("08",))
    fill(root, store)
    assert "other frame" not in capsys.readouterr().err


def test_other_base_settings_name_the_fields(
    write_kitti: Writes, write_nuscenes: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitti, nuscenes = write_kitti({"00": 1}), write_nuscenes({"scene-0061": 1})
    fill(kitti, tmp_path / "store.zarr")
    monkeypatch.setattr(module, "load_teachers", refuse)
    with pytest.raises(CleverError) as failure:
        fill(nuscenes, tmp_path / "store.zarr")
    assert "cameras: stored ['image_2'], wanted ['CAM_FRONT_LEFT'" in str(failure.value)
    assert "dataset: stored 'semantickitti', wanted 'nuscenes'" in str(failure.value)
    with pytest.raises(
        CleverError, match=r"other settings: occlusion: stored 'none', wanted 'parallax'; choose"
    ):
        fill(kitti, tmp_path / "store.zarr", occlusion="parallax")


@pytest.mark.parametrize("content", ["file", "folder"])
def test_something_else_is_told_before_teachers_are_loaded(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "store"
    if content == "folder":
        path.mkdir()
    (path / "a" if content == "folder" else path).write_text("mine")
    monkeypatch.setattr(module, "load_teachers", refuse)
    with pytest.raises(CleverError, match="store exists and is no feature cache; choose another"):
        fill(write_kitti({"00": 1}), path)


def test_a_store_being_written_names_its_writer(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 1})
    with (
        writer_lock(tmp_path / "store.zarr"),
        pytest.raises(CleverError, match=f"written by process {os.getpid()} on"),
    ):
        fill(root, tmp_path / "store.zarr")


def test_bytes_do_not_depend_on_threads(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 40})
    fill(root, tmp_path / "one.zarr", decoders=1, codec="int8-zstd")
    torch.set_num_threads(3)
    fill(root, tmp_path / "three.zarr", decoders=4, codec="int8-zstd")
    assert torch.get_num_threads() == 3
    assert tree(tmp_path / "one.zarr") == tree(tmp_path / "three.zarr")


def test_cut_off_runs_end_like_whole_ones(write_kitti: Writes, tmp_path: Path) -> None:
    """A few shards, then the rest by another run: as one run, down to the last byte."""
    root = write_kitti({"00": 40})
    fill(root, tmp_path / "whole.zarr")
    calls = iter(range(5))

    def interrupted(teachers: list[Teacher], images: torch.Tensor) -> list[Features]:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return outputs(teachers, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clever.pipeline.stage_one.fill.REUSE_BYTES", 0)
        patch.setattr("clever.pipeline.stage_one.fill.outputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill(root, tmp_path / "parts.zarr")
    store = Store(tmp_path / "parts.zarr")
    (layer,) = (info.id for info in store.teachers())
    assert len(committed_shards(store.path, layer)) < 3
    assert not list(store.path.rglob("*.part"))
    (store.path / "points/xyzi/c/0").mkdir(parents=True, exist_ok=True)
    (store.path / "points/xyzi/c/0/.0.abcd.part").write_bytes(b"left by a kill")
    fill(root, tmp_path / "parts.zarr")
    assert tree(tmp_path / "parts.zarr") == tree(tmp_path / "whole.zarr")


# What is done to the files of a frame, what its skipping then says, and whether points and pairs
# are stored.
def _truncate(root: Path) -> None:
    image(root, 3).write_bytes(image(root, 3).read_bytes()[:1500])


def _remove(root: Path) -> None:
    image(root, 3).unlink()


def _spoil_points(root: Path) -> None:
    points = np.fromfile(sweep(root, 3), np.float32)
    points[5] = np.nan
    points.tofile(sweep(root, 3))


def _empty(root: Path) -> None:
    sweep(root, 3).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "reason", "points", "codec"),
    [
        (_truncate, "000003.png: cannot be decoded", True, "int8"),
        (_truncate, "000003.png: cannot be decoded", True, "fp16"),
        (_remove, "000003.png", False, "int8"),
        (_spoil_points, "000003.bin holds NaN or infinite values", False, "int8"),
        (_empty, "000003.bin is empty", False, "int8"),
    ],
)
def test_a_bad_frame_is_recorded_skipped_and_retried(
    write_kitti: Writes,
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
    points: bool,
    codec: str,
) -> None:
    root, store = write_kitti({"00": 20}), tmp_path / "store.zarr"
    fill(root, tmp_path / "clean.zarr", codec=codec)
    contents = {path: path.read_bytes() for path in (image(root, 3), sweep(root, 3))}
    damage(root)
    with pytest.raises(FrameError, match=rf"^frame 00/000003: .*{reason}"):
        fill(root, tmp_path / "strict.zarr", codec=codec, strict=True)
    assert not list((tmp_path / "strict.zarr").rglob("*.part"))
    summary = fill(root, store, codec=codec)
    assert [frame for frame, _ in summary.failed] == ["00/000003"]
    assert reason in summary.failed[0][1]
    assert len(FeatureCache(store)) == 19
    failures = summarise(store).failures
    assert [record.id for record in failures[summary.teacher.id]] == ["00/000003"]
    assert failures[summary.teacher.id][0].time[:2] == "20"
    assert len(failures["points"]) == (0 if points else 1)
    assert fill(root, store, codec=codec).failed == summary.failed  # not tried again unasked
    assert fill(root, store, codec=codec, retry_failed=True).failed == summary.failed
    for path, content in contents.items():
        path.write_bytes(content)
    assert fill(root, store, codec=codec, retry_failed=True).failed == []
    assert tree(store) == tree(tmp_path / "clean.zarr")
    assert fill(root, store, codec=codec, retry_failed=True).written == 0


def test_a_frame_outside_the_calibration_costs_its_shard_alone(
    write_kitti: Writes, tmp_path: Path
) -> None:
    root, path = write_kitti({"00": 64}, points=20), tmp_path / "clean.zarr"
    info, store = fill(root, path, batch_images=2).teacher, Store(path)
    calibration = store.calibration(info)
    store.set_calibration(info, None)
    sampled = {row for _, rows in calibration_sample(store, info, [0, 1, 2, 3], 2) for row in rows}
    assert len(sampled) == 32
    store.set_calibration(info, calibration)
    row = min(set(range(64)) - sampled)
    content = image(root, row).read_bytes()
    image(root, row).write_bytes(content[:99])
    fill(root, tmp_path / "store.zarr", batch_images=2)
    image(root, row).write_bytes(content)
    before = times(tmp_path / "store.zarr")
    assert fill(root, tmp_path / "store.zarr", batch_images=2, retry_failed=True).written == 16
    after = times(tmp_path / "store.zarr")
    changed = {
        path
        for path in before
        if before[path] != after[path] and "c" in path.parts and "grid" in path.parts
    }
    assert [path.parts[-5] for path in changed] == [str(row // 16)]
    assert {path.relative_to(tmp_path / "store.zarr") for path in changed} < set(
        map(Path, tree(path))
    )


def test_frames_that_no_camera_sees_are_kept_without_pairs(
    write_kitti: Writes, tmp_path: Path
) -> None:
    root = write_kitti({"00": 4})
    points = np.fromfile(sweep(root, 2), np.float32).reshape(-1, 4)
    points[:, 0] = -5  # all behind the camera
    points.tofile(sweep(root, 2))
    summary = fill(root, tmp_path / "store.zarr")
    assert (summary.failed, summary.unseen) == ([], 1)
    frame = FeatureCache(tmp_path / "store.zarr")[2]
    assert len(frame.pair_point) == 0
    np.testing.assert_array_equal(frame.points.numpy(), points)


def test_features_that_are_not_finite_are_a_bad_frame(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_kitti({"00": 20})

    def spoiled(teachers: list[Teacher], images: torch.Tensor) -> list[Features]:
        (features,) = outputs(teachers, images)
        grid = features.grid.clone()
        bad = torch.stack([teachers[0].preprocess(load_image(image(root, 5)))])
        grid[(images == bad).flatten(1).all(1)] = float("nan")
        return [Features(grid)]

    monkeypatch.setattr("clever.pipeline.stage_one.fill.outputs", spoiled)
    summary = fill(root, tmp_path / "store.zarr")
    assert [frame for frame, _ in summary.failed] == ["00/000005"]
    assert "NaN or infinity; try `precision=fp32`" in summary.failed[0][1]
    assert (summary.requested, summary.attempted, summary.written, summary.images) == (
        20, 20, 19, 19,
    )  # fmt: skip
    with pytest.raises(FrameError, match="frame 00/000005: the teacher's features"):
        fill(root, tmp_path / "strict.zarr", strict=True)


def test_only_bad_frames_say_why(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 3}, images=False)
    with pytest.raises(
        CleverError,
        match=r"none of 3 frames can be used; the first, 00/000000: no image .*000000.png",
    ):
        fill(root, tmp_path / "store.zarr")
    # Nothing was cached, and nothing is left; what is no store stays as it was.
    assert not (tmp_path / "store.zarr").exists()
    assert not list(tmp_path.glob("*choices*"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(CleverError, match="exists and is no feature cache"):
        fill(root, tmp_path / "own")
    assert (tmp_path / "own/notes.txt").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a given size; called again it changes the size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        options = ("remount," if os.path.ismount(folder) else "") + f"size={size}"
        process = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if process.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {process.stderr.strip()}")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_costs_nothing_committed(
    write_kitti: Writes, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    root = write_kitti({"00": 40}, points=3000)
    fill(root, tmp_path / "whole.zarr")
    stopped = 0
    disk = tmp_path
    for size in range(100, 12_000, 700):
        disk = small_disk(f"{size}k")
        try:
            fill(root, disk / "store.zarr")
        except CleverError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
            assert not list(disk.rglob("*.part"))
            stopped += 1
    assert stopped >= 3
    assert tree(disk / "store.zarr") == tree(tmp_path / "whole.zarr")


def test_a_failed_write_keeps_the_commit_behind_it_from_counting(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer thread may be done with all that is queued before anyone asks how a write went."""

    class Prompt(ThreadPoolExecutor):
        def submit(self, *args: Any, **options: Any) -> Any:
            future = super().submit(*args, **options)
            wait([future])
            return future

    def add(self: GridShard, row: int, *rest: Any) -> None:
        if row == broken:
            raise OSError(28, "No space left on device")
        original(self, row, *rest)

    root, original = write_kitti({"00": 40}), GridShard.add
    fill(root, tmp_path / "whole.zarr")
    monkeypatch.setattr("clever.pipeline.stage_one.fill.ThreadPoolExecutor", Prompt)
    for number, broken in enumerate((0, 15, 31, 39)):  # the last ones are followed by a commit
        store = tmp_path / f"{number}.zarr"
        monkeypatch.setattr(GridShard, "add", add)
        with pytest.raises(OSError, match="No space left"):
            fill(root, store)
        monkeypatch.setattr(GridShard, "add", original)
        (info,) = Store(store).teachers()
        layer = info.id
        assert committed_shards(store, layer) == list(range(broken // SHARD_ROWS))
        fill(root, store)
        assert tree(store) == tree(tmp_path / "whole.zarr")


@pytest.mark.parametrize(("signal", "default"), [("KILL", 12), ("INT", 6)])
@pytest.mark.slow
def test_interrupted_at_random_instants(
    write_kitti: Writes, tmp_path: Path, signal: str, default: int
) -> None:
    root, kills = write_kitti({"00": 40}), int(os.environ.get("CLEVER_KILLS", default))
    command = [
        sys.executable,
        SCRIPT,
        root,
        tmp_path / "stores",
        "--kills",
        str(kills),
        "--signal",
        signal,
    ]
    process = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["identical"]
    assert report["died"] == kills


def test_batches_stay_inside_a_shard(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 20, "08": 3}, points=10)
    fill(root, tmp_path / "store.zarr", sequences=("00",))
    fill(root, tmp_path / "store.zarr")
    batches = list(batches_of(Store(tmp_path / "store.zarr"), [0, 1, 2], 12))
    assert batches == [
        (0, tuple(range(12))),
        (0, tuple(range(12, 16))),
        (1, tuple(range(16, 20))),
        (2, (32, 33, 34)),
    ]


def test_each_seal_is_read_once(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_kitti({"00": 20}, points=50)
    layer = fill(root, tmp_path / "store.zarr").teacher.id
    reads: Counter[str] = Counter()
    read_bytes = Path.read_bytes

    def counted(path: Path) -> bytes:
        if path.name == "seal.json":
            reads[path.parents[2].name] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert fill(root, tmp_path / "store.zarr", precision="fp32").written == 0
    assert reads == {"points": 1, layer: 1}
    reads.clear()
    # With the precision left open the store is looked at before it is opened for writing.
    assert fill(root, tmp_path / "store.zarr").written == 0
    assert reads == {"points": 2, layer: 2}
    reads.clear()
    # A second layer, which is written anew.
    fill(root, tmp_path / "store.zarr", codec="fp16", precision="fp32")
    assert reads[layer] == 1
