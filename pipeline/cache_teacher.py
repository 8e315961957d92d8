"""Stage one: run the teacher once over every camera frame and store what the student will need."""

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache.fidelity import Fidelity
from ..cache.store.layout import SHARD_ROWS
from ..cache.store.lock import writer_lock
from ..cache.store.models import TeacherInfo, TeacherRequest
from ..cache.store.records import committed_shards
from ..cache.store.store import Store
from ..cache.teacher import Teacher, load_teacher
from ..errors import CleverError
from .alignment.sample import calibration_doubt
from .datasets import LidarDataset, open_dataset
from .datasets.readers.intensity import dark_sweeps
from .process.device import choose_device, cores, slow_bfloat16
from .process.progress import Track
from .results.run_folder import notice
from .stage_one.calibration import calibration_sample
from .stage_one.comparison import refuse_changed
from .stage_one.fill import StageOne
from .stage_one.selection import recall_rows, remember_rows
from .stage_one.spent import note_spent

if TYPE_CHECKING:
    from .stage_one.workers import Workers
from .settings.cache_teacher import CacheTeacherSettings
from .stage_one.request import (
    add_layer,
    base_agrees,
    base_settings,
    build_stage,
    default_batch,
    existing_store,
    find_layer,
    frame_choice,
    requested_frames,
    teacher_device,
    teacher_request,
    teacher_settings,
    worker_count,
)


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """What a run of stage one did.

    Attributes:
        path: folder of the store.
        teacher: the layer that was filled.
        requested: frames asked for.
        attempted: frames that this run worked on.
        written: those of them that it stored.
        failed: (frame id, reason) of the frames asked for that the store had to skip, of this run
            or an earlier one.
        unseen: stored frames of those asked for of which no camera sees a point; they have no
            pairs.
        fidelity: how close the layer's stored features are to the float32 originals.
        seconds: wall time of this run, calibration included, loading the teacher not.
        images: images whose features this run stored.
    """

    path: Path
    teacher: TeacherInfo
    requested: int
    attempted: int
    written: int
    failed: list[tuple[str, str]]
    unseen: int
    fidelity: Fidelity
    seconds: float = 0.0
    images: int = 0


def cache_teacher(settings: CacheTeacherSettings) -> CacheSummary:
    """Fill a store, or bring it up to date: only what is missing is computed.

    Every shard that was committed stays whatever happens: stop it at any time and run the same
    command again. When nothing is missing neither the teacher nor, for nuScenes, the tables are
    loaded.

    Raises:
        CleverError: no dataset, no weights, a store made with other settings, a disk that is full,
            another writer.
    """
    if settings.workers is not None and settings.scheduler:
        raise CleverError("`workers` starts a cluster and `scheduler` uses one; give one of them")
    request, key = teacher_request(settings), frame_choice(settings)
    if not os.access(settings.store.parent, os.W_OK) and (
        summary := _complete_already(settings, request, key)
    ):
        return summary
    with writer_lock(settings.store):
        store = existing_store(settings.store)
        rows = recall_rows(store, key) if store and base_agrees(settings, store) else None
        if store and rows and (summary := _nothing_to_do(settings, store, request, rows)):
            return summary
        dataset = open_dataset(settings, settings.dataset)
        ids, scenes = requested_frames(settings, dataset)
        base = base_settings(settings, dataset, store)
        if store:
            store.take_up(base)
            refuse_changed(store, dataset, ids)
        if store and set(ids) <= set(store.ids):
            rows = store.rows_of(ids)
            remember_rows(store, key, rows)
            if summary := _nothing_to_do(settings, store, request, rows):
                return summary
        device = teacher_device(settings)
        if line := slow_bfloat16(settings.precision, device.type):
            notice(line)
        for doubtful in (dark_sweeps, calibration_doubt):
            if line := doubtful(dataset, range(len(ids))):
                notice(line)
        teacher = load_teacher(teacher_settings(settings), device)
        store = store or Store.open_or_create(settings.store, base)
        store.extend(ids, scenes)
        rows = store.rows_of(ids)
        remember_rows(store, key, rows)
        info = add_layer(store, settings, teacher, request)
        return _fill(settings, store, info, dataset, teacher, rows)


def _complete_already(
    settings: CacheTeacherSettings, request: TeacherRequest, key: str | None
) -> CacheSummary | None:
    """The result of the run if a store in a place that cannot be written to holds everything
    already; nothing is written."""
    store = existing_store(settings.store)
    if store is None or not base_agrees(settings, store):
        return None
    rows = recall_rows(store, key)
    if rows is None:
        dataset = open_dataset(settings, settings.dataset)
        ids, _ = requested_frames(settings, dataset)
        if store.base != base_settings(settings, dataset, store) or not set(ids) <= set(store.ids):
            return None
        refuse_changed(store, dataset, ids)
        rows = store.rows_of(ids)
    return _nothing_to_do(settings, store, request, rows, tidy=False)


