"""Regions of the camera images as a layer of a store: SLIC superpixels, or masks in files."""

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..cache.store.files.lock import writer_lock
from ..cache.store.layout import SHARD_ROWS
from ..cache.store.records.models import FrameRecord, RegionInfo, RegionSettings
from ..cache.store.store import Store
from ..errors import CleverError, FrameError
from ..words import quantity
from .datasets import LidarDataset, open_dataset
from .datasets.base import image_tokens
from .datasets.opening import takes
from .process.device import cores
from .process.progress import Track
from .regions.fill import RegionStage
from .regions.maps import RegionReader, needs_dataset, pattern_places
from .regions.superpixels import slic_version
from .results.skipped_frames import skipped_lines
from .settings.cache_regions import CacheRegionsSettings
from .stage_one.shard_stage import refuse_unfinished_points


@dataclass(frozen=True, slots=True)
class RegionResult:
    """What a run did.

    Attributes:
        path: folder of the store.
        info: the layer.
        frames: rows of the store.
        attempted: frames that this run worked on.
        failed: (frame id, reason) of the frames that the layer had to skip, now or before.
        bytes: of the layer's maps.
        share: these bytes, of the bytes that the same frames take with ViT-S at 16 x 32 in fp16.
    """

    path: Path
    info: RegionInfo
    frames: int
    attempted: int
    failed: list[tuple[str, str]]
    bytes: int
    share: float

    def __str__(self) -> str:
        done = f"{self.path}: {self.info.id} of {quantity(self.attempted, 'frame')}"
        with_regions = f"{self.frames - len(self.failed)} of" if self.failed else "all"
        whole = (
            f"nothing to do: {self.path} has {self.info.id} of {with_regions} "
            f"{quantity(self.frames, 'frame')}"
        )
        size = (
            f"{self.bytes / 1e6:.2f} MB, {100 * self.share:.1f} % of a ViT-S layer (16x32, fp16) "
            "of the same frames"
        )
        lines = [done if self.attempted else whole, self.info.description]
        lines += [size] if len(self.failed) < self.frames else []
        return "\n".join([*lines, *skipped_lines(self.failed, self.frames, self.path)])


