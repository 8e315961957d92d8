"""Rows read again and again come from a map of the shard, and stay right when the file changes
under it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from clever.cache import FeatureCache
from clever.cache.store.files import local
from clever.errors import CleverError

Writes = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fresh():
    local.forget_shards()
    yield
    local.forget_shards()


def grid_shard(sample: Any, shard: int = 0) -> Path:
    return sample.path / f"teachers/{sample.info.id}/grid/c/{shard}/0/0/0/0"


def values(cache: FeatureCache) -> list[np.ndarray]:
    """Tokens, points and pairs of every frame."""
    return [
        part.numpy()
        for frame in cache
        for part in (frame.tokens, frame.points, frame.pair_point, frame.pair_uv)
    ]


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize("codec", ["int8", "int8-zstd", "fp16"])
def test_third_read_from_the_map_equals_the_first(
    write_store: Writes, codec: str, tokens: str
) -> None:
    cache = FeatureCache(write_store([100, 5000, 1], codec, tokens).path)
    first = values(cache)
    assert all(shard.content is None for shard in local._READ.shards.values())
    for _ in range(3):
        for again, expected in zip(values(cache), first, strict=True):
            np.testing.assert_array_equal(again, expected)
    assert all(shard.content is not None for shard in local._READ.shards.values())


def test_frames_are_copies(write_store: Writes) -> None:
    """Writing into a frame changes neither the store nor a frame read later."""
    cache = FeatureCache(write_store([100]).path)
    expected = cache.tokens(0).clone()
    for _ in range(4):
        tokens = cache.tokens(0)
        assert tokens.equal(expected)
        tokens.zero_()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("reads", [1, 3])
def test_a_shard_that_is_written_anew_is_read_anew(
    write_store: Writes, reads: int, in_place: bool
) -> None:
    sample, other = write_store([100, 50]), write_store([100, 50], "int8", "grid", "other.zarr")
    cache = FeatureCache(sample.path)
    before = [cache.tokens(0) for _ in range(reads)][-1]
    content = bytearray(grid_shard(other).read_bytes())
    content[:7] = bytes(value ^ 1 for value in content[:7])
    if in_place:
        grid_shard(sample).write_bytes(content)
    else:
        grid_shard(other).write_bytes(content)
        grid_shard(other).replace(grid_shard(sample))
    changed = (cache.tokens(0) != before).flatten().nonzero().flatten().tolist()
    assert changed == list(range(7))


def test_a_truncated_file_is_an_error_though_it_was_mapped(write_store: Writes) -> None:
    sample = write_store([100])
    cache = FeatureCache(sample.path)
    for _ in range(3):
        cache.tokens(0)
    grid_shard(sample).write_bytes(b"short")
    with pytest.raises(CleverError, match="shorter than its index"):
        cache.tokens(0)
    grid_shard(sample).unlink()
    with pytest.raises(CleverError, match="No such file"):
        cache.tokens(0)


def test_maps_stay_within_their_limit(write_store: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = write_store([10] * 40)
    cache = FeatureCache(sample.path)
    size = grid_shard(sample).stat().st_size
    monkeypatch.setattr(local, "MAPPED_BYTES", 2 * size)
    tokens = [[cache.tokens(number) for number in range(40)] for _ in range(3)][-1]
    mapped = [shard for shard in local._READ.shards.values() if shard.content is not None]
    assert len(mapped) == 2
    assert sum(shard.version[-1] for shard in mapped) == local._READ.mapped_bytes <= 2 * size
    monkeypatch.setattr(local, "REMEMBERED_SHARDS", 1)
    for number in (0, 39):  # the third shard makes the memory start over
        assert cache.tokens(number).equal(tokens[number])
    assert len(local._READ.shards) <= 3


def test_a_row_that_was_not_written_is_named(write_store: Writes) -> None:
    """A frame table that promises more points than the shard holds."""
    cache = FeatureCache(write_store([100, 5000]).path)
    cache._table.points[0] = 5000
    with pytest.raises(CleverError, match="points/xyzi/c/0/0/0: a frame's chunks are missing"):
        cache[0]


def test_a_shard_of_another_writer_is_refused_where_its_rows_are_scattered(
    write_store: Writes,
) -> None:
    """Zarr writes the chunks of a shard in Morton order: rows of several blocks do not lie in one
    piece."""
    sample = write_store([5000, 9000, 9000])
    array: Any = zarr.open_array(sample.path / "points/xyzi")
    array[:3] = np.random.default_rng(0).normal(size=array[:3].shape)
    with pytest.raises(CleverError, match="do not lie as clever writes them"):
        FeatureCache(sample.path)[0]


def test_a_damaged_block_of_a_compressed_shard_is_named(write_store: Writes) -> None:
    sample = write_store([100], "int8-zstd")
    shard = grid_shard(sample)
    content = bytearray(shard.read_bytes())
    content[0] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(CleverError, match="grid/c/0/0/0/0/0: a chunk cannot be unpacked"):
        FeatureCache(sample.path).tokens(0)
