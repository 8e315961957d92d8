"""The writer's side of a store: what it holds, what is still to do, and how a shard is written and
committed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import torch

from ...errors import CleverError
from ...files import fsync_folder
from ..choices import Codec, TokenKind
from ..codec import Calibration
from ..fidelity import Fidelity
from . import layout
from .contents import Contents, read_attributes
from .files.zarr_files import block_metadata, read_array
from .layers import POINTS_ID, place
from .layout import SHARD_ROWS, BlockArray
from .records.commits import commit_path, committed_shards
from .records.models import (
    CalibrationRecord,
    Content,
    ContentT,
    Fingerprint,
    FrameRecord,
    PointContent,
    PointSettings,
    RegionContent,
    RegionInfo,
    RegionSettings,
    Seal,
    SweepContent,
    SweepInfo,
    TeacherContent,
    TeacherInfo,
    TeacherRequest,
    as_json,
    differences,
)
from .records.seals import (
    seal_of,
    seal_path,
    sealed_regions,
    sealed_sweeps,
    sealed_teachers,
    write_seal,
)
from .views import layer_views


def refuse_other(path: Path) -> None:
    """Raise CleverError where `path` holds something else than a store."""
    if seal_path(path, POINTS_ID).exists() or (path / "zarr.json").exists():
        return
    if path.exists() and (not path.is_dir() or _holds_files(path)):
        raise CleverError(f"{path} exists and is no feature cache; choose another `cache`")


class Store(Contents):
    """A feature cache opened for writing; hold `writer_lock` while using one.

    Ids, settings and calibration come from the seals (see `models.Seal`), so damaged views mislead
    no writer. A seal is read once and written through: whoever writes to the store in another
    process is asked for with `reread`.

    Args:
        path: folder of the store; it must exist (see `open_or_create`).

    Raises:
        CleverError: no store there, one of another schema, or a damaged seal.
    """

    def __init__(self, path: Path, allow_schema1: bool = False) -> None:
        super().__init__(path, allow_schema1)
        self._folder = path

    @property
    def path(self) -> Path:
        return self._folder

    @classmethod
    def open_or_create(cls, path: Path, base: PointSettings) -> "Store":
        """Open the store at `path`, or make an empty one; what an interrupted write left half done
        is removed.

        Args:
            base: settings of points and pairs: dataset, cameras, visibility rule.

        Raises:
            CleverError: the store there has other base settings (the differing fields are named),
                or `path` holds something else.
        """
        if not seal_path(path, POINTS_ID).exists() and not (path / "zarr.json").exists():
            refuse_other(path)
            content = PointContent.of(base, (), ())
            _write_files(path, POINTS_ID, content, (), layer_views(content, (), 0, 0))
        store = cls(path)
        store.take_up(base)
        return store

    def take_up(self, base: PointSettings) -> None:
        """Go on with a store that was made with `base`; what an interrupted write left half done is
        removed.

        Raises:
            CleverError: the store has other base settings (the differing fields are named).
        """
        if self.base != base:
            differing = differences(as_json(self.base), as_json(base))
            raise CleverError(
                f"{self.path} was made with other settings: {differing}; choose another `cache`"
            )
        self.drop_parts()

    def reread(self, layer: str) -> None:
        """Read the seal of a layer again when it is next asked for."""
        self._seals.pop(layer, None)

    def extend(self, ids: list[str], scenes: list[str]) -> None:
        """Give rows to the frames that have none yet; new rows start at a shard boundary, so no
        shard is rewritten."""
        stored_ids = set(self.ids)
        new_frames = [
            (frame, scene)
            for frame, scene in zip(ids, scenes, strict=True)
            if frame not in stored_ids
        ]
        if not new_frames:
            return
        hole = -len(self.ids) % SHARD_ROWS
        self.ids += [""] * hole + [frame for frame, _ in new_frames]
        self.scenes += [""] * hole + [scene for _, scene in new_frames]
        self.finalise()

    def rows_of(self, ids: list[str]) -> list[int]:
        """Rows of frames, in the given order."""
        row = {frame: number for number, frame in enumerate(self.ids)}
        return [row[frame] for frame in ids]

    def add_teacher(
        self,
        alias: str,
        description: str,
        grid: tuple[int, int],
        channels: int,
        codec: Codec,
        tokens: TokenKind,
        fingerprint: dict[str, object],
        request: TeacherRequest | None = None,
    ) -> TeacherInfo:
        """Find the layer with this fingerprint, or add it; it remembers the latest `request`.

        Raises:
            CleverError: an id that another fingerprint already has.
        """
        full_fingerprint = Fingerprint.model_validate(
            {**fingerprint, "codec": codec, "tokens": tokens}
        )
        layer = f"{alias}-{full_fingerprint.sha256[:4]}"
        info = TeacherInfo(
            layer, alias, description, grid, channels, codec, tokens, full_fingerprint, request
        )
        if not seal_path(self.path, layer).exists():
            self._finalise_layer(layer, TeacherContent(info))
            return info
        content = self.teacher_content(layer)
        stored_info = content.info
        if stored_info.fingerprint.values() != full_fingerprint.values():
            differing = differences(stored_info.fingerprint.values(), full_fingerprint.values())
            raise CleverError(
                f"{self.path}: another teacher has the id {layer}; it differs in {differing}"
            )
        if request and stored_info.request != request:
            stored_info = replace(stored_info, request=request)
            self._finalise_layer(layer, replace(content, info=stored_info))
        return stored_info

    def add_regions(self, settings: RegionSettings, folder: str | None = None) -> RegionInfo:
        """Find the layer of regions with these settings, or add it; it remembers the latest
        `folder`.

        Raises:
            CleverError: an id that other settings already have.
        """
        info = RegionInfo(settings.layer, settings, folder)
        if seal_path(self.path, info.id).exists():
            stored = self.region(info.id)
            if stored.settings != settings:
                differing = differences(as_json(stored.settings), as_json(settings))
                raise CleverError(
                    f"{self.path}: other regions have the id {info.id}; they differ in {differing}"
                )
            if stored == info:
                return stored
        self._finalise_layer(info.id, RegionContent(info))
        return info

    def add_sweeps(self, count: int, pairs: bool) -> SweepInfo:
        """Find the layer of so many earlier sweeps, or add it."""
        info = SweepInfo.of(count, pairs)
        if not seal_path(self.path, info.id).exists():
            self._finalise_layer(info.id, SweepContent(info))
        return info

    def calibration(self, info: TeacherInfo) -> Calibration | None:
        """The layer's frozen int8 calibration, or None when it has none yet."""
        return calibration_of(self.teacher_content(info.id))

    def set_calibration(
        self, info: TeacherInfo, calibration: Calibration | None, missing: Sequence[str] = ()
    ) -> None:
        """Freeze the layer's int8 calibration; must happen before its first shard. None takes it
        back.

        Args:
            missing: ids of sampled frames that could not be read.
        """
        record = calibration_record(calibration, missing)
        self._finalise_layer(info.id, TeacherContent(info, record))

    def pending_shards(self, layer: str, rows: list[int]) -> list[int]:
        """Shards that hold one of `rows` and are not committed in `layer` (``points`` or a teacher
        id)."""
        committed = set(committed_shards(self.path, layer))
        return sorted({row // SHARD_ROWS for row in rows} - committed)

    def uncommit(self, layer: str, shards: Iterable[int]) -> None:
        """Take back the commits of shards, so that they are redone.

        The layer's status goes first: without it readers trust the commit records alone, and
        `finalise` writes it anew.
        """
        paths = [commit_path(self.path, layer, shard) for shard in shards]
        if not any(path.exists() for path in paths):
            return
        status = self.path / place(layer).status / "zarr.json"
        if status.exists():
            status.unlink()
            fsync_folder(status.parent)
        for path in paths:
            path.unlink(missing_ok=True)
        fsync_folder(paths[0].parent)

    def failures(self, layer: str) -> list[FrameRecord]:
        """Frames that were skipped in the points or in `layer`, by row, each once.

        The views must be up to date (see `finalise`).
        """
        by_row = {
            record.row: record
            for name in (layer, self.points.id)
            for record in self._failure_records(name)
        }
        return [by_row[row] for row in sorted(by_row)]

    def forget_failures(self, layer: str, rows: Iterable[int]) -> None:
        """Uncommit the shards in which one of `rows` failed, in `layer` and in the points, so that
        they are redone.

        The views must be up to date (see `finalise`).
        """
        for name in (self.points.id, layer):
            failed_rows = {record.row for record in self._failure_records(name)} & set(rows)
            self.uncommit(name, {row // SHARD_ROWS for row in failed_rows})

    def rows_without_pairs(self) -> list[int]:
        """Rows of stored frames without a pair: no camera sees a point of them. The views must be
        up to date."""
        frames = self.path / self.points.place.group
        pairs, status = (read_array(frames / name) for name in ("pairs", "status"))
        return np.flatnonzero((status == layout.OK) & (pairs[:, -1] == 0)).tolist()

    def fidelity(self, layer: str) -> Fidelity:
        """How faithful a teacher layer's stored features are; the views must be up to date."""
        values = read_attributes(self.path / place(layer).group)["fidelity"]
        return Fidelity(**{**values, "histogram": tuple(values["histogram"])})

    def finalise(self) -> None:
        """Bring seals, frame tables and array metadata up to date with the commit records."""
        content = PointContent.of(self.base, tuple(self.ids), tuple(self.scenes))
        self._finalise_layer(self.points.id, content)
        further = (*sealed_regions(self.path), *sealed_sweeps(self.path))
        for layer in (*sealed_teachers(self.path), *further):
            self._finalise_layer(layer, self._seal(layer).content)

    def refresh(self, layer: str) -> None:
        """Write a layer's seal and views from its commit records, whatever they say now."""
        self._write_layer(layer, self._seal(layer).content)

    def drop_parts(self) -> None:
        """Remove what writers that were killed left half written; no writer may be at work."""
        for part in self.path.rglob("*.part"):
            part.unlink()

    def _failure_records(self, layer: str) -> Iterator[FrameRecord]:
        status = read_array(self.path / place(layer).status)
        for shard in sorted(
            {int(row) // SHARD_ROWS for row in np.flatnonzero(status == layout.FAILED)}
        ):
            yield from (record for record in self.commit(layer, shard).frames if record.reason)

    def _finalise_layer(self, layer: str, content: Content) -> None:
        if not self._is_current(layer, content):
            self._write_layer(layer, content)

    def _write_layer(self, layer: str, content: Content) -> None:
        commits = self.commits(layer)
        files = layer_views(content, commits, len(self.cameras), len(self.ids))
        shards = [commit.shard for commit in commits]
        if isinstance(content, PointContent):
            self._point_seal = _write_files(self.path, layer, content, shards, files)
        else:
            self._seals[layer] = _write_files(self.path, layer, content, shards, files)

    def _columns(self, array: BlockArray) -> int:
        """Shards along the second axis, as the array's metadata says."""
        try:
            shape = json.loads((self.path / array.path / "zarr.json").read_bytes())["shape"]
            return int(shape[1]) // array.capacity
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return 1

    def _is_current(self, layer: str, content: Content) -> bool:
        """Whether the layer's seal and views are as `_write_layer` would leave them, without
        reading its commits."""
        if not seal_path(self.path, layer).exists():
            return False
        seal = self._seal(layer)
        if seal.content != content or list(seal.shards) != committed_shards(self.path, layer):
            return False
        if not isinstance(content, PointContent):
            array = self.layer(layer).arrays[0]
            metadata = seal.files.get(f"{array.path}/zarr.json")
            columns = self._columns(array) if isinstance(content, SweepContent) else 1
            crc = google_crc32c.value(block_metadata(array, len(self.ids), columns))
            if metadata is None or metadata.crc32c != crc:
                return False
        views = {self.path / name: stamp.crc32c for name, stamp in seal.files.items()}
        return all(
            path.is_file() and google_crc32c.value(path.read_bytes()) == crc
            for path, crc in views.items()
        )


def _write_files(
    path: Path, layer: str, content: ContentT, shards: Sequence[int], views: dict[str, bytes]
) -> Seal[ContentT]:
    """Seal first: a crash leaves views that differ from a seal which is right."""
    seal = seal_of(layer, content, shards, views)
    write_seal(path, seal)
    for name, data in views.items():
        layout.write_if_changed(path / name, data)
    return seal


def calibration_of(content: TeacherContent) -> Calibration | None:
    """The calibration in a teacher layer's seal."""
    record = content.calibration
    if record is None:
        return None
    return Calibration(
        *(torch.tensor(values, dtype=torch.float32) for values in (record.centre, record.step))
    )


def calibration_record(
    calibration: Calibration | None, missing: Sequence[str] = ()
) -> CalibrationRecord | None:
    """A calibration as a seal holds it."""
    if calibration is None:
        return None
    centre, step = calibration.centre.tolist(), calibration.step.tolist()
    return CalibrationRecord(tuple(centre), tuple(step), tuple(missing))


def _holds_files(folder: Path) -> bool:
    return any(entry.is_file() and entry.suffix != ".part" for entry in folder.rglob("*"))
