"""Stage one: run the teacher once over every camera frame and store what the student will need."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..cache.lock import writer_lock
from ..cache.store import Store, TeacherInfo
from ..cache.teacher import Teacher, TeacherSettings, load_teacher
from ..errors import CleverError
from .datasets import LidarDataset, build_dataset
from .progress import Track
from .settings import DataRoot, DatasetName, Device, ImageSize, JobSettings, Names
from .stage_one import StageOne
from .training import choose_device

VISIBILITY = {"min_depth_m": 1.0, "margin_px": 1.0, "occlusion": "none"}
"""Which points make pairs; the ScaLR family's rule."""


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
    """Threads that read and resize images; default: the number of cores, at most 16."""
    device: Device = "auto"
    """Where the teacher runs."""
    strict: bool = False
    """Stop at the first bad frame instead of recording and skipping it."""
    retry_failed: bool = False
    """Try the frames again that an earlier run skipped."""

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
        seconds: wall time of this run, calibration included, loading the teacher not.
        images: images that went through the teacher.
    """

    path: Path
    teacher: TeacherInfo
    wanted: int
    written: int
    failed: list[tuple[str, str]]
    seconds: float
    images: int


def cache_teacher(settings: CacheTeacherSettings) -> CacheSummary:
    """Fill a store, or bring it up to date: only what is missing is computed.

    Every shard that was committed stays whatever happens: stop it at any time and run the same command again.

    Raises:
        CleverError: no dataset, no weights, a store made with other settings, a disk that is full, another writer.
    """
    dataset = build_dataset(
        settings.dataset,
        settings.data_root,
        version=settings.version or "v1.0-mini",
        split=settings.split,
        sequences=settings.sequences,
    )
    ids = list(dataset.frame_ids[: settings.limit])
    if not ids:
        raise CleverError(f"{settings.dataset} has no frames in split {settings.split}; choose another --split")
    device = choose_device(settings.device)
    teacher = load_teacher(_teacher_settings(settings), device)
    with writer_lock(settings.store):
        base = {"dataset": dataset.name, "cameras": list(dataset.cameras), **VISIBILITY}
        store = Store.open_or_create(settings.store, base)
        store.extend(ids, list(dataset.scenes[: settings.limit]))
        info = store.add_teacher(
            teacher.alias,
            teacher.weights_description,
            teacher.grid,
            teacher.channels,
            settings.codec,
            settings.tokens,
            teacher.fingerprint,
        )
        return _fill(settings, store, info, dataset, teacher, ids, device.type)


def _fill(
    settings: CacheTeacherSettings,
    store: Store,
    info: TeacherInfo,
    dataset: LidarDataset,
    teacher: Teacher,
    ids: list[str],
    device: str,
) -> CacheSummary:
    rows = store.rows_of(ids)
    if settings.retry_failed:
        store.forget_failed(info.id, rows)
    store.finalise()
    points, grid = (set(store.pending(layer, rows)) for layer in ("points", info.id))
    pending = [row for shard in sorted(points | grid) for row in store.shard_rows(shard)]
    batch = settings.batch_images or (64 if device == "cuda" else 12)
    decoders = settings.decoders or min(os.cpu_count() or 1, 16)
    index = {frame: number for number, frame in enumerate(dataset.frame_ids)}
    stage = StageOne(store, info, dataset, index, teacher, batch, decoders, settings.strict)
    started = time.monotonic()
    try:
        if sample := stage.calibration_sample(sorted(grid)):
            with Track(f"calibrating {info.codec}", sum(len(rows) for _, rows in sample)) as track:
                stage.calibrate(sample, track.advance)
        with Track(f"caching {info.id}", len(rows), done=len(rows) - len(pending)) as track:
            stage.run(points, grid, track.advance)
    finally:
        store.finalise()
    images = len(store.cameras) * sum(len(store.shard_rows(shard)) for shard in grid)
    wanted = set(rows)
    failed = [(record.id, record.reason) for record in store.failures(info.id) if record.row in wanted]
    return CacheSummary(settings.store, info, len(ids), len(pending), failed, time.monotonic() - started, images)


def _teacher_settings(settings: CacheTeacherSettings) -> TeacherSettings:
    return TeacherSettings(
        model=settings.model,
        weights=settings.weights,
        image_size=settings.image_size,
        layer=settings.layer,
        position_embedding=settings.position_embedding,
        precision=settings.precision,
    )
