"""Shard files are Zarr's, appear whole or not at all, and show every damage of their index."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr

from clever.cache.choices import Codec
from clever.cache.codec import pack
from clever.cache.store.files.shards import EMPTY, ShardFile, ShardWriter
from clever.cache.store.files.zarr_files import block_metadata
from clever.cache.store.layout import BlockArray
from clever.cache.store.records.models import Stamp
from clever.errors import CleverError

ARRAY = BlockArray("values", "<i2", (3,), ("entry", "value"), block=4, blocks=2)


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 3000 bytes inside the block, as on a disk that is full; pytest's own
    log lies outside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def spans(path: Path, inner_chunks: int) -> list[list[int]]:
    return ShardFile(path, inner_chunks).index.tolist()


@pytest.mark.parametrize("codec", ["int8", "int8-zstd"])
def test_zarr_reads_the_blocks_and_fills_the_rest(tmp_path: Path, codec: Codec) -> None:
    array = BlockArray("values", "i1", (3,), ("entry", "value"), codec, block=4, blocks=2)
    blocks = np.random.default_rng(0).integers(-9, 9, (3, 4, 3), np.int8)
    with ShardWriter(tmp_path / array.key(0, 0), array.inner_chunks) as writer:
        for inner, block in zip((0, 5, 31), blocks, strict=True):
            writer.add(inner, pack(block.tobytes(), codec))
        writer.finish()
    (tmp_path / "values/zarr.json").write_bytes(block_metadata(array, 16))
    values: Any = zarr.open_array(tmp_path / "values", mode="r")
    blocks_by_row = np.zeros((16, 8, 3), np.int8)
    blocks_by_row[0, :4], blocks_by_row[2, 4:], blocks_by_row[15, 4:] = blocks
    np.testing.assert_array_equal(values[...], blocks_by_row)


def test_index_says_where_every_chunk_lies(tmp_path: Path) -> None:
    path = tmp_path / "deep/shard"
    with ShardWriter(path, 4) as writer:
        writer.add(2, b"abc")
        writer.add(0, b"defgh")
        stamp = writer.finish()
    content = path.read_bytes()
    assert stamp == Stamp(len(content), google_crc32c.value(content))
    assert spans(path, 4) == [[3, 5], [EMPTY, EMPTY], [0, 3], [EMPTY, EMPTY]]
    assert content[:8] == b"abcdefgh"


def test_every_damaged_byte_of_the_index_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with ShardWriter(path, 2) as writer:
        writer.add(0, b"data")
        writer.finish()
    content = path.read_bytes()
    for position in range(4, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CleverError, match="shard index is damaged"):
            spans(path, 2)
    path.write_bytes(content[:10])
    with pytest.raises(CleverError, match="shard index is damaged"):
        spans(path, 2)
    path.unlink()
    with pytest.raises(CleverError, match="shard is missing"):
        spans(path, 2)


def test_a_shard_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with ShardWriter(path, 1) as writer:
        writer.add(0, b"old")
        writer.finish()
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), ShardWriter(path, 1) as writer:
        writer.add(0, bytes([1 // 0]))
    assert path.read_bytes() == before
    assert not parts(tmp_path)


def test_a_writer_given_up_for_dead_does_no_harm(tmp_path: Path) -> None:
    """Two writers of one shard have files of their own; whoever ends last, the shard is whole."""
    path = tmp_path / "shard"
    dead, living = ShardWriter(path, 2), ShardWriter(path, 2)
    for chunk in (0, 1):
        for writer in (dead, living):
            writer.add(chunk, bytes([chunk]) * 1000)
    stamps = [living.finish(), dead.finish()]
    assert stamps[0] == stamps[1]
    assert google_crc32c.value(path.read_bytes()) == stamps[0].crc32c
    assert not parts(tmp_path)


@pytest.mark.parametrize("size", [2990, 3500, 100_000])
def test_full_disk_leaves_the_old_shard(tmp_path: Path, size: int) -> None:
    """Whether it shows in a write, in the last flush or while closing."""
    path = tmp_path / "shard"
    with ShardWriter(path, 1) as writer:
        writer.add(0, b"old")
        writer.finish()
    before = path.read_bytes()

    def write() -> None:
        with ShardWriter(path, 1) as writer:
            writer.add(0, bytes(size))
            writer.finish()

    with (
        small_files(),
        pytest.raises(
            CleverError, match=r"cannot write .*shard: File too large; the store is intact"
        ),
    ):
        write()
    assert path.read_bytes() == before
    assert not parts(tmp_path)


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CleverError, match="cannot write"):
        ShardWriter(tmp_path / "file" / "shard", 1)
