"""Verification: every byte of a local store against its checksums, every value against its range,
every reference.

A byte is covered once: shards by commit records, views by seals, records and seals by their own
checksum; a file that nothing covers is a problem too. So no single changed, lost or added byte goes
unseen.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from ...errors import CleverError
from ..store.layers import layer_arrays
from ..store.layout import SHARD_ROWS
from ..store.records import Commit, commit_path
from ..store.seals import seal_path
from ..store.store import check_schema, layer_views
from .layer_state import LayerState, read_layer
from .problems import Problem
from .shard_checks import ShardCheck, record_fault


class Verification:
    """A check of a whole store: iterate over it for lists of problems, one list a step; `len` is
    the number of steps.

    Nothing is written. The store must not be written to meanwhile (see `lock.refuse_writer`).

    Args:
        path: folder of the store.

    Attributes:
        bytes: bytes read so far.
        layers: the layers that could be read; points and pairs first, if that could.
        base: points and pairs, None where nothing says what they are.

    Raises:
        CleverError: no store there, or one of another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = {
            file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()
        }
        if not self._found & {"zarr.json", self._inside(seal_path(path, "points"))}:
            raise CleverError(
                f"no feature cache at {path}; make one with `clever cache-teacher --cache PATH`"
            )
        self.bytes = sum(
            (path / name).stat().st_size for name in self._found if "/commits/" in name
        )
        folders = [
            name.split("/")
            for name in self._found
            if name.startswith("teachers/") and not _is_part(name)
        ]
        read = [
            read_layer(path, name)
            for name in ("points", *sorted({parts[1] for parts in folders if parts[2:]}))
        ]
        self._problems = [problem for _, problems in read for problem in problems]
        self.layers = [state for state, _ in read if state]
        self._unreadable = [problems[0].layer for state, problems in read if state is None]
        self.base = read[0][0]
        if self.base:
            check_schema(self.base.content, str(path))
            self._ids: list[str] = self.base.content["ids"]
            self._cameras = len(self.base.content["base"]["cameras"])
            for layer in self.layers:
                self._drop_faulty_records(layer)

    def __len__(self) -> int:
        return 1 + (sum(len(layer.commits) for layer in self.layers) if self.base else 0)

    def __iter__(self) -> Iterator[list[Problem]]:
        if not self.base:
            yield self._problems
            return
        yield self._problems + list(self._metadata_problems()) + list(self._strays())
        sound: dict[int, Commit] = {}
        for layer in self.layers:
            for shard, commit in layer.commits.items():
                check = ShardCheck(self.path, commit, layer.info, self._cameras, sound.get(shard))
                problems = check.problems()
                self.bytes += check.bytes
                if layer is self.base and not problems:
                    sound[shard] = commit
                yield problems

    def _inside(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _rows(self, shard: int) -> dict[int, str]:
        """Frame ids of the used rows of a shard."""
        rows = range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, len(self._ids)))
        return {row: self._ids[row] for row in rows if self._ids[row]}

    def _drop_faulty_records(self, layer: LayerState) -> None:
        for shard, commit in list(layer.commits.items()):
            if fault := record_fault(commit, layer.info, self._cameras, self._rows(shard)):
                layer.lost[shard] = f"wrong: {fault}"
                del layer.commits[shard]

    def _metadata_problems(self) -> Iterator[Problem]:
        for layer in self.layers:
            for shard, how in layer.lost.items():
                record = self._inside(commit_path(self.path, layer.name, shard))
                frames = tuple(self._rows(shard).values())
                yield Problem(
                    record, f"commit record is {how}", "recompute", layer.name, shard, frames
                )
            yield from self._view_problems(layer)

    def _view_problems(self, layer: LayerState) -> Iterator[Problem]:
        """Views that are missing, damaged, or say something else than the commit records."""
        intact: dict[str, bytes] = {}
        wanted = layer_views(
            layer.content, list(layer.commits.values()), self._cameras, len(self._ids)
        )
        for name, known in (layer.files or dict.fromkeys(wanted)).items():
            try:
                data = (self.path / name).read_bytes()
            except OSError as error:
                yield Problem(name, f"cannot be read: {error.strerror}", "rewrite", layer.name)
                continue
            self.bytes += len(data)
            if known and known != {"bytes": len(data), "crc32c": google_crc32c.value(data)}:
                yield Problem(name, "differs from its checksum", "rewrite", layer.name)
            else:
                intact[name] = data
        if later := sorted(set(layer.commits) - set(layer.sealed)):
            group = "frames/zarr.json" if layer.info is None else f"teachers/{layer.name}/zarr.json"
            shards = ", ".join(map(str, later))
            what = f"tables lack shards that were committed later ({shards}): a run was cut off"
            yield Problem(group, what, "rewrite", layer.name)
        elif not layer.lost:
            yield from self._disagreements(layer.name, intact, wanted)

    def _disagreements(
        self, layer: str, found: dict[str, bytes], wanted: dict[str, bytes]
    ) -> Iterator[Problem]:
        """Intact views that other versions of the libraries may have written, compared by what they
        mean."""
        differing = {
            name for name in {*found, *wanted} if name in found and found[name] != wanted.get(name)
        }
        for metadata in sorted(name for name in wanted if name.endswith("zarr.json")):
            folder = metadata.removesuffix("zarr.json")
            part = {name for name in differing if name.startswith((f"{folder}c/", metadata))}
            if part and not _same(*(_open(files, folder) for files in (found, wanted))):
                yield Problem(
                    metadata, "does not say what the commit records say", "rewrite", layer
                )

    def _strays(self) -> Iterator[Problem]:
        """Files that nothing covers."""
        covered = {self._inside(seal_path(self.path, layer.name)) for layer in self.layers}
        for layer in self.layers:
            covered |= set(
                layer.files or layer_views(layer.content, [], self._cameras, len(self._ids))
            )
            covered |= {
                self._inside(commit_path(self.path, layer.name, shard))
                for shard in (*layer.commits, *layer.lost)
            }
            covered |= {name for commit in layer.commits.values() for name in commit.files}
        shards = {
            f"{array.path}/c/": layer
            for layer in self.layers
            for array in layer_arrays(layer.info, self._cameras)
        }
        unknown = tuple(f"teachers/{name}/" for name in self._unreadable)
        for name in sorted(name for name in self._found - covered if not name.startswith(unknown)):
            folder = next((folder for folder in shards if name.startswith(folder)), None)
            shard = name.removeprefix(folder).split("/")[0] if folder else ""
            if _is_part(name):
                yield Problem(name, "left over from an interrupted write", "remove")
            elif folder and shard.isdigit() and int(shard) in shards[folder].lost:
                continue
            elif folder:
                yield Problem(name, "belongs to no committed shard", "remove", shards[folder].name)
            else:
                yield Problem(name, "does not belong to the store", "none")


def _is_part(name: str) -> bool:
    return name.endswith(".part")


def _same(found: Any, wanted: Any) -> bool:
    """Whether two groups or arrays mean the same; of sharded arrays, whose chunks lie elsewhere,
    the metadata alone."""
    if found is None or type(found) is not type(wanted):
        return False
    if isinstance(wanted, zarr.Group):
        return dict(found.attrs) == dict(wanted.attrs)
    properties = (
        "shape",
        "dtype",
        "chunks",
        "shards",
        "fill_value",
        "compressors",
        "serializer",
        "filters",
    )
    if any(getattr(found, name) != getattr(wanted, name) for name in properties):
        return False
    return wanted.shards is not None or np.array_equal(found[...], wanted[...])


def _open(files: dict[str, bytes], folder: str) -> Any:
    """The group or array at `folder` (ending in "/", or empty) among `files`; None where it cannot
    be read."""
    names = [
        name for name in files if name == f"{folder}zarr.json" or name.startswith(f"{folder}c/")
    ]
    store = MemoryStore(
        {name.removeprefix(folder): cpu.Buffer.from_bytes(files[name]) for name in names}
    )
    try:
        return zarr.open(store, mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
