"""Repair brings a damaged store back byte for byte; verification compares it with its dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.cache.care.copy import Copy, Selection
from clever.cache.store.files.lock import writer_lock
from clever.cache.store.records.commits import commit_path, read_commit
from clever.cache.store.records.seals import seal_path
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.repair import RepairSummary, repair
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import RepairSettings, VerifySettings
from clever.pipeline.verify import VerifySummary, verify

from ..store_files import content

BAD = 3
"""A frame whose image is damaged: points and pairs hold it, the teachers skip it."""


def flip(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(data)


class World:
    """A drive of 19 frames and a store of it with two teachers, in two shards."""

    def __init__(self, root: Path, store: Path) -> None:
        self.root, self.store = root, store
        image = root / f"sequences/40/image_2/{BAD:06}.png"
        image.write_bytes(image.read_bytes()[:500])
        self.layers = [
            self.cache(model="test_resnet"),
            self.cache(model="test_vit", codec="int8-zstd", tokens="hit"),
        ]
        self.intact = content(store)

    def cache(self, **settings: Any) -> str:
        values = {
            "dataset": "semantickitti",
            "data_root": self.root,
            "sequences": ("40",),
            "cache": self.store,
        }
        values |= {"weights": "random:1", "image_size": (32, 64), "device": "cpu"}
        return cache_teacher(CacheTeacherSettings(**values, **settings)).teacher.id

    def verify(self, **settings: Any) -> VerifySummary:
        return verify(VerifySettings(path=self.store, **{"data_root": self.root, **settings}))

    def repair(self, **settings: Any) -> RepairSummary:
        return repair(
            RepairSettings(path=self.store, **{"data_root": self.root, "device": "cpu", **settings})
        )


@pytest.fixture
def world(write_kitti: Callable[..., Path], tmp_path: Path) -> World:
    return World(write_kitti({"40": 19}, points=60), tmp_path / "run.zarr")


def test_good_store(world: World) -> None:
    summary = world.verify()
    assert summary.problems == summary.skipped == []
    assert len(summary.compared) == 16
    assert world.verify(sample=5, seed=1).compared != world.verify(sample=5, seed=2).compared
    assert world.verify(sample=100).compared == [f"40/{number:06}" for number in range(19)]
    assert world.verify(dataset_free=True).compared == []
    assert world.verify(data_root=None).compared == []
    assert world.repair() == RepairSummary(world.store, [], [])
    assert content(world.store) == world.intact


def test_everything_damaged_comes_back(world: World) -> None:
    """Both kinds of shards, a record, a lost file, views, a seal, leftovers: all at once."""
    first, second = world.layers
    for name, offset in (
        ("points/xyzi/c/0/0/0", 5 * 65536 + 7),
        ("pairs/uv/c/1/0/0", 30),
        (f"teachers/{first}/grid/c/0/0/0/0/0", 200),
        (f"teachers/{second}/grid/commits/000001.json", 300),
        ("zarr.json", 80),
        ("frames/id/c/0/0", 20),
        (f"teachers/{first}/centre/c/0", 3),
        (f"teachers/{second}/grid/commits/seal.json", 50),
    ):
        flip(world.store / name, offset)
    (world.store / f"teachers/{second}/hit/c/0/0/0/0").unlink()
    (world.store / "frames/status/c/0").unlink()
    (world.store / "points/.zarr.json.x.part").write_text("?")
    summary = world.repair()
    assert content(world.store) == world.intact
    assert len(summary.problems) == 11
    assert summary.remainder == []
    assert summary.recomputed == [
        ("points", 0),
        ("points", 1),
        (first, 0),
        (second, 0),
        (second, 1),
    ]
    assert not any(summary.changed.values())
    assert world.verify().problems == []


@pytest.mark.slow
def test_each_file_comes_back(world: World) -> None:
    """One damaged or lost file at a time, whatever it is."""
    for number, (name, data) in enumerate(world.intact.items()):
        if number % 2:
            flip(world.store / name, len(data) // 2)
        else:
            (world.store / name).unlink()
        summary = world.repair()
        assert [problem.file for problem in summary.problems] == [name]
        assert summary.remainder == []
        now = content(world.store)
        if (
            name.endswith("/commits/000000.json") and "teachers" in name
        ):  # the time of a failure is in it alone
            old, new = (json.loads(text) for text in (data, now[name]))
            old["frames"][BAD]["time"] = new["frames"][BAD]["time"]
            assert {**old, "crc32c": 0} == {**new, "crc32c": 0}
            (world.store / name).write_bytes(data)
            now[name] = data
        assert now == world.intact, name


def test_only_damaged_shards_are_written(world: World) -> None:
    flip(world.store / "pairs/point/c/1/0", 4)
    before = {name: (world.store / name).stat().st_mtime_ns for name in world.intact}
    world.repair()
    changes = {
        name for name in world.intact if (world.store / name).stat().st_mtime_ns != before[name]
    }
    assert changes >= {
        "pairs/point/c/1/0",
        "points/xyzi/c/1/0/0",
        "points/xyzi/commits/000001.json",
    }
    assert {name for name in changes if "/c/" in name and not name.startswith("frames")} == {
        f"{array}/c/1/0{suffix}"
        for array, suffix in (("points/xyzi", "/0"), ("pairs/point", ""), ("pairs/uv", "/0"))
    }


def test_dataset_that_has_changed(world: World) -> None:
    sweep = world.root / "sequences/40/velodyne/000007.bin"
    points = np.fromfile(sweep, np.float32)
    points[3] *= 0.5  # an intensity
    points.tofile(sweep)
    calibration = world.root / "sequences/40/calib.txt"
    (problem,) = world.verify(sample=19).problems
    assert (problem.file, problem.frames, problem.remedy) == (
        "points/xyzi/c/0/0/0",
        ("40/000007",),
        "none",
    )
    assert problem.what.startswith("points differ from the dataset's")
    calibration.write_text(calibration.read_text().replace("P2: 72 0", "P2: 72.01 0"))
    problems = world.verify(sample=19).problems
    assert {problem.frames[0] for problem in problems if problem.file == "pairs/point/c/0/0"} == {
        f"40/{number:06}" for number in range(16)
    }
    assert world.repair().recomputed == []  # its bytes are as they were written


def test_frames_that_are_gone(world: World) -> None:
    """A shard is given up only when every frame that it holds can be had again."""
    first, second = world.layers
    image = world.root / "sequences/40/image_2/000005.png"
    aside = image.rename(image.with_suffix(".aside"))
    flip(world.store / f"teachers/{first}/grid/c/0/0/0/0/0", 9)
    before = content(world.store)
    with pytest.raises(
        CleverError, match=r"shard 0 of .* is left as it is, because frame 40/000005: .*no image"
    ):
        world.repair()
    assert content(world.store) == before
    assert world.verify(sample=19).skipped[0].startswith("frame 40/000005: no image")
    aside.rename(image)
    assert world.repair().remainder == []
    assert content(world.store) == world.intact
    flip(
        commit_path(world.store, second, 0), 500
    )  # now the shard itself tells which frames are stored
    aside = image.rename(image.with_suffix(".aside"))
    with pytest.raises(CleverError, match="is left as it is, because frame 40/000005"):
        world.repair()
    aside.rename(image)
    assert [(layer, frame) for layer, frame, _ in world.repair().skipped] == [
        (second, f"40/{BAD:06}")
    ]
    failed = [frame.id for frame in read_commit(world.store, second, 0).frames if frame.reason]
    assert failed == [f"40/{BAD:06}"]
    image.unlink()
    (world.store / f"teachers/{second}/grid/c/0/0/0").unlink()  # nothing to lose any more
    summary = world.repair()
    assert summary.remainder == []
    assert [frame for _, frame, _ in summary.skipped] == [f"40/{BAD:06}", "40/000005"]


def test_without_dataset(world: World) -> None:
    flip(world.store / "frames/pose/c/0/0/0", 30)
    assert world.repair(data_root=None).remainder == []
    assert content(world.store) == world.intact
    flip(world.store / "frames/pose/c/0/0/0", 30)
    flip(world.store / "points/xyzi/c/1/0/0", 30)
    with pytest.raises(
        CleverError, match="shards 1 of points are damaged and need the dataset: give `data_root`"
    ):
        world.repair(data_root=None)
    assert (world.store / "frames/pose/c/0/0/0").read_bytes() == world.intact["frames/pose/c/0/0/0"]


def test_other_dataset(world: World, write_kitti: Callable[..., Path]) -> None:
    flip(world.store / "points/xyzi/c/1/0/0", 30)
    other = write_kitti({"00": 1}, folder="other")
    with pytest.raises(CleverError, match="has no frame of"):
        world.repair(data_root=other)
    with pytest.raises(CleverError, match="has no frame of"):
        world.verify(data_root=other)
    with pytest.raises(CleverError, match="was made from semantickitti, not from nuscenes"):
        world.verify(dataset="nuscenes")


def test_other_teacher(world: World) -> None:
    flip(world.store / f"teachers/{world.layers[0]}/grid/c/0/0/0/0/0", 9)
    before = content(world.store)
    with pytest.raises(
        CleverError,
        match=r"this teacher is another one: weights_sha256: stored '\w+', wanted '\w+'",
    ):
        world.repair(weights="random:2")
    assert content(world.store) == before


def test_copied_layer_cannot_be_recomputed(world: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.zarr"
    layers = Copy(world.store, target, Selection(teachers=("test_resnet",), codec="fp16")).run(
        lambda count: None
    )
    (layer,) = layers
    flip(target / "points/xyzi/c/0/0/0", 30)
    flip(target / f"teachers/{layer}/grid/c/0/0/0/0/0", 9)
    with pytest.raises(CleverError, match=f"{layer} is damaged and was not made from images here"):
        repair(RepairSettings(path=target, data_root=world.root))
    problems = verify(
        VerifySettings.model_validate({"path": target, "dataset_free": True})
    ).problems
    assert [problem.layer for problem in problems] == [layer]  # points need no teacher


def test_interrupted_repair_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(world.store / f"teachers/{world.layers[0]}/grid/c/0/0/0/0/0", 9)
    flip(world.store / "points/xyzi/c/0/0/0", 30)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clever.cache.store.writer.GridShard.add", stop)
    with pytest.raises(KeyboardInterrupt):
        world.repair()
    monkeypatch.undo()
    assert not commit_path(world.store, world.layers[0], 0).exists()
    assert world.repair().remainder == []
    shutil.copy(world.store / "zarr.json", world.store / "zarr.json.bak")
    assert [problem.remedy for problem in world.repair().remainder] == ["none"]


def test_store_in_use(world: World) -> None:
    with writer_lock(world.store):
        with pytest.raises(CleverError, match="is being written by process"):
            world.verify()
        with pytest.raises(CleverError, match="is being written by process"):
            world.repair()


def test_nothing_left_to_go_by(world: World) -> None:
    seal_path(world.store, "points").unlink()
    (world.store / "zarr.json").unlink()
    with pytest.raises(CleverError, match="no feature cache at"):
        world.repair()
    (world.store / "zarr.json").write_text("{")
    summary = world.repair()
    assert summary.remainder == summary.problems
    assert "nothing else says what the layer is" in summary.remainder[0].what
