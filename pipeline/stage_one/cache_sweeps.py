"""Earlier sweeps of a store's frames: the part of `clever cache-teacher --sweeps N` after the
teacher's."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ...cache.store.files.lock import writer_lock
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.records.models import FrameRecord, SweepInfo
from ...cache.store.store import Store
from ...cache.time_steps import step_fault
from ...errors import CleverError, FrameError
from ...words import quantity
from ..datasets import open_dataset
from ..datasets.earlier_sweeps import earlier_sweeps
from ..process.device import cores
from ..process.progress import Track
from ..results.run_folder import notice
from ..settings.cache_teacher import CacheTeacherSettings
from .shard_stage import refuse_unfinished_points
from .sweeps import SweepStage


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a store holds of earlier sweeps.

    Attributes:
        info: the layer.
        frames, sweeps, points: stored, and sweeps and points in all.
        attempted: frames that this run worked on.
        failed: (frame id, reason) of those skipped.
        bytes: of the layer's arrays.
    """

    info: SweepInfo
    frames: int
    sweeps: int
    points: int
    attempted: int
    failed: list[tuple[str, str]]
    bytes: int

    def __str__(self) -> str:
        pairs = " with pairs" if self.info.pairs else ""
        return (
            f"{quantity(self.sweeps, 'earlier sweep')}{pairs} of "
            f"{quantity(self.frames, 'frame')}, {self.points:,} points, {self.bytes / 1e6:.2f} MB"
        )


def cache_sweeps(settings: CacheTeacherSettings) -> SweepResult:
    """Add earlier sweeps to all frames of a store that is there; only what is missing is done, by
    threads of this process.

    Raises:
        CleverError: the dataset has no sweeps, or lacks frames of the store; another writer.
    """
    with writer_lock(settings.store):
        store = Store(settings.store)
        info = SweepInfo.of(settings.sweeps, settings.sweep_pairs)
        rows = [row for row, frame in enumerate(store.ids) if frame]
        if settings.retry_failed:
            store.uncommit(info.id, {record.row // SHARD_ROWS for record in _failures(store, info)})
        shards = store.pending_shards(info.id, rows)
        attempted = [row for shard in shards for row in store.shard_rows(shard)]
        if shards:
            _fill(settings, store, info, shards, len(rows), len(attempted))
        return _result(store, info, len(attempted))


def _fill(
    settings: CacheTeacherSettings,
    store: Store,
    info: SweepInfo,
    shards: list[int],
    total: int,
    attempted: int,
) -> None:
    refuse_unfinished_points(store, shards)
    dataset = open_dataset(settings, settings.dataset)
    with suppress(FrameError):  # the tables are read once, before threads share them
        earlier_sweeps(dataset, 0, info.count)
    store.drop_parts()
    store.add_sweeps(info.count, info.pairs)
    stage = SweepStage(store, dataset, info, cores(), settings.strict)
    try:
        with Track(f"caching {info.id}", total, start=total - attempted) as track:
            stage.run(shards, track.advance)
    finally:
        with suppress(CleverError):  # a full disk has been reported already
            store.drop_parts()
            store.finalise()


def _failures(store: Store, info: SweepInfo) -> list[FrameRecord]:
    """Records of the frames that the layer had to skip."""
    return [
        record for commit in store.commits(info.id) for record in commit.frames if record.reason
    ]


def _result(store: Store, info: SweepInfo, attempted: int) -> SweepResult:
    commits = store.commits(info.id)
    records = [record for commit in commits for record in commit.frames]
    stored = [record for record in records if not record.reason]
    steps = [-step for record in stored for step in np.diff([0.0, *record.seconds])]
    if fault := step_fault(steps, "sweeps"):
        notice(f"{store.path}: of {info.id} {fault}; correct the dataset's")
    return SweepResult(
        info,
        len(stored),
        sum(len(record.seconds) for record in stored),
        sum(record.points for record in stored),
        attempted,
        [(record.id, record.reason) for record in _failures(store, info)],
        sum(stamp.bytes for commit in commits for stamp in commit.files.values()),
    )
