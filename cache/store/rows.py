"""Rows of one committed shard for those who read the whole of it: to check it, to copy it, to
compare it."""

from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from ..choices import compressor
from ..codec import unpack
from .files.remote import AnyPath
from .files.shards import ShardFile
from .layers import Layer
from .layout import SHARD_ROWS, BlockArray
from .records.models import Commit, FrameRecord


class ShardRows:
    """The files of a shard, each read whole when first needed.

    Args:
        store: the store's folder or URL.
        layer: the shard's layer.
        commit: its record.
    """

    def __init__(self, store: AnyPath, layer: Layer, commit: Commit) -> None:
        self.store, self.layer, self.commit = store, layer, commit
        self._files: dict[str, ShardFile] = {}

    def columns(self, array: BlockArray) -> int:
        """Files of `array` in this shard."""
        return sum(key.startswith(f"{array.path}/c/") for key in self.commit.files)

    def file(self, array: BlockArray, column: int = 0) -> ShardFile:
        """One file; raises CleverError when it cannot be read."""
        key = array.key(self.commit.shard, column)
        if key not in self._files:
            self._files[key] = ShardFile(self.store / key, array.inner_chunks)
        return self._files[key]

    def chunks(self, array: BlockArray, row: int) -> list[NDArray[np.uint8]]:
        """The chunks of a row as they are stored, (bytes,) uint8 each; raises CleverError when a
        file cannot be read."""
        start = row % SHARD_ROWS * array.blocks
        files = [self.file(array, column) for column in range(self.columns(array))]
        return [chunk for file in files for chunk in file.chunks(start, array.blocks)]

    def entries(self, array: BlockArray, row: int, count: int) -> NDArray[Any]:
        """The first `count` entries of a row, (count, ...).

        Raises:
            CleverError: a file cannot be read, or the row's chunks hold fewer entries or cannot be
                unpacked.
        """
        try:
            chunks = self.chunks(array, row)
            if compressor(array.codec):
                chunks = [
                    np.frombuffer(unpack(chunk.tobytes(), array.codec), np.uint8)
                    for chunk in chunks
                ]
            values = (
                np.concatenate([np.empty(0, np.uint8), *chunks])
                .view(array.dtype)
                .reshape(-1, *array.entry)
            )
        except (RuntimeError, ValueError) as error:
            raise CleverError(
                f"{array.path} row {row}: chunks cannot be unpacked ({error})"
            ) from error
        if len(values) < count:
            raise CleverError(f"{array.path} row {row}: {len(values)} entries instead of {count}")
        return values[:count]

    def intact(self, array: BlockArray, record: FrameRecord) -> bool:
        """Whether the stored bytes of a frame match the checksum in its record."""
        checksum = 0
        for chunk in self.chunks(array, record.row):
            checksum = google_crc32c.extend(checksum, chunk)
        return checksum == record.checksums[self.layer.checksum_name(array)]
