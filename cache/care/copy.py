"""Copies of a store: some of its frames, some of its teachers, in the codec they have or in another
one."""

import difflib
import random
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import CleverError
from ..codec import CODECS, Calibration, Fidelity, Statistics, calibrate, decode, encode, measure
from ..store.layers import TeacherInfo, layer_arrays
from ..store.layout import SHARD_ROWS, BlockArray
from ..store.lock import writer_lock
from ..store.records import records_by_row, total_fidelity
from ..store.rows import ShardRows
from ..store.store import Store
from ..store.writer import GridShard, PointShard

SAMPLE = 200
"""Frames that a new codec is fitted to."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to copy.

    Attributes:
        teachers: ids of layers or beginnings of them; None for all.
        scenes: names of scenes; None for all.
        limit: the first frames of these, None for all.
        codec: codec of the copied layers; None for the one that each has.
    """

    teachers: tuple[str, ...] | None = None
    scenes: tuple[str, ...] | None = None
    limit: int | None = None
    codec: str | None = None


class Copy:
    """A copy about to be made; `len` is the number of frames to write, counted in every layer.

    An interrupted copy goes on where it stopped. Frames that the source skipped are skipped in the
    copy, with the same reason; those that it has not finished in every chosen layer are left out.

    Args:
        source: folder of the store to copy from.
        target: folder of the copy, new or of a store made with the same settings, which is then
            extended.
        selection: what to copy.

    Attributes:
        rows: rows of the source that are copied.
        pending: selected frames that the source has not finished.

    Raises:
        CleverError: unknown teacher, scene or codec; nothing to copy; the target is the source.
    """

    def __init__(self, source: Path, target: Path, selection: Selection) -> None:
        if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
            raise CleverError(
                f"{target} lies in {source} itself; choose another place for the copy"
            )
        if selection.codec not in (None, *CODECS):
            raise CleverError(
                f"unknown codec {selection.codec!r}; choose one of {', '.join(CODECS)}"
            )
        self.target, self.store, self.codec = target, Store(source), selection.codec
        self._layers = [
            _Layer(self.store, info)
            for info in (None, *_choose_teachers(self.store, selection.teachers))
        ]
        wanted = _choose_rows(self.store, selection)
        self.rows = [row for row in wanted if all(row in layer.records for layer in self._layers)]
        self.pending = len(wanted) - len(self.rows)
        if not self.rows:
            raise CleverError(
                f"{source} has no finished frame among those asked for; nothing is copied"
            )
        self._row = {self.store.ids[row]: row for row in self.rows}
        self._first = {row // SHARD_ROWS: row for row in reversed(self.rows)}

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
            made = [
                (layer, layer.info and self._add_teacher(target, layer, layer.info))
                for layer in self._layers
            ]
            for layer, info in made:
                for shard in target.pending(
                    info.id if info else "points", target.rows_of(list(self._row))
                ):
                    self._write(target, layer, info, shard)
                    advance(len(target.shard_rows(shard)))
            target.finalise()
            return {
                info.id: None if layer.keeps(info) else target.fidelity(info.id)
                for layer, info in made
                if info
            }

    def _add_teacher(self, target: Store, layer: "_Layer", info: TeacherInfo) -> TeacherInfo:
        """Find or add the copy of a teacher layer, with its calibration."""
        codec, description, fingerprint, request = (
            info.codec,
            info.description,
            info.fingerprint,
            info.request,
        )
        if self.codec not in (None, codec):
            # Not what the teacher would give in this codec: another layer, which no run of
            # cache-teacher will extend.
            fingerprint = {**fingerprint, "reencoded_from": [*info.reencoded_from, codec]}
            codec, description, request = self.codec, f"{description}, re-encoded from {codec}", {}
        made = target.add_teacher(
            info.alias,
            description,
            info.grid,
            info.channels,
            codec,
            info.tokens,
            fingerprint,
            request,
        )
        present = target.calibration(made)
        wanted = layer.calibration if layer.keeps(made) else present or self._calibrate(layer, made)
        if present is None and wanted is not None:
            target.set_calibration(made, wanted, self.store.uncalibrated(info))
        elif (
            present
            and wanted
            and not (present.centre.equal(wanted.centre) and present.step.equal(wanted.step))
        ):
            raise CleverError(
                f"{target.path} holds {made.id} with another calibration; choose another target"
            )
        return made

    def _calibrate(self, layer: "_Layer", made: TeacherInfo) -> Calibration | None:
        """Fit a codec to stored features: those of `SAMPLE` random frames, or of all."""
        stored = [row for row in self.rows if not layer.records[row].reason]
        sample = sorted(random.Random(made.id).sample(stored, min(SAMPLE, len(stored))))
        features = (layer.features(row)[0] for row in sample)
        return calibrate([Statistics.of(part) for part in features if part.numel()], made.codec)

    def _write(self, target: Store, layer: "_Layer", info: TeacherInfo | None, shard: int) -> None:
        """Write and commit one shard of the copy."""
        rows = [(row, self._source_row(target.ids[row])) for row in target.shard_rows(shard)]
        calibration = target.calibration(info) if info else None
        fidelity = Fidelity.none()
        with closing(
            GridShard(target, info, shard) if info else PointShard(target, shard)
        ) as writer:
            for row, source in rows:
                record = replace(layer.records[source], row=row)
                if record.reason or layer.keeps(info):
                    writer.add_packed(record, {} if record.reason else layer.packed(source))
                elif isinstance(writer, GridShard) and info:
                    fidelity += _encode(
                        writer, row, info.codec, calibration, *layer.features(source)
                    )
            if layer.keeps(info):
                fidelity = layer.fidelity(
                    source for _, source in rows if source == self._first[source // SHARD_ROWS]
                )
            writer.commit(fidelity if info else None)

    def _source_row(self, frame: str) -> int:
        if frame not in self._row:
            raise CleverError(
                f"{self.target} holds frame {frame}, which is not copied here; choose another "
                "target"
            )
        return self._row[frame]


class _Layer:
    """Points and pairs or a teacher layer of the source; holds one shard of it in memory.

    Args:
        info: the teacher; None for points and pairs.
    """

    def __init__(self, store: Store, info: TeacherInfo | None) -> None:
        self.store, self.info = store, info
        self.name = info.id if info else "points"
        self.arrays = layer_arrays(info, len(store.cameras))
        self.calibration = store.calibration(info) if info else None
        self._commits = {commit.shard: commit for commit in store.commits(self.name)}
        self.records = records_by_row(self._commits.values())
        self._shard: ShardRows | None = None

    def keeps(self, info: TeacherInfo | None) -> bool:
        """Whether the copy of this layer has its codec, so that chunks are copied as they are."""
        return self.info is None or info is None or info.codec == self.info.codec

    def packed(self, row: int) -> dict[BlockArray, list[NDArray[np.uint8]]]:
        """The chunks of a row, checked against the frame's checksums."""
        shard = self._rows(row)
        for array in self.arrays:
            if not shard.intact(array, self.records[row]):
                where = f"{self.store.path}: frame {self.records[row].id} of {self.name}"
                raise CleverError(f"{where} is damaged; run `clever cache repair`")
        return {array: shard.packed(array, row) for array in self.arrays}

    def features(self, row: int) -> tuple[Tensor, NDArray[np.bool_] | None]:
        """Decoded tokens of a row: (M, h, w, C) float32, or (n, C) of a ``hit`` layer with its (M,
        h, w) mask."""
        self.packed(row)
        shard, (tokens, *rest) = self._rows(row), self.arrays
        hit = shard.entries(rest[0], row, rest[0].block).astype(bool) if rest else None
        codes = shard.entries(tokens, row, tokens.block if hit is None else int(hit.sum()))
        constants = (
            (self.calibration.centre, self.calibration.step) if self.calibration else (None, None)
        )
        return decode(torch.from_numpy(codes.copy()), *constants), hit

    def fidelity(self, rows: Iterable[int]) -> Fidelity:
        """Fidelity of the shards of `rows`. It is known by the shard: a copied shard gets that of
        the shards whose first copied frame it holds, so that the copy's total is that of all shards
        that its frames came from."""
        return total_fidelity(self._commits[row // SHARD_ROWS] for row in rows)

    def _rows(self, row: int) -> ShardRows:
        commit = self._commits[row // SHARD_ROWS]
        if self._shard is None or self._shard.commit is not commit:
            self._shard = ShardRows(self.store.path, commit)
        return self._shard


def _encode(
    writer: GridShard,
    row: int,
    codec: str,
    calibration: Calibration | None,
    features: Tensor,
    hit: NDArray[np.bool_] | None,
) -> Fidelity:
    """Store a row in another codec; returns how close it is to what it was."""
    codes, clipped = encode(features, codec, calibration)
    constants = (calibration.centre, calibration.step) if calibration else (None, None)
    grid: NDArray[Any] = codes.numpy()
    if hit is not None:
        grid = np.zeros((*hit.shape, codes.shape[-1]), grid.dtype)
        grid[hit] = codes.numpy()
    writer.add(row, grid, hit)
    return (
        measure(features, decode(codes, *constants), int(clipped))
        if features.numel()
        else Fidelity.none()
    )


def _choose_teachers(store: Store, wanted: tuple[str, ...] | None) -> list[TeacherInfo]:
    infos = store.teachers()
    if wanted is None:
        return infos
    chosen: dict[str, TeacherInfo] = {}
    for name in wanted:
        fitting = [info for info in infos if info.id == name] or [
            info for info in infos if info.id.startswith(name)
        ]
        if len(fitting) != 1:
            known = ", ".join(info.id for info in infos) or "none"
            raise CleverError(
                f"teacher {name!r} fits {len(fitting)} of those in {store.path}: {known}"
            )
        chosen[fitting[0].id] = fitting[0]
    return list(chosen.values())


def _choose_rows(store: Store, selection: Selection) -> list[int]:
    used = [row for row, frame in enumerate(store.ids) if frame]
    if selection.scenes is not None:
        known = sorted({store.scenes[row] for row in used})
        for scene in selection.scenes:
            if scene not in known:
                close = difflib.get_close_matches(scene, known, n=3) or known[:5]
                raise CleverError(f"{store.path} has no scene {scene!r}; it has {', '.join(close)}")
        used = [row for row in used if store.scenes[row] in selection.scenes]
    return used[: selection.limit]
