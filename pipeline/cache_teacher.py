"""Stage one: run the teacher once over every camera frame and store what the student will need."""

import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache.fidelity import Fidelity
from ..cache.store.files.lock import writer_lock
from ..cache.store.layout import SHARD_ROWS
from ..cache.store.records.commits import committed_shards
from ..cache.store.records.models import TeacherInfo, TeacherRequest
from ..cache.store.store import Store
from ..cache.teacher import Teacher, load_teachers, refuse_twice
from ..errors import CleverError
from ..words import quantity
from .alignment.sample import calibration_doubt
from .datasets import LidarDataset, open_dataset
from .datasets.readers.intensity import dark_sweeps
from .datasets.readers.time_sample import time_doubt
from .process.device import choose_device, cores, slow_bfloat16
from .process.progress import Track
from .results.run_folder import notice
from .results.skipped_frames import skipped_lines
from .stage_one.cache_sweeps import SweepResult, cache_sweeps
from .stage_one.comparison import refuse_changed
from .stage_one.fill import StageOne, calibration_samples, layers_by_batch
from .stage_one.selection import forget_choices, recall_rows, remember_rows
from .stage_one.spent import note_spent

if TYPE_CHECKING:
    from .stage_one.workers import Workers
from .settings.cache_teacher import CacheTeacherSettings
from .stage_one.request import (
    add_layers,
    base_agrees,
    base_settings,
    build_stage,
    default_batch,
    existing_store,
    find_layer,
    frame_choice,
    precision_of,
    requested_frames,
    teacher_device,
    teacher_requests,
    teacher_settings,
    worker_count,
)


@dataclass(frozen=True, slots=True)
class LayerResult:
    """A teacher's layer that was asked for.

    Attributes:
        info: the layer.
        fidelity: how close its stored features are to the float32 originals.
    """

    info: TeacherInfo
    fidelity: Fidelity


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """What a run of stage one did.

    Attributes:
        path: folder of the store.
        layers: the layers that were asked for, in that order.
        requested: frames asked for.
        attempted: frames that this run worked on.
        written: those of them that it stored.
        failed: (frame id, reason) of the frames asked for that the store had to skip, of this run
            or an earlier one, in the points or in any of the layers.
        unseen: stored frames of those asked for of which no camera sees a point; they have no
            pairs.
        seconds: wall time of this run, calibration included, loading the teacher not.
        images: images of which this run stored features.
        sweeps: the earlier sweeps, where they were asked for.
    """

    path: Path
    layers: list[LayerResult]
    requested: int
    attempted: int
    written: int
    failed: list[tuple[str, str]]
    unseen: int
    seconds: float = 0.0
    images: int = 0
    sweeps: SweepResult | None = None

    @property
    def teacher(self) -> TeacherInfo:
        """The first of the layers."""
        return self.layers[0].info

    @property
    def fidelity(self) -> Fidelity:
        """Of the first of the layers."""
        return self.layers[0].fidelity

    def __str__(self) -> str:
        lines = [self._work()]
        for layer in self.layers:
            name = f" ({layer.info.fingerprint.layer})" if len(self.layers) > 1 else ""
            lines.append(f"teacher {layer.info.id}{name}: {layer.info.description}")
        if licence := self.teacher.licence:
            lines.append(f"licence of the weights: {licence}")
        if sweeps := self.sweeps:
            lines.append(str(sweeps))
            frames = sweeps.frames + len(sweeps.failed)
            lines += skipped_lines(sweeps.failed, frames, self.path, sweeps.info.id)
        return "\n".join([*lines, *skipped_lines(self.failed, self.requested, self.path)])

    def _work(self) -> str:
        """What this run did, in a line."""
        if not self.attempted:
            asked = quantity(self.requested, "frame")
            return f"nothing to do: {self.path} is complete for these {asked}"
        rate = self.images / max(self.seconds, 1e-9)
        work = f"{quantity(self.written, 'frame')}, {quantity(self.images, 'image')}"
        return f"{self.path}: {work} in {self.seconds:.1f} s ({rate:.2f} images/s)"


