"""The writer's side of a store: what it holds, what is still to do, and how a shard is written and
committed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import google_crc32c
import numpy as np
import torch

from ...errors import CleverError
from ...files import fsync_folder
from ..codec import CODECS, Calibration, Fidelity
from . import layout, views
from .layers import Json, TeacherInfo, differences, fingerprint_hash, teacher_arrays, teacher_info
from .layout import SHARD_ROWS
from .records import Commit, FrameRecord, commit_path, committed_shards, read_commit
from .seals import read_seal, seal_path, sealed_teachers, write_seal


def read_attributes(folder: Path) -> Json:
    """Attributes of a Zarr group on local disk.

    Raises:
        CleverError: no readable Zarr v3 group at `folder`.
    """
    path = folder / "zarr.json"
    try:
        return json.loads(path.read_bytes())["attributes"]
    except FileNotFoundError as error:
        raise CleverError(
            f"no feature cache at {folder}; make one with `clever cache-teacher --cache PATH`"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CleverError(
            f"{path} is not the metadata of a feature cache ({error}); restore it from a copy"
        ) from error


def check_schema(attributes: Json, path: str) -> None:
    """Raise CleverError when a store is of another format or schema version."""
    if attributes.get("format") != layout.FORMAT:
        raise CleverError(
            f"{path} is a Zarr group but no feature cache; give the path of a `clever "
            "cache-teacher` store"
        )
    if attributes.get("schema") != layout.SCHEMA:
        raise CleverError(
            f"{path} has cache schema {attributes.get('schema')}, this clever reads schema "
            f"{layout.SCHEMA}; "
            "make the cache again or use the clever version that wrote it"
        )


class Store:
    """A feature cache opened for writing; hold `writer_lock` while using one.

    Ids, settings and calibration come from the seals (see `seal.Seal`), so damaged views mislead no
    writer:

    - ``points``: format, schema, base (settings of points and pairs), ids and scenes by row, "" for
      a hole;
    - a teacher: info (`TeacherInfo`) and calibration (centre and step; null where there is none
      yet).

    Args:
        path: folder of the store; it must exist (see `open_or_create`).

    Raises:
        CleverError: no store there, one of another schema, or a damaged seal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not seal_path(path, "points").exists():
            check_schema(read_attributes(path), str(path))
        content = read_seal(path, "points").content
        check_schema(content, str(path))
        self.base: Json = content["base"]
        self.cameras: list[str] = list(self.base["cameras"])
        self.ids: list[str] = content["ids"]
        self.scenes: list[str] = content["scenes"]

    @classmethod
    def open_or_create(cls, path: Path, base: Json) -> "Store":
        """Open the store at `path`, or make an empty one; what an interrupted write left half done
        is removed.

        Args:
            base: settings of points and pairs: dataset, cameras, visibility rule.

        Raises:
            CleverError: the store there has other base settings (the differing fields are named),
                or `path` holds something else.
        """
        if not seal_path(path, "points").exists() and not (path / "zarr.json").exists():
            if path.exists() and (not path.is_dir() or _holds_files(path)):
                raise CleverError(f"{path} exists and is no feature cache; choose another --cache")
            _write_layer(path, "points", base_content(base, [], []), [])
        store = cls(path)
        if store.base != base:
            raise CleverError(
                f"{path} was made with other settings: {differences(store.base, base)}; choose "
                "another --cache"
            )
        store.drop_parts()
        return store

    def extend(self, ids: list[str], scenes: list[str]) -> None:
        """Give rows to the frames that have none yet; new rows start at a shard boundary, so no
        shard is rewritten."""
        known = set(self.ids)
        fresh = [
            (frame, scene) for frame, scene in zip(ids, scenes, strict=True) if frame not in known
        ]
        if not fresh:
            return
        hole = -len(self.ids) % SHARD_ROWS
        self.ids += [""] * hole + [frame for frame, _ in fresh]
        self.scenes += [""] * hole + [scene for _, scene in fresh]
        self.finalise()

    def rows_of(self, ids: list[str]) -> list[int]:
        """Rows of frames, in the given order."""
        row = {frame: number for number, frame in enumerate(self.ids)}
        return [row[frame] for frame in ids]

    def teachers(self) -> list[TeacherInfo]:
        """Teacher layers of the store, by id."""
        return [self.teacher(layer) for layer in sealed_teachers(self.path)]

    def teacher(self, layer: str) -> TeacherInfo:
        """One teacher layer."""
        return teacher_info(layer, read_seal(self.path, layer).content["info"])

    def add_teacher(
        self,
        alias: str,
        description: str,
        grid: tuple[int, int],
        channels: int,
        codec: str,
        tokens: str,
        fingerprint: Json,
        request: Json | None = None,
    ) -> TeacherInfo:
        """Find the layer with this fingerprint, or add it; it remembers the latest `request`.

        Raises:
            CleverError: unknown codec; an id that another fingerprint already has.
        """
        if codec not in CODECS:
            raise CleverError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}")
        whole = {**fingerprint, "codec": codec, "tokens": tokens}
        layer = f"{alias}-{fingerprint_hash(whole)[:4]}"
        info = TeacherInfo(
            layer, alias, description, grid, channels, codec, tokens, whole, request or {}
        )
        if seal_path(self.path, layer).exists():
            present = self.teacher(layer)
            if present.fingerprint != whole:
                differing = differences(present.fingerprint, whole)
                raise CleverError(
                    f"{self.path}: another teacher has the id {layer}; it differs in {differing}"
                )
            if request and present.request != request:
                content = read_seal(self.path, layer).content
                self._finalise_teacher(
                    {**content, "info": asdict(replace(present, request=request))}
                )
            return self.teacher(layer)
        self._finalise_teacher(teacher_content(info, None))
        return info

    def calibration(self, info: TeacherInfo) -> Calibration | None:
        """The layer's frozen int8 calibration, or None when it has none yet."""
        return calibration_of(read_seal(self.path, info.id).content)

    def set_calibration(
        self, info: TeacherInfo, calibration: Calibration | None, missing: Sequence[str] = ()
    ) -> None:
        """Freeze the layer's int8 calibration; must happen before its first shard. None takes it
        back.

        Args:
            missing: ids of sampled frames that could not be read.
        """
        self._finalise_teacher(teacher_content(info, calibration, missing))

    def uncalibrated(self, info: TeacherInfo) -> list[str]:
        """Ids of the frames that the layer's calibration should have seen but could not read."""
        arrays = read_seal(self.path, info.id).content["calibration"]
        return arrays["missing"] if arrays else []

    def pending(self, layer: str, rows: list[int]) -> list[int]:
        """Shards that hold one of `rows` and are not committed in `layer` (``points`` or a teacher
        id)."""
        done = set(committed_shards(self.path, layer))
        return sorted({row // SHARD_ROWS for row in rows} - done)

    def uncommit(self, layer: str, shards: Iterable[int]) -> None:
        """Take back the commits of shards, so that they are redone.

        The layer's status goes first: without it readers trust the commit records alone, and
        `finalise` writes it anew.
        """
        paths = [commit_path(self.path, layer, shard) for shard in shards]
        if not any(path.exists() for path in paths):
            return
        status = self.path / _status_path(layer) / "zarr.json"
        if status.exists():
            status.unlink()
            fsync_folder(status.parent)
        for path in paths:
            path.unlink(missing_ok=True)
        fsync_folder(paths[0].parent)

    def commits(self, layer: str) -> list[Commit]:
        """Commit records of a layer, by shard."""
        return [
            read_commit(self.path, layer, shard) for shard in committed_shards(self.path, layer)
        ]

    def failures(self, layer: str) -> list[FrameRecord]:
        """Frames that were skipped in the points or in `layer`, by row, each once.

        The views must be up to date (see `finalise`).
        """
        by_row = {record.row: record for name in (layer, "points") for record in self._failed(name)}
        return [by_row[row] for row in sorted(by_row)]

    def forget_failed(self, layer: str, rows: Iterable[int]) -> None:
        """Uncommit the shards in which one of `rows` failed, in `layer` and in the points, so that
        they are redone.

        The views must be up to date (see `finalise`).
        """
        for name in ("points", layer):
            failed = {record.row for record in self._failed(name)} & set(rows)
            self.uncommit(name, {row // SHARD_ROWS for row in failed})

    def unseen(self) -> list[int]:
        """Rows of stored frames without a pair: no camera sees a point of them. The views must be
        up to date."""
        frames = self.path / "frames"
        pairs, status = (layout.read_array(frames / name) for name in ("pairs", "status"))
        return np.flatnonzero((status == layout.OK) & (pairs[:, -1] == 0)).tolist()

    def fidelity(self, layer: str) -> Fidelity:
        """How faithful a teacher layer's stored features are; the views must be up to date."""
        values = read_attributes(self.path / "teachers" / layer)["fidelity"]
        return Fidelity(**{**values, "histogram": tuple(values["histogram"])})

    def shard_rows(self, shard: int) -> list[int]:
        """The used rows of a shard."""
        last = min((shard + 1) * SHARD_ROWS, len(self.ids))
        return [row for row in range(shard * SHARD_ROWS, last) if self.ids[row]]

    def finalise(self) -> None:
        """Bring seals, frame tables and array metadata up to date with the commit records."""
        content = base_content(self.base, self.ids, self.scenes)
        if not self._is_current("points", content):
            _write_layer(self.path, "points", content, self.commits("points"))
        for layer in sealed_teachers(self.path):
            self._finalise_teacher(read_seal(self.path, layer).content)

    def refresh(self, layer: str) -> None:
        """Write a layer's seal and views from its commit records, whatever they say now."""
        content = read_seal(self.path, layer).content
        _write_layer(
            self.path, layer, content, self.commits(layer), len(self.cameras), len(self.ids)
        )

    def drop_parts(self) -> None:
        """Remove what writers that were killed left half written; no writer may be at work."""
        for part in self.path.rglob("*.part"):
            part.unlink()

    def _failed(self, layer: str) -> Iterator[FrameRecord]:
        status = layout.read_array(self.path / _status_path(layer))
        for shard in sorted(
            {int(row) // SHARD_ROWS for row in np.flatnonzero(status == layout.FAILED)}
        ):
            yield from (
                record for record in read_commit(self.path, layer, shard).frames if record.reason
            )

    def _finalise_teacher(self, content: Json) -> None:
        layer = content["info"]["id"]
        if not self._is_current(layer, content):
            _write_layer(
                self.path, layer, content, self.commits(layer), len(self.cameras), len(self.ids)
            )

    def _is_current(self, layer: str, content: Json) -> bool:
        """Whether the layer's seal and views are as `_write_layer` would leave them, without
        reading its commits."""
        if not seal_path(self.path, layer).exists():
            return False
        seal = read_seal(self.path, layer)
        if seal.content != content or seal.shards != committed_shards(self.path, layer):
            return False
        if layer != "points":
            array = teacher_arrays(teacher_info(layer, content["info"]), len(self.cameras))[0]
            expected = google_crc32c.value(array.metadata(len(self.ids)))
            if seal.files.get(f"{array.path}/zarr.json", {}).get("crc32c") != expected:
                return False
        views = {self.path / name: stamp["crc32c"] for name, stamp in seal.files.items()}
        return all(
            path.is_file() and google_crc32c.value(path.read_bytes()) == crc
            for path, crc in views.items()
        )


def base_content(base: Json, ids: list[str], scenes: list[str]) -> Json:
    """Content of the seal of points and pairs."""
    return {
        "format": layout.FORMAT,
        "schema": layout.SCHEMA,
        "base": base,
        "ids": ids,
        "scenes": scenes,
    }


def teacher_content(
    info: TeacherInfo, calibration: Calibration | None, missing: Sequence[str] = ()
) -> Json:
    """Content of a teacher layer's seal; float32 values keep every bit as JSON numbers."""
    arrays = (
        {name: values.tolist() for name, values in asdict(calibration).items()}
        if calibration
        else None
    )
    return {
        "info": asdict(info),
        "calibration": {**arrays, "missing": list(missing)} if arrays else None,
    }


def calibration_of(content: Json) -> Calibration | None:
    """The calibration in a teacher layer's seal."""
    arrays = content["calibration"]
    if arrays is None:
        return None
    return Calibration(
        *(torch.tensor(arrays[name], dtype=torch.float32) for name in ("centre", "step"))
    )


def layer_views(content: Json, commits: list[Commit], cameras: int, rows: int) -> dict[str, bytes]:
    """Views of a layer from the content of its seal and its commit records, by path inside the
    store."""
    if "base" in content:
        return views.base_views(content["base"], content["ids"], content["scenes"], commits)
    info = teacher_info(content["info"]["id"], content["info"])
    missing = content["calibration"]["missing"] if content["calibration"] else []
    return views.teacher_views(info, calibration_of(content), missing, cameras, rows, commits)


def _status_path(layer: str) -> str:
    """The array that says which rows of a layer are stored, inside the store."""
    return "frames/status" if layer == "points" else f"teachers/{layer}/status"


def _write_layer(
    path: Path, layer: str, content: Json, commits: list[Commit], cameras: int = 0, rows: int = 0
) -> None:
    """Seal first: a crash leaves views that differ from a seal which is right."""
    files = layer_views(content, commits, cameras, rows)
    write_seal(path, layer, content, [commit.shard for commit in commits], files)
    for name, data in files.items():
        layout.write_if_changed(path / name, data)


def _holds_files(folder: Path) -> bool:
    return any(entry.is_file() and entry.suffix != ".part" for entry in folder.rglob("*"))
