"""Writes the shards of a store, one frame at a time, and commits each when its data is durable."""

import time
from collections.abc import Mapping, Sequence

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import CleverError
from ..codec import pack, unpack
from ..fidelity import Fidelity
from ..frame import Frame
from ..moments import CodeSums
from ..projection import Correspondences
from .files.shards import ShardWriter
from .layers import Layer, TeacherLayer
from .layout import PAIR_POINT, PAIR_UV, POINTS, SHARD_ROWS, BlockArray, pair_cameras, quantise_uv
from .point_statistics import bounds_of, intensity_of
from .records.commits import write_commit
from .records.models import ChannelSums, Commit, FrameRecord, RegionInfo, SweepInfo, TeacherInfo
from .store import Store


class LayerShard:
    """One shard of one layer while it is written: add or fail frames in ascending row order, then
    `commit`.

    `close` without a commit drops what was written.

    Args:
        store: the store, locked by this process or its scheduler.
        layer: the layer.
        shard: number of the shard; no other writer may own it.
    """

    def __init__(self, store: Store, layer: Layer, shard: int) -> None:
        self.store, self.layer, self.shard = store, layer, shard
        self.records: list[FrameRecord] = []
        self.sums: CodeSums | None = None
        self._writers: dict[str, ShardWriter] = {}
        # A shard that is written again (after a repair) must not count until it is whole.
        store.uncommit(layer.id, [shard])

    def close(self) -> None:
        """Drop what is not committed."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}

    def fail(self, row: int, reason: str) -> None:
        """Record that a frame is skipped and why."""
        time_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.records.append(FrameRecord(row, self.store.ids[row], reason, time_text))

    def add_packed(
        self, record: FrameRecord, chunks: Mapping[BlockArray, Sequence[NDArray[np.uint8]]]
    ) -> None:
        """Store a frame whose chunks come packed from another store, (bytes,) uint8 each; no chunks
        for a skipped one."""
        for array, parts in chunks.items():
            for number, part in enumerate(parts):
                column, block = divmod(number, array.blocks)
                self._writer(array, column).add(
                    record.row % SHARD_ROWS * array.blocks + block, part.data
                )
        self.records.append(record)

    def commit(self, fidelity: Fidelity | None = None) -> None:
        """Make the shard's files durable, then its commit record."""
        files = {key: writer.finish() for key, writer in self._writers.items()}
        self._writers = {}
        sums = self.sums and ChannelSums(
            self.sums.count, tuple(self.sums.total.tolist()), tuple(self.sums.squares.tolist())
        )
        commit = Commit(self.layer.id, self.shard, files, tuple(self.records), fidelity, sums)
        write_commit(self.store.path, commit)

    def _add_blocks(self, array: BlockArray, row: int, values: NDArray[np.generic]) -> int:
        """Append a row to `array`; returns the crc32c of the row's stored bytes."""
        data = np.ascontiguousarray(values, array.dtype)
        data = np.concatenate(
            [data, np.zeros((-len(data) % array.block, *array.entry), array.dtype)]
        )
        checksum = 0
        for number in range(len(data) // array.block):
            column, block = divmod(number, array.blocks)
            chunk = pack(
                data[number * array.block : (number + 1) * array.block].tobytes(), array.codec
            )
            checksum = google_crc32c.extend(checksum, chunk)
            self._writer(array, column).add(row % SHARD_ROWS * array.blocks + block, chunk)
        return checksum

    def _writer(self, array: BlockArray, column: int) -> ShardWriter:
        key = array.key(self.shard, column)
        if key not in self._writers:
            self._writers[key] = ShardWriter(self.store.path / key, array.inner_chunks)
        return self._writers[key]


class PointShard(LayerShard):
    """A shard of points and pairs."""

    def __init__(self, store: Store, shard: int) -> None:
        super().__init__(store, store.points, shard)
        for array in store.points.arrays:
            self._writer(array, 0)

    def add(self, row: int, frame: Frame, pairs: Correspondences) -> None:
        """Store one frame's points, poses and correspondences; raises CleverError when a file
        cannot be written."""
        size, offsets = frame.image_size, pairs.offsets.tolist()
        camera = pair_cameras(offsets)
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
                pose=tuple(frame.global_from_lidar.ravel().tolist()),
                offsets=tuple(offsets),
                image_size=tuple((width, height) for width, height in size.tolist()),
                split=frame.split,
                bounds=tuple(bounds_of(frame.points).ravel().tolist()) if len(frame.points) else (),
                intensity=intensity_of(frame.points) if len(frame.points) else None,
            )
        )