def cache_teacher(settings: CacheTeacherSettings) -> CacheSummary:
    """Fill a store, or bring it up to date: only what is missing is computed.

    Every shard that was committed stays whatever happens: stop it at any time and run the same
    command again. When nothing is missing neither the teacher nor, for nuScenes, the tables are
    loaded.

    Raises:
        CleverError: no dataset, no weights, a store made with other settings, a disk that is full,
            another writer; a dataset that has no sweeps between its frames, where these are asked
            for.
    """
    if settings.sweep_pairs and not settings.sweeps:
        raise CleverError("`sweep_pairs` are those of earlier sweeps; say how many by `sweeps`")
    summary = _cache_teacher(settings)
    return replace(summary, sweeps=cache_sweeps(settings)) if settings.sweeps else summary


def _cache_teacher(settings: CacheTeacherSettings) -> CacheSummary:
    if settings.workers is not None and settings.scheduler:
        raise CleverError("`workers` starts a cluster and `scheduler` uses one; give one of them")
    if settings.rate:
        raise CleverError("`rate` reckons a `plan`; leave it out, or give `plan=yes` too")
    settings = settings.decided(precision=settings.precision or precision_of(settings))
    requests, key = teacher_requests(settings), frame_choice(settings)
    if not os.access(settings.store.parent, os.W_OK) and (
        summary := _complete_already(settings, requests, key)
    ):
        return summary
    with writer_lock(settings.store):
        store = existing_store(settings.store)
        rows = recall_rows(store, key) if store and base_agrees(settings, store) else None
        if store and rows and (summary := _nothing_to_do(settings, store, requests, rows)):
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
            if summary := _nothing_to_do(settings, store, requests, rows):
                return summary
        device = teacher_device(settings)
        if line := slow_bfloat16(settings.precision, device.type):
            notice(line)
        if store and (line := _other_frames(store, ids)):
            notice(line)
        for doubtful in (dark_sweeps, time_doubt, calibration_doubt):
            if line := doubtful(dataset, range(len(ids))):
                notice(line)
        teachers = load_teachers(teacher_settings(settings), device)
        fresh, store = store is None, store or Store.open_or_create(settings.store, base)
        with _left_empty_removed(settings.store) if fresh else nullcontext():
            store.extend(ids, scenes)
            rows = store.rows_of(ids)
            remember_rows(store, key, rows)
            return _fill(settings, store, dataset, teachers, rows)


def _other_frames(store: Store, ids: Sequence[str]) -> str:
    """A line where frames come to others that are not asked for: a split to another, or by mistake
    another drive; empty where there are none."""
    others = len(set(store.ids) - set(ids))
    if not others:
        return ""
    return (
        f"{store.path} holds {quantity(others, 'other frame')}; the new ones "
        f"({len(set(ids) - set(store.ids))}) join them in this store; for a drive that is to stay "
        "apart give another `cache`"
    )


@contextmanager
def _left_empty_removed(path: Path) -> Iterator[None]:
    """Remove a fresh store that an error leaves without a single committed shard; one that was
    stopped goes on, and stays."""
    try:
        yield
    except CleverError:
        if not any(path.glob("**/commits/[0-9]*.json")):
            shutil.rmtree(path, ignore_errors=True)
            forget_choices(path)
        raise


