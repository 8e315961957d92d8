"""What stage one will cost: a few frames measured, the rest by proportion; without the teacher's
weights the sizes alone."""

import resource
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...cache.choices import INTERPOLATED
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.store import Store
from ...cache.teacher import GridShape, Teacher, grid_shapes, load_teachers, outputs
from ...errors import CleverError
from ...words import quantity, storage
from ..datasets import LidarDataset, open_dataset
from ..process.device import choose_device, cores
from ..process.termination import sigterm_interrupts
from ..results.account import duration
from ..settings.cache_teacher import CacheTeacherSettings
from .fill import StageOne, deterministic
from .plan_sizes import frame_bytes, kind_bytes, layer_sizes, point_sample
from .request import (
    add_layers,
    base_settings,
    build_stage,
    existing_store,
    find_layer,
    requested_frames,
    teacher_requests,
    teacher_settings,
)

SECONDS = 20.0
"""About how long the timed sample should take."""
SCALES = (2, 4, 8)
"""Machines or GPUs to reckon for."""


@dataclass(frozen=True, slots=True)
class SampleCost:
    """What a sample of frames cost.

    Attributes:
        frames, seconds: frames from file to store, and how long they took with everything
            overlapping; no frames where only sizes are known.
        decode_seconds: reading, decoding and resizing one frame's images, on one core.
        teacher_seconds: the network alone on one frame's images, on one core or GPU.
        point_bytes: a frame's size on disk in points and pairs, without the shards' indices.
        layer_bytes: the same by layer of the teacher.
        kind_bytes: by layer what a frame's features take in each kind of tokens, before any
            compression.
        memory_bytes: most that this process has taken in memory.
        gpu_bytes: most that it took of the GPU's; 0 without one.
    """

    frames: int
    seconds: float
    decode_seconds: float
    teacher_seconds: float
    point_bytes: float
    layer_bytes: dict[str, float]
    kind_bytes: dict[str, dict[str, float]] = field(default_factory=dict)
    memory_bytes: int = 0
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will cost.

    Attributes:
        path: folder of the store.
        device: ``cuda`` or ``cpu``.
        frames: frames asked for.
        point_frames: those of them that are missing in points and pairs.
        layer_frames: those that are missing in each of the teacher's layers, by id.
        cameras: images a frame.
        sample: what was measured.
        free_bytes: free on the store's disk.
        cores: cores that this process may use.
        rate: images/s that the user named; None for none.
        untimed: why nothing was timed; empty where it was.
        compressed: whether features will be compressed, which sizes alone cannot tell.
    """

    path: Path
    device: str
    frames: int
    point_frames: int
    layer_frames: dict[str, int]
    cameras: int
    sample: SampleCost
    free_bytes: int
    cores: int
    rate: float | None = None
    untimed: str = ""
    compressed: bool = False

    @property
    def grid_frames(self) -> int:
        """Frames that go through the teacher."""
        return max(self.layer_frames.values())

    @property
    def seconds(self) -> float | None:
        """Time on this machine, or at the rate that was named; None where neither is known."""
        if self.rate:
            return self.grid_frames * self.cameras / self.rate
        if not self.sample.frames:
            return None
        return max(self.point_frames, self.grid_frames) * self.sample.seconds / self.sample.frames

    @property
    def point_bytes(self) -> float:
        """Bytes of points and pairs that will be written."""
        return self.point_frames * self.sample.point_bytes

    @property
    def grid_bytes(self) -> float:
        """Bytes of features that will be written."""
        sizes = self.sample.layer_bytes
        return sum(frames * sizes[layer] for layer, frames in self.layer_frames.items())

    def to_json(self) -> dict[str, Any]:
        """The plan with what follows from it, as plain JSON values."""
        return {
            **asdict(self),
            "path": str(self.path),
            "grid_frames": self.grid_frames,
            "seconds": self.seconds,
            "point_bytes": self.point_bytes,
            "grid_bytes": self.grid_bytes,
        }

    def __str__(self) -> str:
        room = "enough" if self.point_bytes + self.grid_bytes < self.free_bytes else "NOT ENOUGH"
        compressed = " at most" if self.untimed and self.compressed else ""
        lines = [
            f"plan for {self.path}, teacher {', '.join(self.layer_frames)}",
            f"  images    {self.grid_frames * self.cameras:,} in {self.grid_frames:,} "
            f"{'frame' if self.grid_frames == 1 else 'frames'} ({self.frames:,} asked for)",
            f"  bytes     {storage(self.point_bytes)} points and pairs, "
            f"{storage(self.grid_bytes)} features{compressed}; "
            f"{storage(self.free_bytes)} free, {room}",
            *(
                f"  tokens    a frame of {layer}: {_kinds(sizes)}"
                for layer, sizes in self.sample.kind_bytes.items()
            ),
            *self._measured_lines(),
            *self._memory_lines(),
            *self._time_lines(),
        ]
        return "\n".join(lines)

    def _measured_lines(self) -> list[str]:
        """What a sample took on this machine."""
        sample, unit = self.sample, "GPU" if self.device == "cuda" else "core"
        if not sample.frames:
            return []
        return [
            f"  measured  {quantity(sample.frames, 'frame')} in {sample.seconds:.1f} s, "
            f"{sample.frames * self.cameras / sample.seconds:.2f} images/s; a frame: decode "
            f"{1000 * sample.decode_seconds:.0f} ms on a core, teacher "
            f"{1000 * sample.teacher_seconds:.0f} ms "
            f"on a {unit}"
        ]

    def _time_lines(self) -> list[str]:
        """How long it takes, as far as a rate is known."""
        if self.seconds is None:
            return [
                f"  time      not measured: {self.untimed}; `rate` (images/s) reckons with a rate "
                "of elsewhere"
            ]
        if self.rate:
            return [f"  time      {duration(self.seconds)} at {self.rate:g} images/s, as named"]
        machine = "one GPU" if self.device == "cuda" else quantity(self.cores, "core")
        return [
            f"  time      {duration(self.seconds)} on this machine with {machine}",
            *(
                f"            {duration(self.seconds / scale)} {self._scaled(scale)}"
                for scale in SCALES
            ),
            "  assuming  all frames are like the sample, the disks keep up, and workers share "
            "nothing else;",
            "            without the calibration's frames, at most 200, and the start of the "
            "workers",
        ]

    def _memory_lines(self) -> list[str]:
        """The most memory of the sample, where it was measured."""
        if not self.sample.memory_bytes:
            return []
        gpu = f", {storage(self.sample.gpu_bytes)} of the GPU's" if self.sample.gpu_bytes else ""
        return [
            f"  memory    {storage(self.sample.memory_bytes)} of this process at most, the "
            f"weights included{gpu}; a worker takes as much"
        ]

    def _scaled(self, scale: int) -> str:
        if self.device != "cuda":
            return f"on {scale} machines like this one (`scheduler`)"
        busy = scale * self.sample.decode_seconds * self.sample.frames / self.sample.seconds
        decoding = f"if {busy:.1f} cores decode; there are {self.cores}"
        return f"on {scale} GPUs (`workers={scale}`) {decoding}"


def plan(settings: CacheTeacherSettings) -> Plan | None:
    """Run a few frames from file to store in a temporary folder beside the store, and reckon; of a
    teacher whose weights cannot be had, or whose `rate` is named, sizes alone.

    Returns:
        None when the store lacks nothing.

    Raises:
        CleverError: what `cache_teacher` would report, but for weights that cannot be had: no
            dataset, an unknown model or layer, no frame that can be used.
    """
    dataset = open_dataset(settings, settings.dataset)
    ids, _ = requested_frames(settings, dataset)
    points, missing = _missing(settings, ids)
    if not points and not any(missing):
        return None
    shapes = grid_shapes(teacher_settings(settings))
    teachers, untimed = _teachers(settings)
    parent = next(folder for folder in settings.store.absolute().parents if folder.is_dir())
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{settings.store.name}.plan-", dir=parent)
    except OSError as error:
        raise CleverError(
            f"cannot write in {parent}: {error.strerror}; choose another `cache`"
        ) from error
    with sigterm_interrupts(), folder as name:
        store = Store.open_or_create(Path(name) / "sample.zarr", base_settings(settings, dataset))
        if teachers:
            tasks = add_layers(store, settings, teachers)
            first, second = (build_stage(settings, store, tasks, dataset) for _ in range(2))
            sample = _sample_cost(first, second, ids)
        else:
            sample = _sizes_alone(settings, store, dataset, _spread(ids), shapes)
    return Plan(
        path=settings.store,
        device=choose_device(settings.device).type,
        frames=len(ids),
        point_frames=points,
        layer_frames=dict(zip(sample.layer_bytes, missing, strict=True)),
        cameras=len(store.cameras),
        sample=sample,
        free_bytes=shutil.disk_usage(parent).free,
        cores=cores(),
        rate=settings.rate,
        untimed=untimed,
        compressed=settings.codec == "int8-zstd",
    )


def _teachers(settings: CacheTeacherSettings) -> tuple[list[Teacher], str]:
    """The teacher's layers, or none and why there are none."""
    if settings.rate:
        return [], "a rate is named"
    try:
        return load_teachers(teacher_settings(settings), choose_device(settings.device)), ""
    except CleverError as error:
        return [], str(error)


