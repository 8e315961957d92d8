"""Stage one: run the teacher once over every camera frame and store what the student will need."""

import hashlib
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field

from ..cache.codec import Fidelity
from ..cache.commits import committed_shards
from ..cache.layers import Json, TeacherInfo
from ..cache.layout import SHARD_ROWS
from ..cache.lock import writer_lock
from ..cache.seal import seal_path
from ..cache.store import Store
from ..cache.teacher import Teacher, TeacherSettings, load_teacher
from ..errors import CleverError
from .datasets import LidarDataset, build_dataset
from .progress import Track
from .selection import choice_key, recall_rows, remember_rows
from .settings import DataRoot, DatasetName, Device, ImageSize, JobSettings, Names
from .stage_one import StageOne, calibration_sample, cores
from .training import choose_device

if TYPE_CHECKING:
    from .scale import Workers

MIN_DEPTH, MARGIN = 1.0, 1.0
"""Metres and pixels: the visibility rule of the ScaLR family."""


class CacheTeacherSettings(JobSettings):
    """Settings of `clever cache-teacher`."""

    dataset: DatasetName = "nuscenes"
    """Kind of dataset."""
    data_root: DataRoot
    """Dataset folder; default: the environment variable CLEVER_DATA_ROOT."""
    version: str | None = None
    """nuScenes only: folder of tables; default: v1.0-trainval if it is there, else the only one."""
    split: Literal["train", "val", "test", "all"] = "train"
    """Official split."""
    sequences: Names | None = None
    """SemanticKITTI only: sequence numbers with commas; they win over the split."""
    model: str = "vitb14"
    """Image teacher: vits14, vitb14, vitl14, vitg14 (DINOv2, also with _reg), efficientnet_lite0 or any timm model."""
    weights: str = "hub"
    """hub, a file (official DINOv2 .pth or timm safetensors) or random:SEED."""
    image_size: ImageSize = (224, 448)
    """Height x width that images are resized to."""
    layer: str = "pre-norm"
    """ViT: pre-norm (last block before the final norm), post-norm or block:N; CNN: stride:N."""
    position_embedding: Literal["official", "timm"] = "official"
    """How DINOv2's position embedding is resampled: as the official code does, or as timm does."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the teacher."""
    codec: Literal["int8", "int8-zstd", "fp16"] = "int8"
    """How features are stored."""
    tokens: Literal["grid", "hit"] = "grid"
    """Store every token, or only those within reach of a point (smaller for large grids, same sampled features)."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N frames only."""
    cache: Path | None = None
    """Folder of the store; default: caches/DATASET.zarr."""
    batch_images: Annotated[int, Field(ge=1)] | None = None
    """Images in one teacher call; default: 64 on a GPU, 12 on a CPU."""
    decoders: Annotated[int, Field(ge=1)] | None = None
    """Threads that read and resize images; default: the number of cores, at most 16; 2 a task with workers."""
    device: Device = "auto"
    """Where the teacher runs."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Worker processes on this machine, each with a GPU or a share of the cores; default: one a GPU where there are
    several, else 0: this process alone."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers do the work, tcp://HOST:PORT; all must see the data and the store."""
    occlusion: Literal["none", "zbuffer"] = "none"
    """zbuffer: a point behind nearer ones in a camera makes no pair there; belongs to the store, not to a teacher."""
    strict: bool = False
    """Stop at the first bad frame instead of recording and skipping it."""
    retry_failed: bool = False
    """Try the frames again that an earlier run skipped, as if they had never failed."""
    plan: bool = False
    """Measure a few frames and print images, bytes and hours; nothing is kept."""

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.cache or Path("caches") / f"{self.dataset}.zarr"


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """What a run of stage one did.

    Attributes:
        path: folder of the store.
        teacher: the layer that was filled.
        wanted: frames asked for.
        written: frames that went through the teacher in this run.
        failed: (frame id, reason) of the frames asked for that the store had to skip, of this run or an earlier one.
        unseen: stored frames of those asked for of which no camera sees a point; they have no pairs.
        fidelity: how close the layer's stored features are to the float32 originals.
        seconds: wall time of this run, calibration included, loading the teacher not.
        images: images that went through the teacher.
    """

    path: Path
    teacher: TeacherInfo
    wanted: int
    written: int
    failed: list[tuple[str, str]]
    unseen: int
    fidelity: Fidelity
    seconds: float = 0.0
    images: int = 0