def _complete_already(
    settings: CacheTeacherSettings, requests: Sequence[TeacherRequest], key: str | None
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
    return _nothing_to_do(settings, store, requests, rows, tidy=False)


def _nothing_to_do(
    settings: CacheTeacherSettings,
    store: Store,
    requests: Sequence[TeacherRequest],
    rows: list[int],
    tidy: bool = True,
) -> CacheSummary | None:
    """The result of the run if the store holds everything already.

    Args:
        tidy: bring views up to date and remove what an interrupted write left.
    """
    infos = [info for request in requests if (info := find_layer(store, request))]
    ids = [info.id for info in infos]
    if len(infos) == len(requests):
        refuse_twice(requests, [info.fingerprint.layer for info in infos])
    if len(infos) < len(requests) or any(
        store.pending_shards(layer, rows) for layer in (store.points.id, *ids)
    ):
        return None
    if tidy:
        store.drop_parts()
        store.finalise()
    summary = _summarise(settings, store, infos, rows)
    gaps = any(store.calibration_gaps(info) for info in infos)
    return None if settings.retry_failed and (summary.failed or gaps) else summary


def _summarise(
    settings: CacheTeacherSettings, store: Store, infos: Sequence[TeacherInfo], rows: list[int]
) -> CacheSummary:
    """What the store holds of the rows asked for."""
    row_set = set(rows)
    reasons = _failures(store, infos)
    failed = [(store.ids[row], reasons[row]) for row in sorted(row_set & reasons.keys())]
    unseen = len(row_set.intersection(store.rows_without_pairs()))
    layers = [LayerResult(info, store.fidelity(info.id)) for info in infos]
    return CacheSummary(settings.store, layers, len(rows), 0, 0, failed, unseen)


def _failures(store: Store, infos: Sequence[TeacherInfo]) -> dict[int, str]:
    """Why rows were skipped, in the points or in any of the layers; the first reason counts."""
    return {
        record.row: record.reason for info in reversed(infos) for record in store.failures(info.id)
    }


def _fill(
    settings: CacheTeacherSettings,
    store: Store,
    dataset: LidarDataset,
    teachers: Sequence[Teacher],
    rows: list[int],
) -> CacheSummary:
    """Compute what is missing; whatever ends it early, the store is left in order."""
    tasks = add_layers(store, settings, teachers)
    infos = [task.info for task in tasks]
    started = time.monotonic()
    store.finalise()
    stage = build_stage(settings, store, tasks, dataset)
    if settings.retry_failed:
        for info in infos:
            _forget_failed(stage, info, rows)
    points = set(store.pending_shards(store.points.id, rows))
    grids = {info.id: set(store.pending_shards(info.id, rows)) for info in infos}
    image_shards = set[int]().union(*grids.values())
    pending = [row for shard in sorted(points | image_shards) for row in store.shard_rows(shard)]
    work = set(rows) | set(pending)
    if further := len(work) - len(set(rows)):
        notice(f"{quantity(further, 'frame')} more lie in the same shards, which are stored whole")
    try:
        with _executor(settings, stage) as executor:
            if samples := calibration_samples(store, tasks, grids, executor.frames_per_batch):
                frames = sum(len(rows) for _, rows in layers_by_batch(samples))
                with Track(f"calibrating {settings.codec}", frames) as track:
                    executor.calibrate(samples, track.advance)
            names = ", ".join(info.id for info in infos)
            with Track(f"caching {names}", len(work), start=len(work) - len(pending)) as track:
                executor.run(points, grids, track.advance)
    except BaseException:
        with suppress(CleverError):  # a full disk has been reported already
            store.drop_parts()
            store.finalise()
        raise
    finally:
        busy = [layer for layer, shards in grids.items() if shards] or list(grids)
        share = (time.monotonic() - started) / len(busy)  # one pass served them all
        for layer in busy:
            note_spent(store.path, layer, share, len(pending))
    store.drop_parts()
    store.finalise()
    failed_rows = _failures(store, infos).keys()
    image_rows = {row for shard in image_shards for row in store.shard_rows(shard)}
    seconds = time.monotonic() - started
    return replace(
        _summarise(settings, store, infos, rows),
        attempted=len(pending),
        written=len(set(pending) - failed_rows),
        seconds=seconds,
        images=len(store.cameras) * len(image_rows - failed_rows),
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
            layers=tuple(task.info.id for task in stage.tasks),
            teachers=tuple(teacher_settings(settings)),
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


def _forget_failed(stage: StageOne, info: TeacherInfo, rows: list[int]) -> None:
    """Uncommit a layer's shards with failed frames; the whole layer if its calibration would have
    seen one of them."""
    store = stage.store
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