def _sizes_alone(
    settings: CacheTeacherSettings,
    store: Store,
    dataset: LidarDataset,
    ids: Sequence[str],
    shapes: Sequence[GridShape],
) -> SampleCost:
    """What is known without running the teacher."""
    frames = point_sample(store, dataset, ids)
    kinds = layer_sizes(settings, shapes, frames)
    kind = "points" if settings.tokens in INTERPOLATED else settings.tokens
    sizes = {layer: own[kind] for layer, own in kinds.items()}
    return SampleCost(0, 0.0, 0.0, 0.0, frame_bytes(store, store.points), sizes, kinds)


def _spread(ids: Sequence[str]) -> list[str]:
    """All frames in an order of which any beginning is spread over them."""
    return [ids[int(number)] for number in np.random.default_rng(0).permutation(len(ids))]


def _sample_cost(first: StageOne, second: StageOne, ids: list[str]) -> SampleCost:
    """Warm up and time the parts on a batch with the `first` stage, then time the whole on others
    with the `second`."""
    store, batch = first.store, first.frames_per_batch
    infos = [task.info for task in first.tasks]
    spread = _spread(ids)
    store.extend(spread[:batch], [""] * len(spread[:batch]))
    rows = store.rows_of(spread[:batch])
    samples = {info.id: [(0, tuple(rows))] for info in infos if info.codec != "fp16"}
    if samples:
        first.calibrate(samples, lambda _: None)
    started = time.perf_counter()
    items = [first.load(row, images=True) for row in rows]
    loaded = [item.images for item in items if item.images is not None]
    pairs = [(item.frame, item.pairs) for item in items if item.frame and item.pairs]
    decode = (time.perf_counter() - started) / len(rows)
    if not loaded:
        raise CleverError(
            f"frame {spread[0]} and the rest of the sample cannot be read; run without `plan` for "
            "reasons"
        )
    teacher = _teacher_seconds(first, torch.cat(loaded)) / len(loaded)
    calls = (
        min(8, max(2, round(SECONDS / batch / max(decode + teacher, 1e-9)))) * first.teacher_threads
    )
    kinds = {info.id: kind_bytes(info.grid, info.channels, info.codec, pairs) for info in infos}
    timed_ids = spread[batch : batch * (1 + calls)]
    store.extend(timed_ids, [""] * len(timed_ids))
    shards = {row // SHARD_ROWS for row in store.rows_of(timed_ids or spread[:batch])}
    started = time.perf_counter()
    second.run(shards, {info.id: shards for info in infos}, lambda _: None)
    seconds = time.perf_counter() - started
    points, *grids = (
        frame_bytes(store, layer)
        for layer in (store.points, *(store.teacher_layer(info.id) for info in infos))
    )
    layer_bytes = {info.id: size for info, size in zip(infos, grids, strict=True)}
    count = len(timed_ids or rows)
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return SampleCost(count, seconds, decode, teacher, points, layer_bytes, kinds, memory, gpu)


def _kinds(sizes: Mapping[str, float]) -> str:
    """Sizes by kind in words, the smallest named."""
    words = ", ".join(f"{kind} {size / 1e3:,.0f} kB" for kind, size in sizes.items())
    return f"{words} (before compression); smallest: {min(sizes, key=sizes.__getitem__)}"


def _teacher_seconds(stage: StageOne, images: torch.Tensor) -> float:
    """Seconds of one teacher call as stage one makes it."""
    teachers = [task.teacher for task in stage.tasks]
    with deterministic():
        outputs(teachers, images)[0].grid.sum().item()  # the first call also chooses its kernels
        started = time.perf_counter()
        outputs(teachers, images)[0].grid.sum().item()
        return time.perf_counter() - started


def _missing(settings: CacheTeacherSettings, ids: list[str]) -> tuple[int, list[int]]:
    """How many of the frames the store lacks in points and pairs, and in each layer asked for."""
    store = existing_store(settings.store)
    if store is None:
        return len(ids), [len(ids)] * len(settings.layer or (None,))
    stored = set(store.ids)
    rows = store.rows_of([frame for frame in ids if frame in stored])
    fresh = len(ids) - len(rows)
    layers = [find_layer(store, request) for request in teacher_requests(settings)]

    def missing(layer: str) -> int:
        shards = set(store.pending_shards(layer, rows))
        return sum(row // SHARD_ROWS in shards for row in rows)

    grids = [missing(layer.id) if layer else len(rows) for layer in layers]
    return fresh + missing(store.points.id), [fresh + frames for frames in grids]
