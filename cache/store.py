"""The writer's side of a store: what it holds, what is still to do, and how a shard is written and committed."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import CleverError
from ..files import atomic_write
from . import layout
from .codec import CODECS, Calibration, Fidelity
from .commits import Commit, FrameRecord, commit_path, committed_shards, read_commit
from .layout import BLOCK_ARRAYS, SHARD_ROWS, BlockArray
from .tables import TABLE_ROWS, FrameTable, status_column

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TeacherInfo:
    """One teacher layer.

    Attributes:
        id: alias and short fingerprint, e.g. ``vitb14-224x448-3f2a``.
        alias: model and image size.
        description: where the weights come from, in words.
        grid: tokens down and across.
        channels: feature width.
        codec: one of `CODECS`.
        tokens: ``grid`` (every token) or ``hit`` (those within reach of a point).
        fingerprint: every setting that changes a feature, in clear.
    """

    id: str
    alias: str
    description: str
    grid: tuple[int, int]
    channels: int
    codec: str
    tokens: str
    fingerprint: Json


def fingerprint_hash(fingerprint: Json) -> str:
    """sha256 of the canonical JSON of a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(stored: Json, wanted: Json) -> str:
    """The fields in which two settings differ, with both values, on one line."""
    keys = sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key))
    return "; ".join(f"{key}: stored {stored.get(key)!r}, wanted {wanted.get(key)!r}" for key in keys)


def read_attributes(folder: Path) -> Json:
    """Attributes of a Zarr group on local disk.

    Raises:
        CleverError: no readable Zarr v3 group at `folder`.
    """
    path = folder / "zarr.json"
    try:
        return json.loads(path.read_bytes())["attributes"]
    except FileNotFoundError as error:
        raise CleverError(f"no feature cache at {folder}; make one with `clever cache-teacher --cache PATH`") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CleverError(f"{path} is not the metadata of a feature cache ({error}); restore it from a copy") from error


def check_schema(attributes: Json, path: str) -> None:
    """Raise CleverError when a store is of another format or schema version."""
    if attributes.get("format") != layout.FORMAT:
        raise CleverError(
            f"{path} is a Zarr group but no feature cache; give the path of a `clever cache-teacher` store"
        )
    if attributes.get("schema") != layout.SCHEMA:
        raise CleverError(
            f"{path} has cache schema {attributes.get('schema')}, this clever reads schema {layout.SCHEMA}; "
            "make the cache again or use the clever version that wrote it"
        )


