"""Writes the shards of a store, one frame at a time, and commits each when its data is durable."""

import time
from dataclasses import asdict

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from .codec import Fidelity
from .commits import Commit, FrameRecord, commit_path, write_commit
from .frame import Frame
from .layout import (
    BLOCK,
    PAIR_POINT,
    PAIR_UV,
    POINTS,
    SHARD_BLOCKS,
    SHARD_ROWS,
    UV_LEVELS,
    BlockArray,
    grid_key,
)
from .projection import Correspondences
from .shards import ShardWriter
from .store import Store, TeacherInfo


class LayerShard:
    """One shard of one layer while it is written: add or fail frames in ascending row order, then `commit`.

    `close` without a commit drops what was written.

    Args:
        store: the store, locked by this process or its scheduler.
        layer: ``points`` or a teacher id.
        shard: number of the shard; no other writer may own it.
    """

    def __init__(self, store: Store, layer: str, shard: int) -> None:
        self.store, self.layer, self.shard = store, layer, shard
        self.records: list[FrameRecord] = []
        self._writers: dict[str, ShardWriter] = {}
        # A shard that is written again (after a repair) must not count until it is whole.
        commit_path(store.path, layer, shard).unlink(missing_ok=True)

    def close(self) -> None:
        """Drop what is not committed."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}

    def fail(self, row: int, reason: str) -> None:
        """Record that a frame is skipped and why."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.records.append(FrameRecord(row, self.store.ids[row], reason, now))

    def commit(self, fidelity: Fidelity | None = None) -> None:
        """Make the shard's files durable, then its commit record."""
        files = {key: writer.finish() for key, writer in self._writers.items()}
        self._writers = {}
        measured = asdict(fidelity) if fidelity else {}
        write_commit(self.store.path, Commit(self.layer, self.shard, files, self.records, measured))

    def _writer(self, key: str, inner_chunks: int) -> ShardWriter:
        if key not in self._writers:
            self._writers[key] = ShardWriter(self.store.path / key, inner_chunks)
        return self._writers[key]


class PointShard(LayerShard):
    """A shard of points and pairs."""

    def __init__(self, store: Store, shard: int) -> None:
        super().__init__(store, "points", shard)
        for array in (POINTS, PAIR_POINT, PAIR_UV):
            self._writer(array.key(shard, 0), array.inner_chunks)

    def add(self, row: int, frame: Frame, pairs: Correspondences) -> None:
        """Store one frame's points, poses and correspondences."""
        size = np.array([(camera.width, camera.height) for camera in frame.cameras])
        camera = np.repeat(np.arange(len(size)), np.diff(pairs.offsets))
        checksums = {
            "points": self._add_blocks(POINTS, row, frame.points),
            "pair_point": self._add_blocks(PAIR_POINT, row, pairs.point),
            "pair_uv": self._add_blocks(PAIR_UV, row, quantise_uv(pairs.uv, size[camera])),
        }
        self.records.append(
            FrameRecord(
                row,
                frame.id,
                checksums=checksums,
                points=len(frame.points),
                timestamp=frame.timestamp,
                pose=frame.global_from_lidar.ravel().tolist(),
                offsets=pairs.offsets.tolist(),
                image_size=size.tolist(),
            )
        )

    def _add_blocks(self, array: BlockArray, row: int, values: NDArray[np.generic]) -> int:
        data = np.ascontiguousarray(values, array.dtype)
        data = np.concatenate([data, np.zeros((-len(data) % BLOCK, *array.entry), array.dtype)])
        checksum = google_crc32c.value(data.tobytes())
        for number in range(len(data) // BLOCK):
            column, block = divmod(number, SHARD_BLOCKS)
            writer = self._writer(array.key(self.shard, column), array.inner_chunks)
            inner = row % SHARD_ROWS * SHARD_BLOCKS + block
            writer.add(inner, data[number * BLOCK : (number + 1) * BLOCK].tobytes())
        return checksum


class GridShard(LayerShard):
    """A shard of one teacher's token grids."""

    def __init__(self, store: Store, info: TeacherInfo, shard: int) -> None:
        super().__init__(store, info.id, shard)
        self._grid = self._writer(grid_key(info.id, shard), SHARD_ROWS)

    def add(self, row: int, codes: NDArray[np.generic]) -> None:
        """Store one frame's grid, (cameras, h, w, channels) as the codec made it."""
        data = np.ascontiguousarray(codes).tobytes()
        self._grid.add(row % SHARD_ROWS, data)
        self.records.append(FrameRecord(row, self.store.ids[row], checksums={"grid": google_crc32c.value(data)}))


def quantise_uv(uv: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Pixel positions as 16-bit fixed point: code c stands for (c + 0.5) / 65536 of the image's width or height.

    Args:
        uv: (K, 2) float64 pixels, pixel centres at integers, at least half a pixel inside the image.
        size: (K, 2) width and height in pixels.

    Returns:
        (K, 2) uint16; the error is at most W / 131072 pixels (0.012 at 1600).
    """
    return np.floor((uv + 0.5) / size * UV_LEVELS).astype(np.uint16)