def _nothing_to_do(
    settings: CacheTeacherSettings,
    store: Store,
    request: TeacherRequest,
    rows: list[int],
    tidy: bool = True,
) -> CacheSummary | None:
    """The result of the run if the store holds everything already.

    Args:
        tidy: bring views up to date and remove what an interrupted write left.
    """
    info = find_layer(store, request)
    if info is None or any(
        store.pending_shards(layer, rows) for layer in (store.points.id, info.id)
    ):
        return None
    if tidy:
        store.drop_parts()
        store.finalise()
    summary = _summarise(settings, store, info, rows)
    return (
        None
        if settings.retry_failed and (summary.failed or store.calibration_gaps(info))
        else summary
    )


def _summarise(
    settings: CacheTeacherSettings, store: Store, info: TeacherInfo, rows: list[int]
) -> CacheSummary:
    """What the store holds of the rows asked for."""
    row_set = set(rows)
    failed = [
        (record.id, record.reason) for record in store.failures(info.id) if record.row in row_set
    ]
    unseen = len(row_set.intersection(store.rows_without_pairs()))
    fidelity = store.fidelity(info.id)
    return CacheSummary(settings.store, info, len(rows), 0, 0, failed, unseen, fidelity)


def _fill(
    settings: CacheTeacherSettings,
    store: Store,
    info: TeacherInfo,
    dataset: LidarDataset,
    teacher: Teacher,
    rows: list[int],
) -> CacheSummary:
    """Compute what is missing; whatever ends it early, the store is left in order."""
    started = time.monotonic()
    store.finalise()
    stage = build_stage(settings, store, info, dataset, teacher)
    if settings.retry_failed:
        _forget_failed(stage, rows)
    points, grid = (set(store.pending_shards(layer, rows)) for layer in (store.points.id, info.id))
    pending = [row for shard in sorted(points | grid) for row in store.shard_rows(shard)]
    work = set(rows) | set(pending)
    if further := len(work) - len(set(rows)):
        notice(f"{further} frames more lie in the same shards, which are stored whole")
    try:
        with _executor(settings, stage) as executor:
            if sample := calibration_sample(store, info, sorted(grid), executor.frames_per_batch):
                with Track(
                    f"calibrating {info.codec}", sum(len(part) for _, part in sample)
                ) as track:
                    executor.calibrate(sample, track.advance)
            with Track(f"caching {info.id}", len(work), start=len(work) - len(pending)) as track:
                executor.run(points, grid, track.advance)
    except BaseException:
        with suppress(CleverError):  # a full disk has been reported already
            store.drop_parts()
            store.finalise()
        raise
    finally:
        note_spent(store.path, info.id, time.monotonic() - started, len(pending))
    store.drop_parts()
    store.finalise()
    failed_rows = {record.row for record in store.failures(info.id)}
    grid_rows = {row for shard in grid for row in store.shard_rows(shard)}
    seconds = time.monotonic() - started
    return replace(
        _summarise(settings, store, info, rows),
        attempted=len(pending),
        written=len(set(pending) - failed_rows),
        seconds=seconds,
        images=len(store.cameras) * len(grid_rows - failed_rows),
    )


@contextmanager
def _executor(settings: CacheTeacherSettings, stage: StageOne) -> "Iterator[StageOne | Workers]":
    """This process, or Dask workers."""
    workers = worker_count(settings)
    if not workers and not settings.scheduler:
        yield stage
        return
    # Dask takes a second to import.
    from .stage_one.cluster import connect, device_of_workers
    from .stage_one.workers import Assignment, Workers

    device = "cpu" if settings.scheduler else choose_device(settings.device).type
    with connect(workers, settings.scheduler, device) as client:
        device = device_of_workers(client, settings.device)
        assignment = Assignment(
            run=uuid.uuid4().hex,
            store=stage.store.path.absolute(),
            layer=stage.info.id,
            teacher=teacher_settings(settings),
            device=settings.device,
            batch_images=default_batch(settings, device),
            decoders=settings.decoders
            or (max(2, cores() // (2 * max(workers, 1))) if device == "cuda" else 2),
            strict=settings.strict,
        )
        root = settings.data_root.absolute() if settings.data_root else None
        yield Workers(
            client,
            assignment,
            stage.store,
            partial(open_dataset, settings.decided(data_root=root), settings.dataset),
        )


def _forget_failed(stage: StageOne, rows: list[int]) -> None:
    """Uncommit the shards with failed frames; the whole layer if its calibration would have seen
    one of them."""
    store, info = stage.store, stage.info
    store.forget_failures(info.id, rows)
    sampled = set(store.calibration_gaps(info))
    again = [row for row in rows if store.ids[row] in sampled]
    committed = committed_shards(store.path, info.id)
    covered = set(committed) <= {row // SHARD_ROWS for row in rows}
    if covered and any(stage.load(row, images=True).images is not None for row in again):
        print(
            f"{info.id} is computed anew: frames that its calibration should have seen can be read "
            "now",
            file=sys.stderr,
            flush=True,
        )
        store.uncommit(info.id, committed)
        store.set_calibration(info, None)