def cache_regions(settings: CacheRegionsSettings) -> RegionResult:
    """Add regions to a store, or bring them up to date: only what is missing is computed.

    Every shard that was committed stays whatever happens: stop it at any time and run the same
    command again.

    Raises:
        CleverError: no store, points that are not finished, no dataset where images are needed,
            scikit-image missing, settings that do not go together, another writer.
    """
    request = region_settings(settings)
    folder = settings.from_.absolute() if settings.from_ else None
    with writer_lock(settings.cache):
        store = Store(settings.cache)
        dataset = _dataset(settings, store, request)
        _refuse_shared_masks(store, request)
        store.drop_parts()
        info = store.add_regions(request, str(folder) if folder else None)
        rows = [row for row, frame in enumerate(store.ids) if frame]
        if settings.retry_failed:
            failed = {record.row // SHARD_ROWS for record in _failures(store, info)}
            store.uncommit(info.id, failed)
        shards = store.pending_shards(info.id, rows)
        refuse_unfinished_points(store, shards)
        attempted = [row for shard in shards for row in store.shard_rows(shard)]
        try:
            if shards:
                with Track(f"caching {info.id}", len(rows), start=len(rows) - len(attempted)) as t:
                    _fill(settings, store, info, dataset, folder, shards, t)
        finally:
            with suppress(CleverError):  # a full disk has been reported already
                store.drop_parts()
                store.finalise()
        return _result(store, info, len(rows), len(attempted))


def region_settings(settings: CacheRegionsSettings) -> RegionSettings:
    """What decides the maps.

    Raises:
        CleverError: settings that do not go together, or no scikit-image.
    """
    if settings.from_ is None:
        mask_settings = [
            name for name in ("classes", "empty", "name") if getattr(settings, name) is not None
        ]
        if mask_settings or settings.kind == "class":
            raise CleverError(
                f"`{[*mask_settings, 'kind'][0]}` belongs to masks in files; give their folder by "
                "`from_`"
            )
        return RegionSettings(
            kind="segment",
            source="slic",
            size=settings.size,
            segments=settings.segments,
            compactness=settings.compactness,
            sigma=settings.sigma,
            version=slic_version(),
        )
    if settings.method:
        raise CleverError("`method` makes regions and `from_` reads them; give one of the two")
    if not settings.from_.is_dir():
        raise CleverError(f"{settings.from_} is no folder; give that of the masks by `from_`")
    if (settings.kind == "class") != bool(settings.classes):
        raise CleverError(
            "`kind=class` and `classes` go together: the names of the classes 0, 1, ... in order"
        )
    if twice := sorted(name for name, count in Counter(settings.classes).items() if count > 1):
        raise CleverError(f"`classes` holds {twice[0]} twice; name each class once")
    pattern_places(settings.pattern)
    name = settings.name or settings.from_.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise CleverError(f"`name={name}`: use letters, digits, '.', '_' and '-'")
    return RegionSettings(
        kind=settings.kind,
        source="files",
        size=settings.size,
        name=name,
        pattern=settings.pattern,
        classes=settings.classes or (),
        empty=settings.empty,
    )


def _refuse_shared_masks(store: Store, request: RegionSettings) -> None:
    """No mask is that of several cameras."""
    if request.pattern is None or len(store.cameras) < 2:
        return
    if not pattern_places(request.pattern) & {"camera", "image", "token"}:
        raise CleverError(
            f"`pattern={request.pattern}` is the same for all {len(store.cameras)} cameras of a "
            "frame; use {camera} or {image}"
        )


def _dataset(
    settings: CacheRegionsSettings, store: Store, request: RegionSettings
) -> LidarDataset | None:
    if not needs_dataset(request.pattern):
        return None
    name = settings.dataset or store.base.dataset
    if settings.cameras is None and takes(name, "cameras"):
        settings = settings.decided(cameras=store.cameras)
    dataset = open_dataset(settings, name)
    if dataset.name != store.base.dataset:
        raise CleverError(
            f"{store.path} was made from {store.base.dataset}, not from {dataset.name}"
        )
    if missing := [name for name in store.cameras if name not in dataset.cameras]:
        raise CleverError(
            f"{store.path} needs the images of {', '.join(store.cameras)}; "
            f"{missing[0]} is not among the `cameras`"
        )
    if request.pattern and "token" in pattern_places(request.pattern):
        with suppress(FrameError):  # of this frame alone; the others may be whole
            image_tokens(dataset, 0)
    return dataset


def _fill(
    settings: CacheRegionsSettings,
    store: Store,
    info: RegionInfo,
    dataset: LidarDataset | None,
    folder: Path | None,
    shards: Sequence[int],
    track: Track,
) -> None:
    if not settings.workers and not settings.scheduler:
        reader = RegionReader(store, info, dataset, folder)
        RegionStage(reader, store, cores(), settings.strict).run(shards, track.advance)
        return
    if settings.workers is not None and settings.scheduler:
        raise CleverError("`workers` starts a cluster and `scheduler` uses one; give one of them")
    # Dask takes a second to import.
    from .regions.workers import RegionAssignment, RegionWorkers
    from .stage_one.cluster import connect

    assignment = RegionAssignment(
        uuid.uuid4().hex, store.path.absolute(), info.id, folder, settings.strict
    )
    with connect(settings.workers or 0, settings.scheduler, "cpu") as client:
        RegionWorkers(client, assignment, partial(_given, dataset)).run(shards, track.advance)


def _given(dataset: LidarDataset | None) -> LidarDataset | None:
    return dataset


def _failures(store: Store, info: RegionInfo) -> list[FrameRecord]:
    return [
        record for commit in store.commits(info.id) for record in commit.frames if record.reason
    ]


def _result(store: Store, info: RegionInfo, frames: int, attempted: int) -> RegionResult:
    commits = store.commits(info.id)
    size = sum(stamp.bytes for commit in commits for stamp in commit.files.values())
    stored = sum(not record.reason for commit in commits for record in commit.frames)
    vit_small = stored * len(store.cameras) * 16 * 32 * 384 * 2
    failed = [(record.id, record.reason) for record in _failures(store, info)]
    return RegionResult(store.path, info, frames, attempted, failed, size, size / max(vit_small, 1))
