"""Copies of a store: some of its frames, some of its teachers and regions, in the codec they have
or in another one."""

import difflib
import random
import warnings
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import CleverError, StoreWarning
from ..choices import CODECS, Codec
from ..codec import Calibration, Statistics, calibrate, decode, encode, measure
from ..fidelity import Fidelity
from ..store.contents import Contents
from ..store.files.lock import writer_lock
from ..store.files.remote import AnyPath
from ..store.layers import (
    Layer,
    RegionLayer,
    SweepLayer,
    TeacherLayer,
    choose_layer,
    choose_regions,
)
from ..store.layout import SHARD_ROWS, BlockArray
from ..store.records.commits import records_by_row, total_fidelity
from ..store.records.models import TeacherInfo
from ..store.records.seals import unsealed_layers
from ..store.rows import ShardRows
from ..store.store import Store, calibration_of
from ..store.writer import GridShard, PointShard, RegionShard, SweepShard

SAMPLE = 200
"""Frames that a new codec is fitted to."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to copy.

    Attributes:
        teachers: ids of layers or beginnings of them; None for all.
        scenes: names of scenes; None for all.
        limit: the first frames of these, None for all.
        codec: codec of the copied teachers' layers; None for the one that each has.
        regions: ids of layers of regions or beginnings of them; None for all. Earlier sweeps are
            always copied.
    """

    teachers: tuple[str, ...] | None = None
    scenes: tuple[str, ...] | None = None
    limit: int | None = None
    codec: Codec | None = None
    regions: tuple[str, ...] | None = None


