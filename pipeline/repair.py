"""Repair: recompute exactly the damaged shards, write everything else that is damaged from the rest
of the store."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cache.care.layer_state import LayerState
from ..cache.care.mend import mend
from ..cache.care.problems import Problem, problem_count
from ..cache.care.verify import Verification
from ..cache.store.files.lock import writer_lock
from ..cache.store.files.shards import ShardFile
from ..cache.store.layers import RegionLayer, SweepLayer, TeacherLayer, place
from ..cache.store.layout import SHARD_ROWS
from ..cache.store.records.commits import write_commit
from ..cache.store.records.models import Commit, FrameRecord, RegionInfo, TeacherInfo
from ..cache.store.store import Store
from ..cache.store.writer import PointShard
from ..errors import CleverError, FrameError
from ..words import quantity
from .datasets import LidarDataset
from .process.device import cores
from .process.progress import Track
from .regions.fill import RegionStage
from .regions.maps import RegionReader, needs_dataset
from .regions.superpixels import slic_version
from .settings.care import RepairSettings
from .stage_one.fill import StageOne
from .stage_one.frames import FrameReader
from .stage_one.rebuild import rebuilt_stage
from .stage_one.sweeps import SweepStage
from .verify import open_source, run_verification


@dataclass(slots=True)
class RepairSummary:
    """What a repair found and did.

    Attributes:
        path: folder of the store.
        problems: every problem before.
        remainder: every problem after.
        recomputed: (layer, shard) of every shard that was written again.
        changed: ids of frames, by layer, whose bytes are not those that their records promised
            before.
        skipped: (layer, frame id, reason) of the frames in these shards that cannot be had again.
    """

    path: Path
    problems: list[Problem]
    remainder: list[Problem] = field(default_factory=list)
    recomputed: list[tuple[str, int]] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"found {problem}" for problem in self.problems]
        lines += [f"recomputed shard {shard} of {layer}" for layer, shard in self.recomputed]
        lines += [
            f"{quantity(len(frames), 'frame')} of {layer} with other bytes than before "
            f"({', '.join(frames)}): another machine, library version or `batch_images` than when "
            "they were first made"
            for layer, frames in self.changed.items()
            if frames
        ]
        lines += [f"skipped {frame} [{layer}]: {reason}" for layer, frame, reason in self.skipped]
        lines += [f"left {problem}" for problem in self.remainder]
        count = f"{problem_count(self.problems)} found, {len(self.remainder)} left"
        return "\n".join([*lines, f"{self.path}: {count}"])


def repair(settings: RepairSettings) -> RepairSummary:
    """Verify a store and put right what is wrong; a shard is given up for recomputing only when it
    can be recomputed.

    Raises:
        CleverError: another process writes to the store; damaged shards and no dataset, a dataset
            that lacks their frames, or another teacher than the layer's (the differing fields are
            named).
    """
    with writer_lock(settings.path):
        verification = Verification(settings.path, cores())
        summary = RepairSummary(settings.path, run_verification(verification))
        if not summary.problems or verification.base is None:
            summary.remainder = summary.problems
            return summary
        mend(verification, summary.problems)
        for layer in verification.layers:
            damaged = {problem.shard for problem in summary.problems if problem.layer == layer.name}
            if shards := sorted(shard for shard in damaged if shard is not None):
                home = place(layer.name)
                redo = _RegionRedo if home.is_regions else _SweepRedo if home.is_sweeps else _Redo
                redo(settings, verification.base, layer, shards).run(summary)
        summary.remainder = run_verification(Verification(settings.path, cores()))
        return summary


class _Redo:
    """Recomputes damaged shards of one layer.

    Args:
        points: the store's points and pairs.
        layer: the damaged layer, as it was found.
        shards: its damaged shards.

    Raises:
        CleverError: the dataset or the teacher is not at hand, or not the one that the layer was
            made with.
    """

    def __init__(
        self, settings: RepairSettings, points: LayerState, layer: LayerState, shards: list[int]
    ) -> None:
        self.layer, self.shards = layer, shards
        self.store = Store(settings.path)
        self.dataset = _source(settings, points, layer, shards)
        self.reader = FrameReader(self.store, self.dataset)
        self.stored_layer = layer.layer(len(self.store.cameras))
        self.stage = (
            _stage(settings, self.store, self.stored_layer.info, self.dataset)
            if isinstance(self.stored_layer, TeacherLayer)
            else None
        )

    def run(self, summary: RepairSummary) -> None:
        """Recompute the shards, after making sure that no frame which is stored now would be
        lost."""
        for shard in self.shards:
            for row in self._stored_rows(shard):
                self._try(row)
        with Track(
            f"repairing {self.layer.name}", sum(map(len, map(self.store.shard_rows, self.shards)))
        ) as track:
            if self.stage:
                self.stage.strict = False
                self.stage.run(set(), {self.layer.name: self.shards}, track.advance)
            else:
                for shard in self.shards:
                    track.advance(self._write_points(shard))
        for shard in self.shards:
            _note(summary, self.store, self.layer, shard)
        self.store.refresh(self.layer.name)

    def _stored_rows(self, shard: int) -> list[int]:
        """The rows whose bytes are there now, damaged or not; none where the shard's file or index
        is lost."""
        array = self.stored_layer.arrays[0]
        try:
            file = ShardFile(self.store.path / array.key(shard, 0), array.inner_chunks)
            rows = self.store.shard_rows(shard)
            return [
                row for row in rows if file.chunks(row % SHARD_ROWS * array.blocks, array.blocks)
            ]
        except CleverError:
            return []

    def _try(self, row: int) -> None:
        try:
            if self.stage:
                self.stage.load(row, images=True)
            else:
                self.reader.read(row)
        except FrameError as error:
            raise _left_as_it_is(row // SHARD_ROWS, self.layer, error) from error

    def _write_points(self, shard: int) -> int:
        rows = self.store.shard_rows(shard)
        with closing(PointShard(self.store, shard)) as writer:
            for row in rows:
                try:
                    writer.add(row, *self.reader.read(row))
                except FrameError as error:
                    writer.fail(row, error.reason)
            writer.commit()
        return len(rows)


class _RegionRedo:
    """Recomputes damaged shards of a layer of regions; see `_Redo`."""

    def __init__(
        self, settings: RepairSettings, points: LayerState, layer: LayerState, shards: list[int]
    ) -> None:
        self.layer, self.shards, self.store = layer, shards, Store(settings.path)
        stored = layer.layer(len(self.store.cameras))
        assert isinstance(stored, RegionLayer)
        info, pattern = stored.info, stored.info.settings.pattern
        if pattern is None and slic_version() != info.settings.version:
            raise CleverError(
                f"{info.id} was made with scikit-image {info.settings.version}, and "
                f"{slic_version()} is installed; install that one to repair it"
            )
        dataset = _source(settings, points, layer, shards) if needs_dataset(pattern) else None
        self.reader = RegionReader(self.store, info, dataset, _masks_folder(settings, info))

    def run(self, summary: RepairSummary) -> None:
        """Recompute the shards, after making sure that the files of the masks are those that they
        were made of."""
        for shard in self.shards:
            self._refuse_other_files(shard)
        frames = sum(len(self.store.shard_rows(shard)) for shard in self.shards)
        with Track(f"repairing {self.layer.name}", frames) as track:
            RegionStage(self.reader, self.store, cores(), strict=False).run(
                self.shards, track.advance
            )
        for shard in self.shards:
            _note(summary, self.store, self.layer, shard)
        self.store.refresh(self.layer.name)

    def _refuse_other_files(self, shard: int) -> None:
        before = self.layer.commits.get(shard)
        points = {record.row: record for record in self.store.commit("points", shard).frames}
        for record in before.frames if before else ():
            if record.reason:
                continue
            try:
                sources = self.reader.read(record.row, points[record.row]).sources
            except FrameError as error:
                raise CleverError(
                    f"shard {shard} of {self.layer.name} is left as it is, because {error}; "
                    "restore it and repair again"
                ) from error
            if sources != record.sources:
                raise CleverError(
                    f"shard {shard} of {self.layer.name} is left as it is, because the masks of "
                    f"frame {record.id} are other files than before; restore them (`masks`), or "
                    "drop the layer and add it again"
                )


class _SweepRedo:
    """Recomputes damaged shards of a layer of earlier sweeps; see `_Redo`."""

    def __init__(
        self, settings: RepairSettings, points: LayerState, layer: LayerState, shards: list[int]
    ) -> None:
        self.layer, self.shards, self.store = layer, shards, Store(settings.path)
        stored = layer.layer(len(self.store.cameras))
        assert isinstance(stored, SweepLayer)
        dataset = _source(settings, points, layer, shards)
        self.stage = SweepStage(self.store, dataset, stored.info, 1, strict=False)

    def run(self, summary: RepairSummary) -> None:
        """Recompute the shards, after making sure that no frame which is stored now would be
        lost."""
        for shard in self.shards:
            self._try(shard)
        frames = sum(len(self.store.shard_rows(shard)) for shard in self.shards)
        with Track(f"repairing {self.layer.name}", frames) as track:
            self.stage.run(self.shards, track.advance)
        for shard in self.shards:
            _note(summary, self.store, self.layer, shard)
        self.store.refresh(self.layer.name)

    def _try(self, shard: int) -> None:
        """Raise CleverError where a frame that the shard holds cannot be had again."""
        before = self.layer.commits.get(shard)
        stored = {record.row for record in before.frames if not record.reason} if before else ()
        for record in self.store.commit(self.store.points.id, shard).frames:
            if record.row in stored:
                try:
                    self.stage.work(record.row, record)
                except FrameError as error:
                    raise _left_as_it_is(shard, self.layer, error) from error


def _left_as_it_is(shard: int, layer: LayerState, error: FrameError) -> CleverError:
    return CleverError(
        f"shard {shard} of {layer.name} is left as it is, because {error}; restore it and repair "
        "again"
    )


def _masks_folder(settings: RepairSettings, info: RegionInfo) -> Path | None:
    """Where the masks of a layer lie; None for superpixels."""
    if info.settings.source == "slic":
        return None
    folder = settings.masks or Path(info.folder or "")
    if not folder.is_dir():
        raise CleverError(f"the masks of {info.id} are not in {folder}; say where by `masks`")
    return folder


def _source(
    settings: RepairSettings, points: LayerState, layer: LayerState, shards: list[int]
) -> LidarDataset:
    """The dataset of the store; raises CleverError where it is not given."""
    if settings.data_root is None:
        raise CleverError(
            f"shards {', '.join(map(str, shards))} of {layer.name} are damaged and need the "
            "dataset: give "
            "`data_root`; what can be mended without it is mended"
        )
    return open_source(settings, settings.path, points)


def _note(summary: RepairSummary, store: Store, layer: LayerState, shard: int) -> None:
    """Tell a summary of a shard that was written again."""
    name = layer.name
    summary.recomputed.append((name, shard))
    if shard in layer.commits:
        summary.changed.setdefault(name, []).extend(_keep_times(store, layer.commits[shard]))
    frames = store.commit(name, shard).frames
    summary.skipped += [(name, frame.id, frame.reason) for frame in frames if frame.reason]


def _stage(
    settings: RepairSettings, store: Store, info: TeacherInfo, dataset: LidarDataset
) -> StageOne:
    """Stage one with the teacher that made a layer; it stops at the first bad frame."""
    values = {
        name: getattr(settings, name)
        for name in ("data_root", "batch_images", "decoders", "device", "weights")
    }
    return rebuilt_stage(store, info, dataset, {**values, "strict": True}, "damaged")


def _keep_times(store: Store, before: Commit) -> list[str]:
    """Give frames that failed again the time of their first failure; returns the frames whose bytes
    have changed."""
    after = store.commit(before.layer, before.shard)
    earlier = {record.row: record for record in before.frames}
    frames = tuple(_with_time(record, earlier) for record in after.frames)
    if frames != after.frames:
        write_commit(store.path, replace(after, frames=frames))
    return [record.id for record in frames if record.checksums != earlier[record.row].checksums]


def _with_time(record: FrameRecord, earlier: Mapping[int, FrameRecord]) -> FrameRecord:
    before = earlier[record.row]
    return (
        replace(record, time=before.time)
        if record.reason and record.reason == before.reason
        else record
    )
