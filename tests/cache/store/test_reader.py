"""What is read back is what was written, through our reader and through zarr alone."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from clever.cache import CachedFrame, FeatureCache
from clever.cache.codec import decode
from clever.cache.store import layout
from clever.cache.store.layers import place
from clever.errors import CleverError

CAPACITY = layout.POINTS.capacity
Writes = Callable[..., Any]


def check_frame(cached: CachedFrame, sample: Any) -> None:
    frame, pairs = sample.frames[cached.id], sample.pairs[cached.id]
    assert cached.scene == frame.scene
    assert cached.timestamp == frame.timestamp
    np.testing.assert_array_equal(cached.global_from_lidar.numpy(), frame.global_from_lidar)
    np.testing.assert_array_equal(cached.points.numpy(), frame.points)
    np.testing.assert_array_equal(cached.pair_point.numpy(), pairs.point)
    np.testing.assert_array_equal(
        cached.pair_camera.numpy(), np.repeat([0, 1], np.diff(pairs.offsets))
    )
    size = np.array([(camera.width, camera.height) for camera in frame.cameras])
    np.testing.assert_array_equal(cached.image_size.numpy(), size)
    pixels = cached.pair_uv.numpy().astype(float) * size[cached.pair_camera.numpy()] - 0.5
    assert np.abs(pixels - pairs.uv).max(initial=0) <= 1600 / 2 / 65536 + 1e-3
    features = decode(cached.tokens, cached.calibration)
    bound = (
        cached.calibration.step / 2 * 1.001
        if cached.calibration
        else features.abs() * 2**-11 + 1e-6
    )
    close = (features - sample.features[cached.id]).abs() <= bound
    if cached.id in sample.hits:
        hit = torch.from_numpy(sample.hits[cached.id])
        assert not bool(cached.tokens[~hit].any())
        close = close[hit]
    assert bool(close.all())


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize("codec", ["int8", "int8-zstd", "fp16"])
def test_frames_come_back(write_store: Writes, codec: str, tokens: str) -> None:
    sample = write_store([100, 4096, 5000, 1, 9000] * 4, codec, tokens)
    cache = FeatureCache(sample.path)
    assert cache.ids == list(sample.frames)
    for cached in cache:
        check_frame(cached, sample)


def test_sweep_larger_than_a_shard_column(write_store: Writes) -> None:
    sample = write_store([CAPACITY + 5000, 30])
    cache = FeatureCache(sample.path)
    for cached in cache:
        check_frame(cached, sample)
    points: Any = zarr.open_group(sample.path, mode="r")["points/xyzi"]
    np.testing.assert_array_equal(
        points[0, : CAPACITY + 5000],
        sample.frames["frame-0"].points,
    )


@pytest.mark.parametrize("codec", ["int8", "int8-zstd"])
def test_zarr_alone_reads_the_same(write_store: Writes, codec: str) -> None:
    sample = write_store([100, 5000, 70], codec)
    root: Any = zarr.open_group(sample.path, mode="r")
    for row, (name, frame) in enumerate(sample.frames.items()):
        pairs = sample.pairs[name]
        assert bytes(root["frames/id"][row]).rstrip(b"\0").decode() == name
        assert root["frames/points"][row] == len(frame.points)
        np.testing.assert_array_equal(root["frames/pairs"][row], pairs.offsets)
        np.testing.assert_array_equal(root["points/xyzi"][row, : len(frame.points)], frame.points)
        np.testing.assert_array_equal(root["pairs/point"][row, : len(pairs.point)], pairs.point)
        teacher = root[f"teachers/{sample.info.id}"]
        values = teacher["centre"][:] + teacher["step"][:] * teacher["grid"][row].astype(np.float32)
        assert (
            np.abs(values - sample.features[name].numpy()).max()
            <= teacher["step"][:].max() / 2 * 1.001
        )


def test_lookup(write_store: Writes) -> None:
    cache = FeatureCache(write_store([10] * 20).path)
    assert len(cache) == 20
    assert cache.position("frame-17") == 17
    assert cache.scene("scene-3") == [6, 7]
    assert [frame.id for frame in cache[-2:]] == ["frame-18", "frame-19"]
    assert cache[-1].id == "frame-19"
    assert cache.pair_count(0) == len(cache[0].pair_point) == 8
    with pytest.raises(CleverError, match="no frame 'nowhere'"):
        cache.position("nowhere")
    with pytest.raises(IndexError):
        cache[20]


@pytest.mark.parametrize("tokens", ["grid", "hit"])
def test_url_reads_through_zarr(write_store: Writes, tokens: str) -> None:
    sample = write_store([100, 5000], "int8-zstd", tokens)
    for cached in FeatureCache(f"file://{sample.path}"):
        check_frame(cached, sample)


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_loader_workers(write_store: Writes, method: str) -> None:
    sample = write_store([100, 50, 70, 20])
    cache = FeatureCache(sample.path)
    check_frame(cache[0], sample)
    dataset: Any = cache
    workers = 1 if method == "spawn" else 2  # each of which imports everything anew
    loader = DataLoader(
        dataset, batch_size=None, num_workers=workers, multiprocessing_context=method
    )
    frames = list(loader)
    assert [frame.id for frame in frames] == cache.ids
    for frame in frames:
        check_frame(frame, sample)


def test_read_only_store(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([100, 50])
    before = {path: path.stat().st_mtime_ns for path in sample.path.rglob("*")}
    for path in sample.path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    check_frame(FeatureCache(sample.path)[1], sample)
    assert before == {path: path.stat().st_mtime_ns for path in sample.path.rglob("*")}


def test_store_cut_off_before_its_tables(write_store: Writes) -> None:
    """Tables that lag behind the commit records (a killed run) do not hide committed frames."""
    sample = write_store([10] * 20)
    attributes = json.loads((sample.path / "frames/zarr.json").read_text())
    attributes["attributes"]["commits"] = 1
    (sample.path / "frames/zarr.json").write_text(json.dumps(attributes))
    shutil.rmtree(sample.path / "frames/status")
    assert len(FeatureCache(sample.path)) == 20


def test_uncommitted_shard_is_not_read(write_store: Writes) -> None:
    sample = write_store([10] * 20)
    (sample.path / place(sample.info.id).commit(1)).unlink()
    assert FeatureCache(sample.path).ids == [f"frame-{number}" for number in range(16)]


def test_choosing_a_teacher(write_store: Writes) -> None:
    sample = write_store([10])
    assert FeatureCache(sample.path, "made").teacher == sample.info
    with pytest.raises(CleverError, match="'vits' fits 0 of them"):
        FeatureCache(sample.path, "vits")


def test_damaged_and_foreign_stores(write_store: Writes, tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="no feature cache at"):
        FeatureCache(tmp_path / "nothing")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(CleverError, match="no feature cache"):
        FeatureCache(tmp_path / "other.zarr")
    sample = write_store([100, 50])
    shard = sample.path / "points/xyzi/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[-10] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CleverError, match="shard index is damaged"):
        FeatureCache(sample.path)[0]
    shard.write_bytes(b"short")
    with pytest.raises(CleverError, match="shorter than its index"):
        FeatureCache(sample.path)[0]
    shard.unlink()
    with pytest.raises(CleverError, match=r"points/xyzi/c/0/0/0: No such file"):
        FeatureCache(sample.path)[0]


def test_other_schema(write_store: Writes) -> None:
    sample = write_store([10])
    path = sample.path / "zarr.json"
    attributes = json.loads(path.read_text())
    attributes["attributes"]["schema"] = 99
    path.write_text(json.dumps(attributes))
    with pytest.raises(CleverError, match="schema 99, this clever reads schema 2"):
        FeatureCache(sample.path)