def cache_teacher(settings: CacheTeacherSettings) -> CacheSummary:
    """Fill a store, or bring it up to date: only what is missing is computed.

    Every shard that was committed stays whatever happens: stop it at any time and run the same command again. When
    nothing is missing neither the teacher nor, for nuScenes, the tables are loaded.

    Raises:
        CleverError: no dataset, no weights, a store made with other settings, a disk that is full, another writer.
    """
    if settings.workers is not None and settings.scheduler:
        raise CleverError("--workers starts a cluster and --scheduler uses one; give one of them")
    request, key = teacher_request(settings), _choice(settings)
    with writer_lock(settings.store):
        store = existing_store(settings.store)
        rows = recall_rows(store, key) if store and _base_agrees(settings, store) else None
        if store and rows and (summary := _nothing_to_do(settings, store, request, rows)):
            return summary
        dataset = open_dataset(settings)
        ids, scenes = wanted_frames(settings, dataset)
        base = base_settings(settings, dataset)
        store = Store.open_or_create(settings.store, base) if store else None
        if store and set(ids) <= set(store.ids):
            rows = store.rows_of(ids)
            remember_rows(store, key, rows)
            if summary := _nothing_to_do(settings, store, request, rows):
                return summary
        teacher = load_teacher(teacher_settings(settings), _teacher_device(settings))
        store = store or Store.open_or_create(settings.store, base)
        store.extend(ids, scenes)
        rows = store.rows_of(ids)
        remember_rows(store, key, rows)
        info = add_layer(store, settings, teacher, request)
        return _fill(settings, store, info, dataset, teacher, rows)


def open_dataset(settings: CacheTeacherSettings) -> LidarDataset:
    """The dataset that the settings name."""
    return build_dataset(
        settings.dataset,
        settings.data_root,
        version=settings.version,
        split=settings.split,
        sequences=settings.sequences,
    )


def teacher_settings(settings: CacheTeacherSettings) -> TeacherSettings:
    """The part of the settings that decides the teacher's features; weights in a file by their absolute path."""
    values = {name: getattr(settings, name) for name in TeacherSettings.model_fields if hasattr(settings, name)}
    weights = Path(settings.weights)
    return TeacherSettings(**{**values, "weights": str(weights.absolute()) if weights.is_file() else settings.weights})


def teacher_request(settings: CacheTeacherSettings) -> Json:
    """What was asked of a layer, in JSON values: enough to know it again, and to build its teacher again."""
    wanted = teacher_settings(settings)
    sha256 = None
    if Path(wanted.weights).is_file():
        with Path(wanted.weights).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    own = {"weights_file_sha256": sha256, "codec": settings.codec, "tokens": settings.tokens}
    return {**wanted.model_dump(mode="json"), **own}


def add_layer(store: Store, settings: CacheTeacherSettings, teacher: Teacher, request: Json) -> TeacherInfo:
    """Find or add the layer of `teacher` in `store`."""
    return store.add_teacher(
        teacher.alias,
        teacher.weights_description,
        teacher.grid,
        teacher.channels,
        settings.codec,
        settings.tokens,
        teacher.fingerprint,
        request,
    )


def build_stage(
    settings: CacheTeacherSettings, store: Store, info: TeacherInfo, dataset: LidarDataset, teacher: Teacher
) -> StageOne:
    """Stage one in this process."""
    index = {frame: number for number, frame in enumerate(dataset.frame_ids)}
    batch = default_batch(settings, teacher.device.type)
    decoders = settings.decoders or min(cores(), 16)
    return StageOne(store, info, dataset, index, teacher, batch, decoders, settings.strict)


def default_batch(settings: CacheTeacherSettings, device: str) -> int:
    """Images in one teacher call on a ``cuda`` or ``cpu`` device."""
    return settings.batch_images or (64 if device == "cuda" else 12)


def worker_count(settings: CacheTeacherSettings) -> int:
    """Number of worker processes to start on this machine; 0 means that this process does the work."""
    if settings.workers is not None or settings.scheduler:
        return settings.workers or 0
    gpus = torch.cuda.device_count() if choose_device(settings.device).type == "cuda" else 0
    return gpus if gpus > 1 else 0


def _teacher_device(settings: CacheTeacherSettings) -> torch.device:
    """Where this process needs the teacher: beside workers it only asks it what it is."""
    alone = not settings.scheduler and not worker_count(settings)
    return choose_device(settings.device) if alone else torch.device("cpu")


def _choice(settings: CacheTeacherSettings) -> str | None:
    return choice_key(
        settings.dataset,
        settings.data_root,
        settings.version,
        settings.split,
        settings.sequences,
        settings.limit,
    )


def existing_store(path: Path) -> Store | None:
    """The store at `path`, if there is one."""
    return Store(path) if seal_path(path, "points").exists() else None


def find_layer(store: Store, request: Json) -> TeacherInfo | None:
    """The layer that was made for a request; a file of weights is known by its content, wherever it lies."""
    ignored = {"weights"} if request["weights_file_sha256"] else set()
    wanted = {name: value for name, value in request.items() if name not in ignored}
    return next((info for info in store.teachers() if wanted.items() <= info.request.items()), None)