class Copy:
    """A copy about to be made; `len` is the number of frames to write, counted in every layer.

    A source of schema 1 is read too; the copy is of this schema. An interrupted copy goes on where
    it stopped. Frames that the source skipped are skipped in the copy, with the same reason; those
    that it has not finished in every chosen layer are left out.

    Args:
        source: folder or URL of the store to copy from.
        target: folder of the copy, new or of a store made with the same settings, which is then
            extended.
        selection: what to copy.

    Attributes:
        rows: rows of the source that are copied.
        pending: selected frames that the source has not finished.

    Raises:
        CleverError: unknown teacher, scene or codec; nothing to copy; the target is the source.
    """

    def __init__(self, source: AnyPath, target: Path, selection: Selection) -> None:
        self.store = Contents(source, allow_schema1=True)
        if isinstance(source, Path) and (
            target.resolve() == source.resolve() or source.resolve() in target.resolve().parents
        ):
            raise CleverError(
                f"{target} lies in {source} itself; choose another place for the copy"
            )
        if selection.codec not in (None, *CODECS):
            raise CleverError(
                f"unknown codec {selection.codec!r}; choose one of {', '.join(CODECS)}"
            )
        self.target = target
        self.codec: Codec | None = selection.codec
        self._layers = [
            _Source(self.store, layer)
            for layer in (
                self.store.points,
                *_choose_teachers(self.store, selection.teachers),
                *_choose_regions(self.store, selection.regions),
                *(self.store.sweep_layer(info.id) for info in self.store.sweeps()),
            )
        ]
        if layers := unsealed_layers(self.store.path):
            warnings.warn(
                f"{source}: {', '.join(layers)} not copied: without a seal, because a run has not "
                "ended or it is lost; `clever cache verify` says which, `clever cache repair` "
                "writes it again",
                StoreWarning,
                stacklevel=1,
            )
        selection_rows = _choose_rows(self.store, selection)
        self.rows = [
            row for row in selection_rows if all(row in layer.records for layer in self._layers)
        ]
        self.pending = len(selection_rows) - len(self.rows)
        if not self.rows:
            empty = [
                layer.layer.id
                for layer in self._layers
                if not any(row in layer.records for row in selection_rows)
            ]
            whose = f": {', '.join(empty)} has none of them" if empty else ""
            raise CleverError(
                f"{source} has no finished frame among those asked for{whose}; nothing is copied"
            )
        self._row = {self.store.ids[row]: row for row in self.rows}
        self._first_rows = {row // SHARD_ROWS: row for row in reversed(self.rows)}

    def __len__(self) -> int:
        return len(self.rows) * len(self._layers)

    def run(self, advance: Callable[[int], None]) -> dict[str, Fidelity | None]:
        """Make the copy; `advance` is told after every shard how many frames it held.

        Returns:
            The copied teachers; of those that were encoded anew how close they are to what the
            source holds.

        Raises:
            CleverError: the target cannot be written, or has other settings, calibration or frames;
                a damaged source.
        """
        with writer_lock(self.target):
            target = Store.open_or_create(self.target, self.store.base)
            target.extend(list(self._row), [self.store.scenes[row] for row in self.rows])
            for layer in (source.layer for source in self._layers):
                if isinstance(layer, RegionLayer):
                    target.add_regions(layer.info.settings, layer.info.folder)
                elif isinstance(layer, SweepLayer):
                    target.add_sweeps(layer.info.count, layer.info.pairs)
            copies = [
                (source, self._add_teacher(target, source, source.info) if source.info else None)
                for source in self._layers
            ]
            for source, info in copies:
                layer = info.id if info else source.layer.id
                for shard in target.pending_shards(layer, target.rows_of(list(self._row))):
                    self._write(target, source, info, shard)
                    advance(len(target.shard_rows(shard)))
            target.finalise()
            return {
                info.id: None if source.keeps(info) else target.fidelity(info.id)
                for source, info in copies
                if info
            }

    def _add_teacher(self, target: Store, source: "_Source", info: TeacherInfo) -> TeacherInfo:
        """Find or add the copy of a teacher layer, with its calibration."""
        codec: Codec = info.codec
        description, request = info.description, info.request
        fingerprint = info.fingerprint.values()
        if self.codec is not None and self.codec != codec:
            # Not what the teacher would give in this codec: another layer, which no run of
            # cache-teacher will extend.
            fingerprint = {**fingerprint, "reencoded_from": [*info.reencoded_from, codec]}
            description, request = f"{description}, re-encoded from {codec}", None
            codec = self.codec
        copy_info = target.add_teacher(
            info.alias,
            description,
            info.grid,
            info.channels,
            codec,
            info.tokens,
            fingerprint,
            request,
        )
        target_calibration = target.calibration(copy_info)
        calibration = (
            source.calibration
            if source.keeps(copy_info)
            else target_calibration or self._calibrate(source, copy_info)
        )
        if target_calibration is None and calibration is not None:
            target.set_calibration(copy_info, calibration, self.store.calibration_gaps(info))
        elif target_calibration and calibration and not target_calibration.equals(calibration):
            raise CleverError(
                f"{target.path} holds {copy_info.id} with another calibration; choose another "
                "target"
            )
        return copy_info

    def _calibrate(self, layer: "_Source", info: TeacherInfo) -> Calibration | None:
        """Fit a codec to stored features: those of `SAMPLE` random frames, or of all."""
        stored_rows = [row for row in self.rows if not layer.records[row].reason]
        sample = sorted(random.Random(info.id).sample(stored_rows, min(SAMPLE, len(stored_rows))))
        features = (layer.features(row).tokens for row in sample)
        return calibrate([Statistics.of(part) for part in features if part.numel()], info.codec)

    def _write(self, target: Store, layer: "_Source", info: TeacherInfo | None, shard: int) -> None:
        """Write and commit one shard of the copy."""
        rows = [(row, self._source_row(target.ids[row])) for row in target.shard_rows(shard)]
        calibration = target.calibration(info) if info else None
        fidelity = Fidelity.none()
        with closing(_shard(target, layer.layer, info, shard)) as writer:
            for row, source in rows:
                record = replace(layer.records[source], row=row)
                if record.reason or layer.keeps(info):
                    writer.add_packed(record, {} if record.reason else layer.chunks(source))
                elif isinstance(writer, GridShard) and info:
                    fidelity += _encode(
                        writer, row, info.codec, calibration, layer.features(source)
                    )
            if layer.keeps(info):
                fidelity = layer.fidelity(
                    source for _, source in rows if source == self._first_rows[source // SHARD_ROWS]
                )
            writer.commit(fidelity if info else None)

    def _source_row(self, frame: str) -> int:
        if frame not in self._row:
            raise CleverError(
                f"{self.target} holds frame {frame}, which is not copied here; choose another "
                "target"
            )
        return self._row[frame]


@dataclass(frozen=True, slots=True)
class _StoredFeatures:
    """A frame of a teacher layer.

    Attributes:
        tokens: (M, h, w, C) float32, or (n, C) of a ``hit`` layer or of pairs.
        hit: (M, h, w) bool, the tokens of a ``hit`` layer.
        class_token: (M, C) float32 of a layer that holds them.
        offsets: of the pairs over the cameras, of a layer of their features.
    """

    tokens: Tensor
    hit: NDArray[np.bool_] | None
    class_token: NDArray[np.float32] | None
    offsets: tuple[int, ...]


class _Source:
    """A layer of the source; holds one shard of it in memory."""

    def __init__(self, store: Contents, layer: Layer) -> None:
        self.store, self.layer, self.arrays = store, layer, layer.arrays
        self.info = layer.info if isinstance(layer, TeacherLayer) else None
        content = store.teacher_content(self.info.id) if self.info else None
        self.calibration = calibration_of(content) if content else None
        self._commits = {commit.shard: commit for commit in store.commits(layer.id)}
        self.records = records_by_row(self._commits.values())
        self._shard: ShardRows | None = None

    def keeps(self, info: TeacherInfo | None) -> bool:
        """Whether the copy of this layer has its codec, so that chunks are copied as they are."""
        return self.info is None or info is None or info.codec == self.info.codec

    def chunks(self, row: int) -> dict[BlockArray, list[NDArray[np.uint8]]]:
        """The chunks of a row, checked against the frame's checksums."""
        shard = self._rows(row)
        for array in self.arrays:
            if not shard.intact(array, self.records[row]):
                where = f"{self.store.path}: frame {self.records[row].id} of {self.layer.id}"
                raise CleverError(f"{where} is damaged; run `clever cache repair`")
        return {array: shard.chunks(array, row) for array in self.arrays}

    def features(self, row: int) -> "_StoredFeatures":
        """What a row of a teacher layer holds, decoded."""
        self.chunks(row)
        shard, layer = self._rows(row), self.layer
        assert isinstance(layer, TeacherLayer)
        hit, class_token = (
            None if array is None else shard.entries(array, row, array.block)
            for array in (layer.mask, layer.class_token)
        )
        hit = None if hit is None else hit.astype(bool)
        tokens = layer.tokens
        record = self.records[row]
        count = tokens.block if hit is None else int(hit.sum())
        codes = shard.entries(tokens, row, record.pairs if layer.of_pairs else count)
        decoded = decode(torch.from_numpy(codes.copy()), self.calibration)
        return _StoredFeatures(decoded, hit, class_token, record.offsets)

    def fidelity(self, rows: Iterable[int]) -> Fidelity:
        """Fidelity of the shards of `rows`. It is known by the shard: a copied shard gets that of
        the shards whose first copied frame it holds, so that the copy's total is that of all shards
        that its frames came from."""
        return total_fidelity(self._commits[row // SHARD_ROWS] for row in rows)

    def _rows(self, row: int) -> ShardRows:
        commit = self._commits[row // SHARD_ROWS]
        if self._shard is None or self._shard.commit is not commit:
            self._shard = ShardRows(self.store.path, self.layer, commit)
        return self._shard


def _shard(
    target: Store, layer: Layer, info: TeacherInfo | None, shard: int
) -> GridShard | PointShard | RegionShard | SweepShard:
    """Writer of a shard of the copy of a layer."""
    if info:
        return GridShard(target, info, shard)
    if isinstance(layer, RegionLayer):
        return RegionShard(target, layer.info, shard)
    if isinstance(layer, SweepLayer):
        return SweepShard(target, layer.info, shard)
    return PointShard(target, shard)


def _encode(
    writer: GridShard,
    row: int,
    codec: Codec,
    calibration: Calibration | None,
    stored: "_StoredFeatures",
) -> Fidelity:
    """Store a row in another codec; returns how close it is to what it was."""
    features, hit = stored.tokens, stored.hit
    codes, clip_count = encode(features, codec, calibration)
    grid: NDArray[Any] = codes.numpy()
    if hit is not None:
        grid = np.zeros((*hit.shape, codes.shape[-1]), grid.dtype)
        grid[hit] = codes.numpy()
    writer.add(row, grid, hit, stored.class_token, stored.offsets)
    return (
        measure(features, decode(codes, calibration), int(clip_count))
        if features.numel()
        else Fidelity.none()
    )


def _choose_teachers(store: Contents, names: tuple[str, ...] | None) -> list[TeacherLayer]:
    ids = [info.id for info in store.teachers()]
    if names is not None:
        ids = list(dict.fromkeys(choose_layer(ids, name, str(store.path)) for name in names))
    return [store.teacher_layer(layer) for layer in ids]


def _choose_regions(store: Contents, names: tuple[str, ...] | None) -> list[RegionLayer]:
    ids = [info.id for info in store.regions()]
    if names is not None:
        ids = list(dict.fromkeys(choose_regions(ids, name, str(store.path)) for name in names))
    return [store.region_layer(layer) for layer in ids]


def _choose_rows(store: Contents, selection: Selection) -> list[int]:
    rows = [row for row, frame in enumerate(store.ids) if frame]
    if selection.scenes is not None:
        scenes = sorted({store.scenes[row] for row in rows})
        for scene in selection.scenes:
            if scene not in scenes:
                close = difflib.get_close_matches(scene, scenes, n=3) or scenes[:5]
                raise CleverError(f"{store.path} has no scene {scene!r}; it has {', '.join(close)}")
        rows = [row for row in rows if store.scenes[row] in selection.scenes]
    return rows[: selection.limit]
