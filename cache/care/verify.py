"""Verification: every byte of a store against its checksums, every value against its range,
every reference.

A byte is covered once: shards by commit records, views by seals, records and seals by their own
checksum; a file that nothing covers is a problem too. So no single changed, lost or added byte goes
unseen.
"""

from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from ...errors import CleverError
from ..ordered_map import ordered_map
from ..store.files.remote import AnyPath, files_below
from ..store.layers import POINTS_ID, Layer, layers_of_files, place
from ..store.layout import SHARD_ROWS
from ..store.records.models import Commit, PointContent, Stamp
from ..store.rows import ShardRows
from ..store.views import layer_views
from .layer_state import LayerState, read_layer
from .problems import Problem
from .shard_checks import ShardCheck, record_fault


class Verification:
    """A check of a whole store: iterate over it for lists of problems, one list a step; `len` is
    the number of steps.

    Nothing is written. The store must not be written to meanwhile (see `lock.refuse_writer`).

    Args:
        path: the store's folder or URL.
        threads: shards that are checked at once.

    Attributes:
        bytes: bytes read so far.
        layers: the layers that could be read; points and pairs first, if that could.
        base: points and pairs, None where nothing says what they are.
        cameras: number of cameras.

    Raises:
        CleverError: no store there, or one of another schema.
    """

    def __init__(self, path: AnyPath, threads: int = 1) -> None:
        if path.is_file():
            raise CleverError(f"{path} is a file; give the folder of a feature cache")
        self.path, self._threads = path, threads
        sizes = files_below(path)
        self._names = set(sizes)
        if not self._names & {"zarr.json", place(POINTS_ID).seal}:
            raise CleverError(f"no feature cache at {path}; make one with clever cache-teacher")
        self.bytes = sum(size for name, size in sizes.items() if "/commits/" in name)
        layers = layers_of_files(name for name in self._names if not _is_part(name))
        layer_readings = [read_layer(path, name) for name in (POINTS_ID, *layers)]
        self._problems = [problem for _, problems in layer_readings for problem in problems]
        self.layers = [state for state, _ in layer_readings if state]
        self._unreadable = [
            problems[0].layer for state, problems in layer_readings if state is None
        ]
        self.base = layer_readings[0][0]
        self._ids: tuple[str, ...] = ()
        self.cameras = 0
        if self.base and isinstance(self.base.content, PointContent):
            self._ids = self.base.content.ids
            self.cameras = len(self.base.content.base.cameras)
            for layer in self.layers:
                self._drop_faulty_records(layer)

    @property
    def rows(self) -> int:
        """Rows of the store."""
        return len(self._ids)

    def layer(self, state: LayerState) -> Layer:
        """The layer of a state."""
        return state.layer(self.cameras)

    def __len__(self) -> int:
        return 1 + (sum(len(layer.commits) for layer in self.layers) if self.base else 0)

    def __iter__(self) -> Iterator[list[Problem]]:
        if not self.base:
            yield self._problems
            return
        yield self._problems + list(self._metadata_problems()) + list(self._strays())
        sound: set[int] = set()
        points, base = self.base.layer(self.cameras), self.base

        def check(layer: Layer, shard: int, commit: Commit) -> tuple[int, int, list[Problem]]:
            below = ShardRows(self.path, points, base.commits[shard]) if shard in sound else None
            shard_check = ShardCheck(self.path, layer, commit, below)
            problems = shard_check.problems()
            return shard, shard_check.bytes, problems

        for state in self.layers:  # points first: the others are compared with the sound ones
            layer = self.layer(state)
            checks = ordered_map(
                lambda item, layer=layer: check(layer, *item), state.commits.items(), self._threads
            )
            for shard, bytes_read, problems in checks:
                self.bytes += bytes_read
                if state is base and not problems:
                    sound.add(shard)
                yield problems

    def _rows(self, shard: int) -> dict[int, str]:
        """Frame ids of the used rows of a shard."""
        rows = range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, len(self._ids)))
        return {row: self._ids[row] for row in rows if self._ids[row]}

    def _drop_faulty_records(self, layer: LayerState) -> None:
        for shard, commit in list(layer.commits.items()):
            if fault := record_fault(commit, self.layer(layer), self._rows(shard)):
                layer.record_faults[shard] = f"wrong: {fault}"
                del layer.commits[shard]

    def _metadata_problems(self) -> Iterator[Problem]:
        for layer in self.layers:
            for shard, fault in layer.record_faults.items():
                record = place(layer.name).commit(shard)
                frames = tuple(self._rows(shard).values())
                yield Problem(
                    record, f"commit record is {fault}", "recompute", layer.name, shard, frames
                )
            yield from self._view_problems(layer)

    def _view_problems(self, layer: LayerState) -> Iterator[Problem]:
        """Views that are missing, damaged, or say something else than the commit records."""
        intact_views: dict[str, bytes] = {}
        current_views = layer_views(
            layer.content, list(layer.commits.values()), self.cameras, self.rows
        )
        for name, stamp in (layer.files or dict.fromkeys(current_views)).items():
            try:
                data = (self.path / name).read_bytes()
            except OSError as error:
                yield Problem(name, f"cannot be read: {error.strerror}", "rewrite", layer.name)
                continue
            self.bytes += len(data)
            if stamp and stamp != Stamp(len(data), google_crc32c.value(data)):
                yield Problem(name, "differs from its checksum", "rewrite", layer.name)
            else:
                intact_views[name] = data
        if late_shards := sorted(set(layer.commits) - set(layer.seal_shards)):
            group = f"{place(layer.name).group}/zarr.json"
            shards = ", ".join(map(str, late_shards))
            fault = f"tables lack shards that were committed later ({shards}): a run was cut off"
            yield Problem(group, fault, "rewrite", layer.name)
        elif not layer.record_faults:
            own = layer.files or current_views
            for metadata in sorted(current_views):
                if metadata.endswith("zarr.json") and metadata not in own:
                    fault = "is no part of this store, which another version wrote"
                    yield Problem(metadata, fault, "rewrite", layer.name)
            yield from self._disagreements(layer.name, intact_views, current_views)

    def _disagreements(
        self, layer: str, views: dict[str, bytes], current_views: dict[str, bytes]
    ) -> Iterator[Problem]:
        """Intact views that other versions of the libraries may have written, compared by what they
        mean."""
        differing = {name for name, data in views.items() if data != current_views.get(name)}
        for metadata in sorted(name for name in current_views if name.endswith("zarr.json")):
            folder = metadata.removesuffix("zarr.json")
            part = {name for name in differing if name.startswith((f"{folder}c/", metadata))}
            nodes = (_read_node(files, folder) for files in (views, current_views))
            if part and not _nodes_agree(*nodes):
                yield Problem(
                    metadata, "does not say what the commit records say", "rewrite", layer
                )

    def _strays(self) -> Iterator[Problem]:
        """Files that nothing covers."""
        covered_files = {place(layer.name).seal for layer in self.layers}
        for layer in self.layers:
            covered_files |= set(
                layer.files
                or layer_views(layer.content, list(layer.commits.values()), self.cameras, self.rows)
            )
            covered_files |= {
                place(layer.name).commit(shard) for shard in (*layer.commits, *layer.record_faults)
            }
            covered_files |= {name for commit in layer.commits.values() for name in commit.files}
        shards = {
            f"{array.path}/c/": layer for layer in self.layers for array in self.layer(layer).arrays
        }
        unreadable = tuple(f"{place(name).group}/" for name in self._unreadable)
        for name in sorted(
            name for name in self._names - covered_files if not name.startswith(unreadable)
        ):
            folder = next((folder for folder in shards if name.startswith(folder)), None)
            shard = name.removeprefix(folder).split("/")[0] if folder else ""
            if _is_part(name):
                yield Problem(name, "left over from an interrupted write", "remove")
            elif folder and shard.isdigit() and int(shard) in shards[folder].record_faults:
                continue
            elif folder:
                yield Problem(name, "belongs to no committed shard", "remove", shards[folder].name)
            else:
                yield Problem(name, "does not belong to the store", "none")


def _is_part(name: str) -> bool:
    return name.endswith(".part")


def _nodes_agree(node: Any, current: Any) -> bool:
    """Whether two groups or arrays mean the same; of sharded arrays, whose chunks lie elsewhere,
    the metadata alone."""
    if node is None or type(node) is not type(current):
        return False
    if isinstance(current, zarr.Group):
        return dict(node.attrs) == dict(current.attrs)
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
    if any(getattr(node, name) != getattr(current, name) for name in properties):
        return False
    return current.shards is not None or np.array_equal(node[...], current[...])


def _read_node(files: dict[str, bytes], folder: str) -> Any:
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