class GridShard(LayerShard):
    """A shard of one teacher's tokens."""

    def __init__(self, store: Store, info: TeacherInfo, shard: int) -> None:
        layer = store.teacher_layer(info.id)
        super().__init__(store, layer, shard)
        self.layer: TeacherLayer = layer
        self.info = layer.info
        self._tokens, self._mask, self._class_token = layer.tokens, layer.mask, layer.class_token
        for array in layer.arrays:
            self._writer(array, 0)

    def add(
        self,
        row: int,
        codes: NDArray[np.generic],
        hit: NDArray[np.bool_] | None = None,
        class_token: NDArray[np.float32] | None = None,
        offsets: Sequence[int] = (),
        sums: CodeSums | None = None,
    ) -> None:
        """Store one frame's tokens, or its features of pairs.

        Args:
            codes: (cameras, h, w, channels) int8 or float16 as `codec.encode` made them, or (pairs,
                channels).
            hit: (cameras, h, w) bool, the tokens to store; for ``hit`` layers alone.
            class_token: (cameras, channels), for layers that hold class tokens alone.
            offsets: of the pairs over the cameras, for layers of features of pairs alone.
            sums: over the codes that are stored; None to take them here.

        Raises:
            CleverError: more pairs than a row has room for.
        """
        if bool(offsets) != self.layer.of_pairs:
            raise ValueError(
                f"{self.layer.id} takes offsets of pairs where it holds their features"
            )
        if offsets and offsets[-1] > self._tokens.capacity:
            raise CleverError(
                f"frame {self.store.ids[row]} has {offsets[-1]} pairs, and a layer of features of "
                f"pairs holds {self._tokens.capacity} a frame; choose `tokens=hit`"
            )
        values = {self._tokens: codes if hit is None else codes[hit]}
        for array, part in ((self._mask, hit), (self._class_token, class_token)):
            if (array is None) != (part is None):
                raise ValueError(f"{self.layer.id} takes a mask and class tokens where it has them")
            if array is not None and part is not None:
                values[array] = part
        checksums = {
            self.layer.checksum_name(array): self._add_blocks(array, row, part)
            for array, part in values.items()
        }
        self.records.append(
            FrameRecord(row, self.store.ids[row], checksums=checksums, offsets=tuple(offsets))
        )
        self._count(CodeSums.of(torch.from_numpy(values[self._tokens])) if sums is None else sums)

    def add_packed(
        self, record: FrameRecord, chunks: Mapping[BlockArray, Sequence[NDArray[np.uint8]]]
    ) -> None:
        """See `LayerShard.add_packed`."""
        super().add_packed(record, chunks)
        if not chunks:
            return
        tokens, count = self._entries(self._tokens, chunks), None
        if self._mask is not None:
            count = int(self._entries(self._mask, chunks).sum())
        elif self.layer.of_pairs:
            count = record.pairs
        self._count(CodeSums.of(torch.from_numpy(tokens[:count])))

    def _entries(
        self, array: BlockArray, chunks: Mapping[BlockArray, Sequence[NDArray[np.uint8]]]
    ) -> NDArray[np.generic]:
        """A frame's entries of an array, unpacked; blocks are padded with zeros."""
        parts = next(parts for own, parts in chunks.items() if own.path == array.path)
        data = b"".join(unpack(part.tobytes(), array.codec) for part in parts)
        return np.frombuffer(bytearray(data), array.dtype).reshape(-1, *array.entry)

    def _count(self, sums: CodeSums) -> None:
        self.sums = self.sums + sums if self.sums else sums


class RegionShard(LayerShard):
    """A shard of one layer of regions."""

    def __init__(self, store: Store, info: RegionInfo, shard: int) -> None:
        layer = store.region_layer(info.id)
        super().__init__(store, layer, shard)
        self._map = layer.map
        self._writer(self._map, 0)

    def add(self, row: int, maps: NDArray[np.uint16], sources: Sequence[int] = ()) -> None:
        """Store one frame's maps.

        Args:
            maps: (cameras, h, w), `NO_REGION` where there is none.
            sources: crc32c of the file of each camera's mask.
        """
        checksums = {"map": self._add_blocks(self._map, row, maps)}
        self.records.append(
            FrameRecord(row, self.store.ids[row], checksums=checksums, sources=tuple(sources))
        )


class SweepShard(LayerShard):
    """A shard of one layer of earlier sweeps."""

    def __init__(self, store: Store, info: SweepInfo, shard: int) -> None:
        self._layer = store.sweep_layer(info.id)
        super().__init__(store, self._layer, shard)
        for array in self._layer.arrays:
            self._writer(array, 0)

    def add(
        self,
        row: int,
        sweeps: Sequence[NDArray[np.float32]],
        seconds: Sequence[float],
        pairs: Correspondences | None = None,
        image_size: NDArray[np.int64] | None = None,
    ) -> None:
        """Store one frame's earlier sweeps.

        Args:
            sweeps: (N, 4) each, latest first, in the frame's own LiDAR frame.
            seconds: when each was taken, from the frame's own time on.
            pairs: of all their points, one after another, with the frame's images; of layers that
                hold pairs.
            image_size: (M, 2) width and height of the images, with `pairs`.
        """
        layer = self._layer
        points = np.concatenate([np.empty((0, 4), np.float32), *sweeps])
        values: dict[BlockArray, NDArray[np.generic]] = {layer.points: points}
        offsets: list[int] = []
        if pairs is not None and image_size is not None:
            offsets = pairs.offsets.tolist()
            values[layer.pair_point] = pairs.point
            values[layer.pair_uv] = quantise_uv(pairs.uv, image_size[pair_cameras(offsets)])
        checksums = {
            layer.checksum_name(array): self._add_blocks(array, row, part)
            for array, part in values.items()
        }
        bounds = np.cumsum([0, *map(len, sweeps)]).tolist()
        self.records.append(
            FrameRecord(
                row,
                self.store.ids[row],
                checksums=checksums,
                points=len(points),
                offsets=tuple(offsets),
                sweeps=tuple(bounds),
                seconds=tuple(map(float, seconds)),
            )
        )
