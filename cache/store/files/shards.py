"""Zarr v3 shard files: written as a stream, durable before they count, read back with one `pread` a
frame.

A shard holds the inner chunks one after another, then an index of (offset, bytes) as little-endian
uint64 pairs in C order of the inner chunk grid, then the index's crc32c: Zarr's
``sharding_indexed`` codec with the index at the end.
"""

import contextlib
import os
import secrets
from functools import cached_property
from pathlib import Path
from types import TracebackType

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ....errors import CleverError
from ....files import fsync_folder
from ..records.models import Stamp
from .remote import AnyPath

EMPTY = np.uint64(2**64 - 1)
"""Offset and length of an inner chunk that was never written: it reads as the fill value."""


class ShardWriter:
    """Streams inner chunks into one shard file; the file appears under its name only when complete
    and durable.

    Args:
        path: final path of the shard.
        inner_chunks: number of inner chunks of a whole shard.

    Raises:
        CleverError: the file cannot be written (disk full, no permission).
    """

    def __init__(self, path: Path, inner_chunks: int) -> None:
        self.path = path
        # A worker that was given up for dead may still write: its file must not be ours.
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._index = np.full((inner_chunks, 2), EMPTY, dtype="<u8")
        self._crc = 0
        self._position = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb")
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()

    def add(self, inner: int, data: bytes | memoryview) -> None:
        """Append inner chunk number `inner` (C order)."""
        self._index[inner] = self._position, len(data)
        self._write(data)

    def finish(self) -> Stamp:
        """Write the index, make the file durable under its name; returns its size and crc32c."""
        index = self._index.tobytes()
        self._write(index)
        self._write(google_crc32c.value(index).to_bytes(4, "little"))
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self.path)
            fsync_folder(self.path.parent)
        except OSError as error:
            self.abandon()
            raise self._error(error) from error
        return Stamp(self._position, self._crc)

    def abandon(self) -> None:
        """Drop what was written; whatever stood under the final name stays."""
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            self.abandon()
            raise self._error(error) from error
        self._crc = google_crc32c.extend(self._crc, bytes(data))
        self._position += len(data)

    def _error(self, error: OSError) -> CleverError:
        return CleverError(
            f"cannot write {self.path}: {error.strerror}; the store is intact: free space and run "
            "again"
        )


def index_bytes(inner_chunks: int) -> int:
    """Bytes of a shard's index with its checksum, at the end of the file."""
    return 16 * inner_chunks + 4


def parse_index(tail: bytes, path: str) -> NDArray[np.uint64]:
    """Index of a shard from its last `index_bytes` bytes.

    Returns:
        (inner_chunks, 2) uint64: offset and length in bytes; `EMPTY` where a chunk was never
        written.

    Raises:
        CleverError: the index does not match its checksum.
    """
    index, checksum = tail[:-4], tail[-4:]
    if google_crc32c.value(index) != int.from_bytes(checksum, "little"):
        raise CleverError(
            f"{path}: shard index is damaged; run `clever cache verify`, then `clever cache repair`"
        )
    return np.frombuffer(index, dtype="<u8").reshape(-1, 2)


class ShardFile:
    """A whole shard file in memory, for those who read every byte of it.

    Args:
        inner_chunks: number of inner chunks of a whole shard.

    Attributes:
        data: (bytes,) uint8, the file.

    Raises:
        CleverError: the file is missing or cannot be read.
    """

    def __init__(self, path: AnyPath, inner_chunks: int) -> None:
        self.path = path
        self._index_bytes = index_bytes(inner_chunks)
        try:
            self.data = np.frombuffer(path.read_bytes(), np.uint8)
        except FileNotFoundError as error:
            raise CleverError(f"{path}: shard is missing; run `clever cache repair`") from error
        except OSError as error:
            raise CleverError(f"{path}: {error.strerror}; run `clever cache repair`") from error

    @cached_property
    def index(self) -> NDArray[np.uint64]:
        """The shard's index, (inner chunks, 2) uint64 (see `parse_index`); raises CleverError when
        it is damaged or points beyond the data."""
        index = parse_index(self.data[-self._index_bytes :].tobytes(), str(self.path))
        ends = index[(index != EMPTY).any(1)].astype(object).sum(1)  # Python numbers: no overflow
        if ends.size and ends.max() > self.data_bytes:
            raise CleverError(
                f"{self.path}: its index points beyond its data; run `clever cache repair`"
            )
        return index

    @property
    def data_bytes(self) -> int:
        """Bytes of all chunks, the index not counted."""
        return len(self.data) - self._index_bytes

    def chunks(self, first: int, count: int) -> list[NDArray[np.uint8]]:
        """Those of the inner chunks `first` to `first + count` that were written, as they are
        stored: (bytes,) uint8 each."""
        spans = self.index[first : first + count]
        return [
            self.data[start : start + size]
            for start, size in spans[(spans != EMPTY).any(1)].tolist()
        ]
