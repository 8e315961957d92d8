"""Checks of one committed shard: its record, the checksums of its files and frames, and the values
in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import CleverError
from ..choices import compressor
from ..codec import LEVELS
from ..frame import LATEST
from ..sampling import tap_mask
from ..store.files.remote import AnyPath
from ..store.files.shards import EMPTY
from ..store.layers import NO_REGION, Layer, PointLayer, RegionLayer, SweepLayer, TeacherLayer
from ..store.layout import (
    PAIR_POINT,
    PAIR_UV,
    POINTS,
    SHARD_ROWS,
    BlockArray,
    normalised_uv,
    pair_cameras,
)
from ..store.records.models import Commit, FrameRecord
from ..store.rows import ShardRows
from .problems import Problem

RIGID = 1e-2
"""Largest entry of |R R^T - 1| of a pose's rotation R."""
LAST_ROW = (0, 0, 0, 1)
"""Of a pose, to the ninth decimal, as `calibration_checks.rigid_fault` has it."""


class ShardCheck:
    """Reads every byte of one shard and looks for what is wrong.

    Args:
        store: the store's folder or URL.
        layer: the shard's layer.
        commit: its record, without fault (see `record_fault`).
        points: the same shard of points and pairs if that is sound; for layers that depend on
            pairs.

    Attributes:
        bytes: bytes read so far.
    """

    def __init__(
        self,
        store: AnyPath,
        layer: Layer,
        commit: Commit,
        points: ShardRows | None,
    ) -> None:
        self.layer, self.commit, self.arrays = layer, commit, layer.arrays
        self.rows = ShardRows(store, layer, commit)
        self._points = points
        self._stored_records = [record for record in commit.frames if not record.reason]
        self.bytes = 0

    def problems(self) -> list[Problem]:
        """Everything wrong with the shard's files."""
        return (
            list(self._file_problems())
            or list(self._frame_problems())
            or list(self._index_problems())
        )

    def _problem(self, file: str, fault: str, records: Sequence[FrameRecord]) -> Problem:
        frames = tuple(record.id for record in records)
        return Problem(file, fault, "recompute", self.commit.layer, self.commit.shard, frames)

    def _count(self, array: BlockArray, record: FrameRecord) -> int:
        """Entries of a frame in `array`."""
        layer = self.layer
        if isinstance(layer, TeacherLayer) and layer.mask and array.path == layer.tokens.path:
            return int(self._mask(layer.mask, record).sum())
        return self.layer.most_entries(array, record)

    def _mask(self, mask: BlockArray, record: FrameRecord) -> NDArray[Any]:
        return self.rows.entries(mask, record.row, mask.block)

    def _file_problems(self) -> Iterator[Problem]:
        """Files that are missing or differ from the record's sizes and checksums."""
        for array in self.arrays:
            for column in range(self.rows.columns(array)):
                key = array.key(self.commit.shard, column)
                stamp = self.commit.files[key]
                try:
                    data = self.rows.file(array, column).data
                except CleverError:
                    yield self._problem(key, "missing or unreadable", self._stored_records)
                    continue
                self.bytes += len(data)
                if len(data) != stamp.bytes:
                    yield self._problem(
                        key,
                        f"{len(data)} bytes instead of {stamp.bytes}",
                        self._damaged_records(array),
                    )
                elif google_crc32c.value(data) != stamp.crc32c:
                    yield self._problem(
                        key, "differs from its checksum", self._damaged_records(array)
                    )

    def _damaged_records(self, array: BlockArray) -> list[FrameRecord]:
        """The frames whose own checksum differs; all of them where the index or another file of
        theirs is damaged."""
        try:
            return [
                record for record in self._stored_records if not self.rows.intact(array, record)
            ] or self._stored_records
        except CleverError:
            return self._stored_records

    def _frame_problems(self) -> Iterator[Problem]:
        """Frames whose checksum or values are wrong although their files are as they were
        written."""
        for record in self._stored_records:
            for array, fault in self._frame_faults(record):
                yield self._problem(array.key(self.commit.shard, 0), fault, [record])

    def _frame_faults(self, record: FrameRecord) -> Iterator[tuple[BlockArray, str]]:
        array = self.arrays[0]
        try:
            for array in self.arrays:
                if not self.rows.intact(array, record):
                    yield array, "a frame's bytes differ from its checksum"
                    return
            if isinstance(self.layer, TeacherLayer):
                yield from self._token_faults(self.layer, record)
            elif isinstance(self.layer, RegionLayer):
                yield from self._region_faults(self.layer, record)
            elif isinstance(self.layer, SweepLayer):
                yield from self._sweep_faults(self.layer, record)
            else:
                yield from self._point_faults(record)
        except CleverError as error:
            yield array, str(error)

    def _point_faults(self, record: FrameRecord) -> Iterator[tuple[BlockArray, str]]:
        points = self.rows.entries(POINTS, record.row, record.points)
        if not np.isfinite(points).all():
            yield POINTS, "points are not finite"
        elif len(points) and not 0 <= points[:, 3].min() <= points[:, 3].max() <= 1:
            yield POINTS, "intensities lie outside [0, 1]"
        index = self.rows.entries(PAIR_POINT, record.row, record.pairs)
        if len(index) and index.max() >= record.points:
            yield PAIR_POINT, f"a pair names point {index.max()} of {record.points}"
        borders = np.zeros(len(index) + 1, bool)
        borders[list(record.offsets)] = True
        if not (borders[1:-1] | (index[1:] > index[:-1])).all():
            yield PAIR_POINT, "the points of a camera's pairs do not ascend"
        self.rows.entries(PAIR_UV, record.row, record.pairs)

    def _sweep_faults(
        self, layer: SweepLayer, record: FrameRecord
    ) -> Iterator[tuple[BlockArray, str]]:
        points = self.rows.entries(layer.points, record.row, record.points)
        if not np.isfinite(points).all():
            yield layer.points, "points are not finite"
        if layer.info.pairs:
            index = self.rows.entries(layer.pair_point, record.row, record.pairs)
            if len(index) and index.max() >= record.points:
                yield layer.pair_point, f"a pair names point {index.max()} of {record.points}"
            self.rows.entries(layer.pair_uv, record.row, record.pairs)

    def _region_faults(
        self, layer: RegionLayer, record: FrameRecord
    ) -> Iterator[tuple[BlockArray, str]]:
        maps = self.rows.entries(layer.map, record.row, layer.map.block)
        classes = len(layer.info.settings.classes)
        if classes and ((maps >= classes) & (maps != NO_REGION)).any():
            yield layer.map, f"a pixel has a class beyond the {classes} of the layer"

    def _token_faults(
        self, layer: TeacherLayer, record: FrameRecord
    ) -> Iterator[tuple[BlockArray, str]]:
        info, array = layer.info, layer.tokens
        codes = self.rows.entries(array, record.row, self._count(array, record))
        if info.codec == "fp16" and not np.isfinite(codes).all():
            yield array, "features are not finite"
        elif info.codec != "fp16" and codes.size and codes.min() < -LEVELS:
            yield array, f"codes lie outside [-{LEVELS}, {LEVELS}]"
        if (array := layer.class_token) and not np.isfinite(
            self.rows.entries(array, record.row, array.block)
        ).all():
            yield array, "class tokens are not finite"
        if layer.of_pairs and self._points and record.offsets != self._pair_offsets(record.row):
            yield layer.tokens, "its pairs are not the store's"
        if layer.mask:
            mask = self._mask(layer.mask, record)
            if mask.max() > 1:
                yield layer.mask, "values other than 0 and 1"
            elif (
                self._points
                and (self._needed_tokens(self._points, record.row, layer) & (mask == 0)).any()
            ):
                yield layer.mask, "tokens that a pair needs are not stored"

    def _pair_offsets(self, row: int) -> tuple[int, ...]:
        """Offsets of the pairs that the store has of a row."""
        assert self._points
        return next(record.offsets for record in self._points.commit.frames if record.row == row)

    def _needed_tokens(self, points: ShardRows, row: int, layer: TeacherLayer) -> NDArray[np.bool_]:
        """(M, h, w) bool: tokens that sampling at a frame's pairs reads."""
        record = next(record for record in points.commit.frames if record.row == row)
        if record.reason:
            return np.zeros((layer.cameras, *layer.info.grid), bool)
        camera = torch.from_numpy(pair_cameras(record.offsets))
        uv = torch.from_numpy(normalised_uv(points.entries(PAIR_UV, row, record.pairs)))
        return tap_mask(camera, uv, torch.tensor(record.image_size), layer.info.grid).numpy()

    def _index_problems(self) -> Iterator[Problem]:
        """Indices that do not say what the writer says: the frames' chunks in row order, one after
        another."""
        for array in self.arrays:
            for column in range(self.rows.columns(array)):
                if fault := self._index_fault(array, column):
                    yield self._problem(
                        array.key(self.commit.shard, column), fault, self._stored_records
                    )

    def _index_fault(self, array: BlockArray, column: int) -> str:
        file = self.rows.file(array, column)
        chunk_mask = np.zeros((SHARD_ROWS, array.blocks), bool)
        for record in self._stored_records:
            blocks = -(-self._count(array, record) // array.block) - column * array.blocks
            chunk_mask[record.row % SHARD_ROWS, : max(blocks, 0)] = True
        if not np.array_equal(file.index != EMPTY, np.repeat(chunk_mask.reshape(-1, 1), 2, axis=1)):
            return "its index lists other chunks than the frames have"
        start, size = file.index[chunk_mask.ravel()].astype(np.int64).T
        if not np.array_equal(start, np.cumsum(size) - size) or size.sum() != file.data_bytes:
            return "its chunks do not follow one another"
        if not compressor(array.codec) and (size != array.block_bytes).any():
            return "its chunks have another size than the array's"
        return ""


def record_fault(commit: Commit, layer: Layer, ids: Mapping[int, str]) -> str:
    """What is wrong with a commit record beyond its checksum; empty when nothing is.

    Args:
        ids: frame id of every row that the shard must hold.
    """
    if [(record.row, record.id) for record in commit.frames] != sorted(ids.items()):
        return "its rows or frame ids are not the store's"
    stored_records = [record for record in commit.frames if not record.reason]
    names = {layer.checksum_name(array) for array in layer.arrays}
    for record in stored_records:
        if set(record.checksums) != names:
            record_names = sorted(record.checksums)
            return f"frame {record.id} has checksums of {record_names}, not of {sorted(names)}"
        if isinstance(layer, PointLayer) and (fault := _point_record_fault(record, layer.cameras)):
            return f"frame {record.id}: {fault}"
        if isinstance(layer, SweepLayer) and (fault := _sweep_record_fault(record, layer)):
            return f"frame {record.id}: {fault}"
    keys = set()
    for array in layer.arrays:
        longest = max((layer.most_entries(array, record) for record in stored_records), default=0)
        columns = max(1, -(-longest // array.capacity))
        keys |= {array.key(commit.shard, column) for column in range(columns)}
    if set(commit.files) != keys:
        return f"it lists the files {sorted(commit.files)}, not {sorted(keys)}"
    return ""


def _sweep_record_fault(record: FrameRecord, layer: SweepLayer) -> str:
    """What is wrong with the values in a frame's record of earlier sweeps; empty when nothing
    is."""
    bounds, seconds = np.array(record.sweeps), np.array(record.seconds)
    if len(bounds) != len(seconds) + 1 or len(seconds) > layer.info.count:
        return f"{len(seconds)} times and {len(bounds)} bounds of {layer.info.count} sweeps"
    if bounds[0] != 0 or bounds[-1] != record.points or (np.diff(bounds) < 0).any():
        return f"bounds of sweeps {record.sweeps} do not ascend from 0 to {record.points}"
    if not (np.isfinite(seconds).all() and (seconds < 0).all() and (np.diff(seconds) < 0).all()):
        return f"sweeps at {record.seconds} s are not one before the other"
    offsets = np.array(record.offsets)
    expected = (layer.cameras + 1,) if layer.info.pairs else (0,)
    if offsets.shape != expected or (len(offsets) and (offsets[0] or (np.diff(offsets) < 0).any())):
        return f"pair offsets {record.offsets} do not ascend from 0 over {layer.cameras} cameras"
    return ""


def _point_record_fault(record: FrameRecord, cameras: int) -> str:
    """What is wrong with the values in a frame's record of points and pairs; empty when nothing
    is."""
    offsets, size, pose = (
        np.array(record.offsets),
        np.array(record.image_size),
        np.array(record.pose, np.float64),
    )
    if offsets.shape != (cameras + 1,) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        return f"pair offsets {record.offsets} do not ascend from 0 over {cameras} cameras"
    if size.shape != (cameras, 2) or (size < 1).any() or (size >= 2**16).any():
        return f"image sizes {record.image_size} are not those of {cameras} cameras"
    if record.points < 0 or not -LATEST <= record.timestamp < LATEST:
        return f"{record.points} points at timestamp {record.timestamp}"
    if (
        pose.shape != (16,)
        or not np.isfinite(pose).all()
        or np.abs(pose[12:] - LAST_ROW).max() > 1e-9
    ):
        return f"pose {record.pose} is no 4 x 4 rigid transform"
    rotation = pose[:12].reshape(3, 4)[:, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > RIGID or np.linalg.det(rotation) < 0:
        return f"pose {record.pose} does not rotate"
    return ""
