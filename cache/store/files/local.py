"""Rows of local shard files: one `pread` from the disk, and from memory for those that are read
again and again."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError
from ...choices import compressor
from ...codec import unpack
from ...memory import keep_freed_memory
from ..layout import SHARD_ROWS, BlockArray
from .shards import EMPTY, index_bytes, parse_index

REMEMBERED_SHARDS = 8192
"""Shards whose index a process remembers, a kilobyte each."""
MAPPED_BYTES = 2**30
"""Shards that a process maps at most; the rows of further ones are always read with `pread`."""

COPY_BYTES = 2**19
"""Bytes copied at a time: glibc has a quicker way for blocks that fit into a core's cache."""


def read_row(path: str, array: BlockArray, row: int, out: NDArray[Any]) -> None:
    """Fill `out`, a whole number of blocks, with the first blocks of a row of a shard file.

    The first read of a row is a `pread`: the best way from a disk, with an error where the disk has
    one. The second maps the file; from the third on the row is copied from the map, which saves the
    kernel's slower copy. A file that was replaced or changed is another file: its index is read
    anew.

    Args:
        path: the shard file.
        array: the array that it belongs to.
        row: row inside the shard, below `SHARD_ROWS`.
        out: (n * array.block, *array.entry) of the array's dtype, contiguous.

    Raises:
        CleverError: the shard is missing, damaged, or does not hold the row.
    """
    if not len(out):
        return
    try:
        shard = _READ.shards.get(path)
        if (
            shard is not None
            and row in shard.mapped_rows
            and shard.version == _version(shard.path.stat())
        ):
            _from_map(shard, row, out)
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            version = _version(os.fstat(handle))
            if shard is None or shard.version != version:
                shard = _READ.add(path, _Shard(handle, version, path, array))
            _from_file(shard, handle, row, out)
        finally:
            os.close(handle)
    except OSError as error:
        raise CleverError(
            f"{path}: {error.strerror}; run `clever cache repair` or restore the shard"
        ) from error


def forget_shards() -> None:
    """Unmap all shards and forget their indexes; the next read starts afresh."""
    _READ.clear()


class _Shard:
    """A shard file as this process has read it.

    Attributes:
        version: device, inode, time of change and size of the file; another content has another
            version.
        start: offset of each row's first block.
        blocks: blocks written of each row; they follow one another.
        lengths: (rows, blocks) bytes of every block of a compressed array; None where all are
            `BlockArray.block_bytes`.
        content: map of the file once a row was read twice.
        read_rows, mapped_rows: rows that were read at all, and those to take from the map.
    """

    def __init__(self, handle: int, version: tuple[int, ...], path: str, array: BlockArray) -> None:
        self.path, self.array, self.version = Path(path), array, version
        size, tail = version[-1], index_bytes(array.inner_chunks)
        if size < tail:
            raise CleverError(f"{path}: shorter than its index; run `clever cache verify`")
        spans = parse_index(os.pread(handle, tail, size - tail), path).reshape(
            SHARD_ROWS, array.blocks, 2
        )
        block_mask = (spans != EMPTY).any(2)
        start, lengths = spans[:, 0, 0], np.where(block_mask, spans[..., 1], 0)
        follows = spans[..., 0] == start[:, None] + np.cumsum(lengths, 1) - lengths
        gaps = block_mask[:, 1:] & ~block_mask[:, :-1]
        uniform = not compressor(array.codec)
        if (
            gaps.any()
            or not follows[block_mask].all()
            or (uniform and (lengths[block_mask] != array.block_bytes).any())
        ):
            raise CleverError(
                f"{path}: its chunks do not lie as clever writes them; run `clever cache repair`"
            )
        self.start: list[int] = start.tolist()
        self.blocks: list[int] = block_mask.sum(1).tolist()
        self.lengths = None if uniform else lengths
        self.content: mmap.mmap | None = None
        self.read_rows: set[int] = set()
        self.mapped_rows: set[int] = set()

    def span(self, row: int, out: NDArray[Any]) -> slice:
        """Where the stored bytes of `out` lie in the file."""
        count = len(out) // self.array.block
        if self.blocks[row] < count:
            raise CleverError(
                f"{self.path}: a frame's chunks are missing; run `clever cache verify`"
            )
        size = out.nbytes if self.lengths is None else int(self.lengths[row, :count].sum())
        return slice(self.start[row], self.start[row] + size)


class _ReadShards:
    """The shards that this process has read, by path, and the bytes it maps; when full, it starts
    over."""

    def __init__(self) -> None:
        self.shards: dict[str, _Shard] = {}
        self.mapped_bytes = 0

    def clear(self) -> None:
        self.shards.clear()
        self.mapped_bytes = 0

    def add(self, path: str, shard: _Shard) -> _Shard:
        if not self.shards:
            keep_freed_memory()
        if len(self.shards) >= REMEMBERED_SHARDS:
            self.clear()
        predecessor = self.shards.get(path)
        if predecessor is not None and predecessor.content is not None:
            self.mapped_bytes -= predecessor.version[-1]
        self.shards[path] = shard
        return shard

    def note_read(self, shard: _Shard, row: int, handle: int) -> None:
        """Map the shard, if there is room, when `row` is read for the second time."""
        if row in shard.read_rows:
            size = shard.version[-1]
            if shard.content is None and self.mapped_bytes + size <= MAPPED_BYTES:
                shard.content = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
                self.mapped_bytes += size
            if shard.content is not None:
                shard.mapped_rows.add(row)
        shard.read_rows.add(row)


_READ = _ReadShards()


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _from_map(shard: _Shard, row: int, out: NDArray[Any]) -> None:
    content = memoryview(shard.content)[shard.span(row, out)]  # type: ignore[arg-type]
    if shard.lengths is not None:
        _unpack(content, shard, row, out)
        return
    target = out.data.cast("B")
    for start in range(0, len(target), COPY_BYTES):
        target[start : start + COPY_BYTES] = content[start : start + COPY_BYTES]


def _from_file(shard: _Shard, handle: int, row: int, out: NDArray[Any]) -> None:
    span = shard.span(row, out)
    size = span.stop - span.start
    content = out.data.cast("B") if shard.lengths is None else memoryview(bytearray(size))
    if os.preadv(handle, [content], span.start) != size:
        raise CleverError(f"{shard.path}: shorter than its index says; run `clever cache repair`")
    _READ.note_read(shard, row, handle)
    if shard.lengths is not None:
        _unpack(content, shard, row, out)


def _unpack(content: memoryview, shard: _Shard, row: int, out: NDArray[Any]) -> None:
    array, start = shard.array, 0
    for number in range(len(out) // array.block):
        length = int(shard.lengths[row, number])  # type: ignore[index]
        try:
            block = np.frombuffer(unpack(content[start : start + length], array.codec), array.dtype)
            out[number * array.block : (number + 1) * array.block] = block.reshape(
                array.block, *array.entry
            )
        except (RuntimeError, ValueError) as error:
            raise CleverError(
                f"{shard.path}: a chunk cannot be unpacked ({error}); run `clever cache repair`"
            ) from error
        start += length