class Store:
    """A feature cache opened for writing; hold `writer_lock` while using one.

    Args:
        path: folder of the store; it must exist (see `create`).

    Raises:
        CleverError: no store there, or one of another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        attributes = read_attributes(path)
        check_schema(attributes, str(path))
        self.base = dict(attributes["base"])
        self.cameras: list[str] = list(self.base["cameras"])
        self.ids, self.scenes = self._read_rows()

    @classmethod
    def open_or_create(cls, path: Path, base: Json) -> "Store":
        """Open the store at `path`, or make an empty one.

        Args:
            base: settings of points and pairs: dataset, cameras, visibility rule.

        Raises:
            CleverError: the store there has other base settings (the differing fields are named), or `path` holds
                something else.
        """
        if not (path / "zarr.json").exists():
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise CleverError(f"{path} exists and is no feature cache; choose another --cache")
            attributes = {"format": layout.FORMAT, "schema": layout.SCHEMA, "base": base}
            for name in ("frames", "points", "pairs", "teachers"):
                atomic_write(path / name / "zarr.json", layout.group_metadata({}))
            atomic_write(path / "zarr.json", layout.group_metadata(attributes))
        store = cls(path)
        if store.base != base:
            raise CleverError(
                f"{path} was made with other settings: {differences(store.base, base)}; choose another --cache"
            )
        return store

    def extend(self, ids: list[str], scenes: list[str]) -> None:
        """Give rows to the frames that have none yet; new rows start at a shard boundary, so no shard is rewritten."""
        known = set(self.ids)
        fresh = [(frame, scene) for frame, scene in zip(ids, scenes, strict=True) if frame not in known]
        if not fresh:
            return
        hole = -len(self.ids) % SHARD_ROWS
        self.ids += [""] * hole + [frame for frame, _ in fresh]
        self.scenes += [""] * hole + [scene for _, scene in fresh]
        id_rows, scene_rows = layout.text_rows(self.ids, "frame id"), layout.text_rows(self.scenes, "scene")
        layout.write_array(self.path / "frames" / "scene", scene_rows, TABLE_ROWS)
        layout.write_array(self.path / "frames" / "id", id_rows, TABLE_ROWS)

    def rows_of(self, ids: list[str]) -> list[int]:
        """Rows of frames, in the given order."""
        row = {frame: number for number, frame in enumerate(self.ids)}
        return [row[frame] for frame in ids]

    def teachers(self) -> list[TeacherInfo]:
        """Teacher layers of the store, by id."""
        return [self.teacher(folder.name) for folder in teacher_folders(self.path)]

    def teacher(self, layer: str) -> TeacherInfo:
        """One teacher layer."""
        return teacher_info(layer, read_attributes(self.path / "teachers" / layer))

    def add_teacher(
        self,
        alias: str,
        description: str,
        grid: tuple[int, int],
        channels: int,
        codec: str,
        tokens: str,
        fingerprint: Json,
    ) -> TeacherInfo:
        """Find the layer with this fingerprint, or add it.

        Raises:
            CleverError: unknown codec; an id that another fingerprint already has.
        """
        if codec not in CODECS:
            raise CleverError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}")
        whole = {**fingerprint, "codec": codec, "tokens": tokens}
        layer = f"{alias}-{fingerprint_hash(whole)[:4]}"
        info = TeacherInfo(layer, alias, description, grid, channels, codec, tokens, whole)
        folder = self.path / "teachers" / info.id
        if (folder / "zarr.json").exists():
            present = self.teacher(info.id)
            if present.fingerprint != whole:
                differing = sorted(
                    key for key in {*whole, *present.fingerprint} if whole.get(key) != present.fingerprint.get(key)
                )
                raise CleverError(f"{folder}: another teacher has this id; it differs in {', '.join(differing)}")
            return present
        self._write_teacher(info, {})
        return info

    def calibration(self, info: TeacherInfo) -> Calibration | None:
        """The layer's frozen int8 calibration, or None when it has none yet."""
        return read_calibration(self.path / "teachers" / info.id)

    def set_calibration(self, info: TeacherInfo, calibration: Calibration) -> None:
        """Freeze the layer's int8 calibration; must happen before its first shard."""
        folder = self.path / "teachers" / info.id
        layout.write_array(folder / "step", calibration.step.numpy(), info.channels, compress=False)
        layout.write_array(folder / "centre", calibration.centre.numpy(), info.channels, compress=False)

    def pending(self, layer: str, rows: list[int]) -> list[int]:
        """Shards that hold one of `rows` and are not committed in `layer` (``points`` or a teacher id)."""
        done = set(committed_shards(self.path, layer))
        return sorted({row // SHARD_ROWS for row in rows} - done)

    def forget_failed(self, layer: str, rows: list[int]) -> None:
        """Uncommit the shards in which one of `rows` failed, in `layer` and in the points, so that they are redone."""
        for name in ("points", layer):
            for commit in self.commits(name):
                if any(record.reason and record.row in set(rows) for record in commit.frames):
                    commit_path(self.path, name, commit.shard).unlink()

    def commits(self, layer: str) -> list[Commit]:
        """Commit records of a layer, by shard."""
        return [read_commit(self.path, layer, shard) for shard in committed_shards(self.path, layer)]

    def failures(self, layer: str) -> list[FrameRecord]:
        """Frames that were skipped in the points or in `layer`, by row, each once."""
        failed = [record for name in (layer, "points") for commit in self.commits(name) for record in commit.frames]
        by_row = {record.row: record for record in failed if record.reason}
        return [by_row[row] for row in sorted(by_row)]

    def shard_rows(self, shard: int) -> list[int]:
        """The used rows of a shard."""
        last = min((shard + 1) * SHARD_ROWS, len(self.ids))
        return [row for row in range(shard * SHARD_ROWS, last) if self.ids[row]]

    def finalise(self) -> None:
        """Bring the frame tables and the array metadata up to date with the commit records."""
        commits = self.commits("points")
        records = records_by_row(commits)
        frames = self.path / "frames"
        FrameTable.from_records(records, len(self.ids), len(self.cameras)).write(frames)
        layout.write_if_changed(frames / "zarr.json", layout.group_metadata({"commits": len(commits)}))
        longest = max((max(record.points, *record.offsets[-1:]) for record in records.values()), default=1)
        for array in BLOCK_ARRAYS:
            data = array.metadata(len(self.ids), max(1, -(-longest // array.capacity)))
            layout.write_if_changed(self.path / array.path / "zarr.json", data)
        for info in self.teachers():
            self._finalise_teacher(info)

    def _finalise_teacher(self, info: TeacherInfo) -> None:
        folder = self.path / "teachers" / info.id
        commits = self.commits(info.id)
        status = status_column(records_by_row(commits), len(self.ids))
        fidelity = sum((fidelity_of(commit) for commit in commits), Fidelity.none())
        for array in teacher_arrays(info, len(self.cameras)):
            layout.write_if_changed(self.path / array.path / "zarr.json", array.metadata(len(self.ids)))
        layout.write_array(folder / "status", status, TABLE_ROWS)
        self._write_teacher(info, {"commits": len(commits), "fidelity": asdict(fidelity)})

    def _write_teacher(self, info: TeacherInfo, state: Json) -> None:
        attributes = {**asdict(info), "sha256": fingerprint_hash(info.fingerprint), **state}
        layout.write_if_changed(self.path / "teachers" / info.id / "zarr.json", layout.group_metadata(attributes))

    def _read_rows(self) -> tuple[list[str], list[str]]:
        folder = self.path / "frames"
        if not (folder / "id" / "zarr.json").exists():
            return [], []
        ids = layout.row_texts(layout.read_array(folder / "id"))
        return ids, layout.row_texts(layout.read_array(folder / "scene"))[: len(ids)]


def teacher_folders(path: Path) -> list[Path]:
    """Folders of the teacher layers of a local store, by name."""
    return sorted(entry.parent for entry in (path / "teachers").glob("*/zarr.json"))


def teacher_info(layer: str, attributes: Json) -> TeacherInfo:
    """Layer description from the attributes of its group."""
    values = {name: attributes[name] for name in TeacherInfo.__dataclass_fields__}
    height, width = values["grid"]
    return TeacherInfo(**{**values, "id": layer, "grid": (height, width)})


def teacher_arrays(info: TeacherInfo, cameras: int) -> list[BlockArray]:
    """The sharded arrays of a teacher layer: the tokens and, for ``hit`` layers, which ones are stored."""
    grid = (cameras, *info.grid, info.channels)
    tokens = layout.grid_array(info.id, grid, info.codec, info.tokens)
    return [tokens] if info.tokens == "grid" else [tokens, layout.hit_array(info.id, grid)]


def read_calibration(folder: Path) -> Calibration | None:
    """Calibration arrays of a teacher layer on local disk; None when there are none."""
    if not (folder / "centre" / "zarr.json").exists():
        return None
    centre, step = layout.read_array(folder / "centre"), layout.read_array(folder / "step")
    return Calibration(torch.from_numpy(centre), torch.from_numpy(step))


def records_by_row(commits: Iterable[Commit]) -> dict[int, FrameRecord]:
    """Frame records of several shards by row."""
    return {record.row: record for commit in commits for record in commit.frames}


def fidelity_of(commit: Commit) -> Fidelity:
    """The fidelity that a teacher shard's commit recorded."""
    if not commit.fidelity:
        return Fidelity.none()
    values = dict(commit.fidelity)
    return Fidelity(**{**values, "histogram": tuple(values["histogram"])})