def base_settings(settings: CacheTeacherSettings, dataset: LidarDataset) -> Json:
    """What decides points and pairs."""
    return {"dataset": dataset.name, "cameras": list(dataset.cameras), **_visibility(settings)}


def wanted_frames(settings: CacheTeacherSettings, dataset: LidarDataset) -> tuple[list[str], list[str]]:
    """Ids and scenes of the frames asked for; raises CleverError when there are none."""
    ids, scenes = list(dataset.frame_ids[: settings.limit]), list(dataset.scenes[: settings.limit])
    if not ids:
        raise CleverError(f"{settings.dataset} has no frames in split {settings.split}; choose another --split")
    return ids, scenes


def _visibility(settings: CacheTeacherSettings) -> Json:
    """Which points make pairs."""
    return {"min_depth_m": MIN_DEPTH, "margin_px": MARGIN, "occlusion": settings.occlusion}


def _base_agrees(settings: CacheTeacherSettings, store: Store) -> bool:
    wanted = {"dataset": settings.dataset, **_visibility(settings)}
    return all(store.base.get(name) == value for name, value in wanted.items())


def _nothing_to_do(settings: CacheTeacherSettings, store: Store, request: Json, rows: list[int]) -> CacheSummary | None:
    """The result of the run if the store holds everything already."""
    info = find_layer(store, request)
    if info is None or any(store.pending(layer, rows) for layer in ("points", info.id)):
        return None
    store.drop_parts()
    store.finalise()
    summary = _summarise(settings, store, info, rows)
    return None if settings.retry_failed and (summary.failed or store.uncalibrated(info)) else summary


def _summarise(settings: CacheTeacherSettings, store: Store, info: TeacherInfo, rows: list[int]) -> CacheSummary:
    """What the store holds of the rows asked for."""
    wanted = set(rows)
    failed = [(record.id, record.reason) for record in store.failures(info.id) if record.row in wanted]
    unseen = len(wanted.intersection(store.unseen()))
    return CacheSummary(settings.store, info, len(rows), 0, failed, unseen, store.fidelity(info.id))


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
    points, grid = (set(store.pending(layer, rows)) for layer in ("points", info.id))
    pending = [row for shard in sorted(points | grid) for row in store.shard_rows(shard)]
    try:
        with _executor(settings, stage) as executor:
            if sample := calibration_sample(store, info, sorted(grid), executor.frames_per_batch):
                with Track(f"calibrating {info.codec}", sum(len(part) for _, part in sample)) as track:
                    executor.calibrate(sample, track.advance)
            with Track(f"caching {info.id}", len(rows), done=max(0, len(rows) - len(pending))) as track:
                executor.run(points, grid, track.advance)
    except BaseException:
        with suppress(CleverError):  # a full disk has been reported already
            store.drop_parts()
            store.finalise()
        raise
    store.drop_parts()
    store.finalise()
    images = len(store.cameras) * sum(len(store.shard_rows(shard)) for shard in grid)
    seconds = time.monotonic() - started
    return replace(_summarise(settings, store, info, rows), written=len(pending), seconds=seconds, images=images)


@contextmanager
def _executor(settings: CacheTeacherSettings, stage: StageOne) -> "Iterator[StageOne | Workers]":
    """This process, or Dask workers."""
    workers = worker_count(settings)
    if not workers and not settings.scheduler:
        yield stage
        return
    from . import scale  # Dask takes a second to import

    device = "cpu" if settings.scheduler else choose_device(settings.device).type
    with scale.connect(workers, settings.scheduler, device) as client:
        device = scale.device_of_workers(client, settings.device)
        job = scale.Job(
            run=uuid.uuid4().hex,
            store=stage.store.path.absolute(),
            layer=stage.info.id,
            teacher=teacher_settings(settings),
            device=settings.device,
            batch_images=default_batch(settings, device),
            decoders=settings.decoders or (max(2, cores() // (2 * max(workers, 1))) if device == "cuda" else 2),
            strict=settings.strict,
        )
        root = settings.data_root.absolute() if settings.data_root else None
        yield scale.Workers(client, job, partial(open_dataset, settings.model_copy(update={"data_root": root})))


def _forget_failed(stage: StageOne, rows: list[int]) -> None:
    """Uncommit the shards with failed frames; the whole layer if its calibration would have seen one of them."""
    store, info = stage.store, stage.info
    store.forget_failed(info.id, rows)
    sampled = set(store.uncalibrated(info))
    again = [row for row in rows if store.ids[row] in sampled]
    committed = committed_shards(store.path, info.id)
    covered = set(committed) <= {row // SHARD_ROWS for row in rows}
    if covered and any(stage.load(row, images=True).images is not None for row in again):
        print(
            f"{info.id} is computed anew: frames that its calibration should have seen can be read now",
            file=sys.stderr,
            flush=True,
        )
        store.uncommit(info.id, committed)
        store.set_calibration(info, None)
