"""Benchmark of stage one: images/s from files to store over those of the network alone, and the
memory it takes."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...cache.codec import Statistics, calibrate, decode, encode, measure
from ...cache.images import load_image
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard
from ...cache.teacher import Teacher, load_teacher, load_teachers
from ..datasets import LidarDataset, open_dataset
from ..process.device import choose_device, slow_bfloat16
from ..process.progress import Track
from ..process.termination import sigterm_interrupts
from ..results.run_folder import notice
from ..results.tables import markdown_table
from ..settings.benchmarks.teacher import BenchmarkTeacherSettings
from ..settings.cache_teacher import CacheTeacherSettings
from ..stage_one.fill import calibration_samples, deterministic
from ..stage_one.frames import FrameReader
from ..stage_one.request import (
    add_layers,
    base_settings,
    build_stage,
    default_batch,
    teacher_settings,
)
from .durations import Duration, Stopwatch
from .own_process import in_own_process, peak_memory
from .repeated_frames import GeneratedFrames, RepeatedFrames
from .report import Json, machine, ratios, spread, verdict, write_report

SHORT, LONG = 39, 390
"""Frames of the two runs whose peak memory is compared."""
SMALL_MODEL, SMALL_SIZE = "vit_tiny_patch16_224", (112, 224)
"""Teacher of the memory runs: quick, and with little memory of its own."""
MEMORY_GOAL, SPEED_GOAL, LAYERS_GOAL = 1.05, 0.95, 0.97
HALF_GOAL, COSINE_GOAL = 2.0, 0.99999
"""On a CPU, of bf16 against fp32: how many times as many images/s; mean cosine of the features."""
PACKAGES = ("timm", "pillow")
"""Packages whose versions matter."""
GPU_SECONDS = 2.0
"""Time of one measurement of the network on a GPU."""


@dataclass(frozen=True, slots=True)
class TeacherSpeed:
    """What was measured.

    Attributes:
        device, batch: where the teacher ran, and images in a call.
        images: images of an end-to-end run.
        network: an image through the network alone, by how it was called, of every round.
        whole: an image from files to store, of every round.
        parts: seconds that one thread or the GPU needs for an image, by part, measured alone.
        memory: peak bytes of the memory runs by frames; empty when they were not asked for.
        other: runs with another arithmetic; None when they were not asked for.
        several: runs that fill several layers in one pass; None when they were not asked for.
    """

    device: str
    batch: int
    images: int
    network: dict[str, list[Duration]]
    whole: list[Duration]
    parts: dict[str, float]
    memory: dict[int, int]
    other: "OtherPrecision | None" = None
    several: "SeveralLayers | None" = None

    @property
    def ratio(self) -> Json:
        """Images/s of the whole over those of the network, called in the faster way of each
        round."""
        best = [
            max(image.rate for image in ways) for ways in zip(*self.network.values(), strict=True)
        ]
        return ratios([image.rate for image in self.whole], best)

    @property
    def core_ratio(self) -> Json:
        """Core-seconds of the network over those of the whole: what other work on the machine
        changes little."""
        least = [
            min(image.core_seconds for image in ways)
            for ways in zip(*self.network.values(), strict=True)
        ]
        return ratios(least, [image.core_seconds for image in self.whole])

    def to_json(self) -> Json:
        runs = {**self.network, "cache-teacher": self.whole}
        return {
            "device": self.device,
            "batch_images": self.batch,
            "images": self.images,
            "images_per_s": {
                name: spread([image.rate for image in rounds]) for name, rounds in runs.items()
            },
            "core_s_an_image": {
                name: spread([image.core_seconds for image in rounds])
                for name, rounds in runs.items()
            },
            "ratio": self.ratio,
            "core_ratio": self.core_ratio,
            "seconds_an_image": self.parts,
            "peak_bytes": self.memory,
            "other": self.other and self.other.to_json(self.whole),
            "several": self.several and self.several.to_json(self.whole),
        }


@dataclass(frozen=True, slots=True)
class OtherPrecision:
    """Runs from files to store with another arithmetic of the teacher.

    Attributes:
        names: of the arithmetic that the benchmark is about, and of this one.
        whole: an image from files to store, of every round.
        cosines: of the two features of each patch of the first frame's images.
    """

    names: tuple[str, str]
    whole: list[Duration]
    cosines: Tensor

    def times_as_fast(self, base: list[Duration], cores: bool = False) -> Json:
        """Seconds of the runs `base` over those of these, round by round."""
        name = "core_seconds" if cores else "seconds"
        return ratios(*([getattr(image, name) for image in runs] for runs in (base, self.whole)))

    def to_json(self, base: list[Duration]) -> Json:
        return {
            "precision": self.names[1],
            "images_per_s": spread([image.rate for image in self.whole]),
            "times_as_fast": self.times_as_fast(base),
            "core_times_as_fast": self.times_as_fast(base, cores=True),
            "cosine": {"mean": float(self.cosines.mean()), "lowest": float(self.cosines.min())},
        }

    def lines(self, base: list[Duration], device: str) -> list[str]:
        """What was measured, and its goals on a CPU."""
        precision, other = self.names
        times = self.times_as_fast(base)
        mean, lowest = float(self.cosines.mean()), float(self.cosines.min())
        lines = [
            f"files to store, {other} over {precision}: "
            + "{median:.2f} [{low:.2f}-{high:.2f}] times as fast; ".format(**times)
            + "by core-seconds {median:.2f} [{low:.2f}-{high:.2f}]; ".format(
                **self.times_as_fast(base, cores=True)
            )
            + f"cosine of the features {mean:.6f} in the mean, {lowest:.6f} at least, "
            f"{len(self.cosines)} patches of the first frame"
        ]
        if device == "cpu" and self.names == ("fp32", "bf16"):
            lines += [
                f"goal bf16 >= {HALF_GOAL:g} times as fast: "
                f"{verdict(times['median'] >= HALF_GOAL)}, {times['median']:.2f}",
                f"goal cosine >= {COSINE_GOAL}: {verdict(mean >= COSINE_GOAL)}, {mean:.6f}",
            ]
        return lines


@dataclass(frozen=True, slots=True)
class SeveralLayers:
    """Runs from files to store that fill several layers in one pass of the teacher.

    Attributes:
        layers: their names.
        whole: an image from files to store, of every round.
    """

    layers: tuple[str, ...]
    whole: list[Duration]

    def rate_over(self, base: list[Duration], cores: bool = False) -> Json:
        """Seconds of the runs `base`, of a single layer, over those of these, round by round."""
        name = "core_seconds" if cores else "seconds"
        return ratios(*([getattr(image, name) for image in runs] for runs in (base, self.whole)))

    def to_json(self, base: list[Duration]) -> Json:
        return {
            "layers": self.layers,
            "images_per_s": spread([image.rate for image in self.whole]),
            "over_one_layer": self.rate_over(base),
            "core_over_one_layer": self.rate_over(base, cores=True),
        }

    def lines(self, base: list[Duration]) -> list[str]:
        """What was measured, and its goal."""
        rate = self.rate_over(base)
        return [
            f"files to store, layers {', '.join(self.layers)} in one pass over one of them: "
            + "{median:.3f} [{low:.3f}-{high:.3f}] of the images/s; ".format(**rate)
            + "by core-seconds {median:.3f} [{low:.3f}-{high:.3f}]".format(
                **self.rate_over(base, cores=True)
            ),
            f"goal several layers >= {LAYERS_GOAL} of one: "
            f"{verdict(rate['median'] >= LAYERS_GOAL)}, {rate['median']:.3f}",
        ]


@dataclass(frozen=True, slots=True)
class _Run:
    """Runs from files to store that are timed.

    Attributes:
        job: their settings.
        teachers: the layers that they fill.
        whole: an image, of every round.
    """

    job: CacheTeacherSettings
    teachers: list[Teacher]
    whole: list[Duration] = field(default_factory=list)


def benchmark_teacher(settings: BenchmarkTeacherSettings) -> TeacherSpeed:
    """Measure stage one; the JSON goes to ``settings.out``.

    The network alone gets images that are decoded and on its device; on a CPU it is called in both
    ways, one call at a time with all threads and, as stage one does, with one thread a call; the
    faster counts.

    Raises:
        CleverError: what `cache-teacher` would report, or no memory for a memory run.
    """
    device = choose_device(settings.device)
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        folder = Path(name)
        dataset = _dataset(settings, folder)
        job = settings.job(folder / "store.zarr")
        teacher = load_teacher(teacher_settings(job)[0], device)
        other = _other_teacher(settings, job, device)
        cameras = len(dataset.cameras)
        batch = max(1, default_batch(job, device.type) // cameras) * cameras
        frames = settings.frames or (400 if device.type == "cuda" else 8)
        repeated = RepeatedFrames(dataset, frames)
        runs = _runs(settings, job, teacher, other)
        network = _rounds(settings, folder, repeated, runs, batch)
        beside = other and OtherPrecision(
            (settings.precision, settings.against),
            runs["other"].whole,
            _cosines(dataset, teacher, other),
        )
        several = (
            SeveralLayers(runs["several"].job.layer or (), runs["several"].whole)
            if "several" in runs
            else None
        )
        parts = _parts(job, repeated, teacher, batch)
        fastest = max(image.rate for images in network.values() for image in images)
        parts["network"] = _lanes(device) / fastest
        memory = _memory(settings) if settings.memory else {}
    images = frames * cameras
    result = TeacherSpeed(
        device.type, batch, images, network, runs["one"].whole, parts, memory, beside, several
    )
    write_report(
        settings.out,
        "teacher",
        settings.model_dump(mode="json"),
        machine(PACKAGES),
        result.to_json(),
    )
    return result


def _runs(
    settings: BenchmarkTeacherSettings,
    job: CacheTeacherSettings,
    teacher: Teacher,
    other: Teacher | None,
) -> dict[str, _Run]:
    """What is timed from files to store: ``one`` layer, it in ``other`` arithmetic, ``several``."""
    runs = {"one": _Run(job, [teacher])}
    if other is not None:
        runs["other"] = _Run(job.decided(precision=settings.against), [other])
    if settings.beside_layer:
        own = [each.layer for each in teacher_settings(job)]
        layers = job.decided(layer=(*own, *settings.beside_layer))
        runs["several"] = _Run(layers, load_teachers(teacher_settings(layers), teacher.device))
    return runs


def _rounds(
    settings: BenchmarkTeacherSettings,
    folder: Path,
    dataset: LidarDataset,
    runs: Mapping[str, _Run],
    batch: int,
) -> dict[str, list[Duration]]:
    """Time the runs, and an image through the network alone by way to call it, which is returned;
    in every round one after the other."""
    ways = _network_ways(runs["one"].teachers[0], batch)
    network: dict[str, list[Duration]] = {name: [] for name in ways}
    in_order = list(runs.values())
    with Track("benchmark", settings.rounds * (len(runs) + len(ways)), "runs") as track:
        for number in range(settings.rounds):
            for way, call in ways.items():
                network[way].append(_image_duration(call))
                track.advance()
            for turn in range(len(in_order)):
                place = (number + turn) % len(in_order)
                path, run = folder / f"{number}-{place}.zarr", in_order[place]
                fill = partial(fill_store, run.job.decided(cache=path), dataset, run.teachers)
                run.whole.append(_image_duration(fill))
                shutil.rmtree(path)
                track.advance()
    return network


def _other_teacher(
    settings: BenchmarkTeacherSettings, job: CacheTeacherSettings, device: torch.device
) -> Teacher | None:
    """The teacher with the other arithmetic, unless there is none or it is slow here, which is
    said."""
    if settings.against in ("none", settings.precision):
        return None
    if line := slow_bfloat16(settings.against, device.type):
        notice(f"{settings.against} is left out: {line}")
        return None
    return load_teacher(teacher_settings(job.decided(precision=settings.against))[0], device)


def _cosines(dataset: LidarDataset, teacher: Teacher, other: Teacher) -> Tensor:
    """Cosine (P,) float32, on the CPU, of both teachers' features of each patch of the first
    frame's images."""
    images = [load_image(camera.image) for camera in dataset.frame(0).cameras]
    pixels = torch.stack([teacher.preprocess(image) for image in images]).to(teacher.device)
    ours, theirs = (each.features(pixels).float().cpu() for each in (teacher, other))
    return F.cosine_similarity(ours, theirs, dim=-1).flatten()


def fill_store(
    job: CacheTeacherSettings, dataset: LidarDataset, teachers: Sequence[Teacher]
) -> int:
    """Stage one on all frames of `dataset` into a new store, calibration included; returns the
    number of images."""
    ids = list(dataset.frame_ids)
    store = Store.open_or_create(job.store, base_settings(job, dataset))
    store.extend(ids, list(dataset.scenes))
    tasks = add_layers(store, job, teachers)
    stage = build_stage(job, store, tasks, dataset)
    shards = set(store.pending_shards(tasks[0].info.id, store.rows_of(ids)))
    grids = {task.info.id: shards for task in tasks}
    if samples := calibration_samples(store, tasks, grids, stage.frames_per_batch):
        stage.calibrate(samples, lambda _: None)
    stage.run(shards, grids, lambda _: None)
    store.finalise()
    return len(ids) * len(dataset.cameras)


def _image_duration(run: Callable[[], int]) -> Duration:
    """How long `run`, which returns the number of its images, takes for one of them."""
    with Stopwatch() as stopwatch:
        images = run()
    return stopwatch.duration / images


def teacher_tables(speed: TeacherSpeed) -> str:
    """Speed, parts and memory as Markdown."""
    ratio, core_ratio = speed.ratio, speed.core_ratio
    runs = {**speed.network, "cache-teacher, files to store": speed.whole}
    rows = [
        [
            name,
            "{median:.2f} [{low:.2f}-{high:.2f}]".format(
                **spread([image.rate for image in rounds])
            ),
            f"{spread([image.core_seconds for image in rounds])['median']:.3f}",
        ]
        for name, rounds in runs.items()
    ]
    parts = [
        [name, f"{1000 * seconds:.2f}", f"{seconds / speed.parts['network']:.1%}"]
        for name, seconds in speed.parts.items()
    ]
    lines = [
        f"{speed.device}, {speed.batch} images a call, {speed.images} images a run",
        markdown_table(["", "images/s", "core-s an image"], rows),
        "whole over network: {median:.3f} [{low:.3f}-{high:.3f}]; ".format(**ratio)
        + "by core-seconds {median:.3f} [{low:.3f}-{high:.3f}]".format(**core_ratio),
        markdown_table(["part, alone in one thread", "ms an image", "of the network's"], parts),
        f"goal whole >= {SPEED_GOAL} of the network: {verdict(ratio['median'] >= SPEED_GOAL)}, "
        f"{ratio['median']:.3f}",
    ]
    if speed.other:
        lines += speed.other.lines(speed.whole, speed.device)
    if speed.several:
        lines += speed.several.lines(speed.whole)
    if speed.memory:
        growth = speed.memory[LONG] / speed.memory[SHORT]
        sizes = ", ".join(
            f"{size / 1e6:.0f} MB at {frames} frames" for frames, size in speed.memory.items()
        )
        lines.append(
            f"goal peak memory <= {MEMORY_GOAL}: {verdict(growth <= MEMORY_GOAL)}, {growth:.3f} "
            f"({sizes})"
        )
    return "\n\n".join(lines)


def _dataset(settings: BenchmarkTeacherSettings, folder: Path) -> LidarDataset:
    if settings.data_root is None:
        return GeneratedFrames(folder, settings.generated_cameras)
    return open_dataset(settings, settings.dataset)


def _lanes(device: torch.device) -> int:
    """Things that compute at once: threads on a CPU, one GPU."""
    return 1 if device.type == "cuda" else torch.get_num_threads()


def _network_ways(teacher: Teacher, batch: int) -> dict[str, Callable[[], int]]:
    """Ways to call the network alone; each returns how many images it took."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *teacher.settings.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(teacher.device)
    lanes = _lanes(teacher.device)

    def on_gpu() -> int:
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < GPU_SECONDS:
            teacher.features(images)
            torch.cuda.synchronize()
            calls += 1
        return calls * batch

    def together() -> int:
        for _ in range(lanes):
            teacher.features(images)
        return lanes * batch

    def apart() -> int:
        with (
            deterministic(),
            ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            list(pool.map(teacher.features, [images] * lanes))
        return lanes * batch

    teacher.features(images)
    if teacher.device.type == "cuda":
        return {"network alone": on_gpu}
    return {
        "network alone, all threads a call": together,
        "network alone, one thread a call": apart,
    }


def _parts(
    job: CacheTeacherSettings, dataset: LidarDataset, teacher: Teacher, batch: int
) -> dict[str, float]:
    """Seconds an image of everything but the network, each part alone in one thread."""
    cameras = len(dataset.cameras)
    count = min(len(dataset), batch // cameras, SHARD_ROWS)
    store = Store.open_or_create(job.store, base_settings(job, dataset))
    store.extend(list(dataset.frame_ids), list(dataset.scenes))
    info = add_layers(store, job, [teacher])[0].info
    reader = FrameReader(store, dataset)
    per_image = 1 / (count * cameras)
    with deterministic():
        clock = _Clock(teacher.device, per_image)
        with clock("read points, project"):
            loaded = [reader.read(row) for row in range(count)]
        with clock("decode, resize"):
            images = torch.stack(
                [
                    teacher.preprocess(load_image(view.image))
                    for frame, _ in loaded
                    for view in frame.cameras
                ]
            )
        with clock("copy to the device"):
            images = images.to(teacher.device)
        tokens = teacher.features(images).unflatten(0, (count, cameras))
        with clock("calibrate"):
            calibration = calibrate([Statistics.of(frame) for frame in tokens], info.codec)
        with clock("encode, measure fidelity"):
            codes, clipped = encode(tokens, info.codec, calibration)
            on_device = calibration.to(codes.device) if calibration else None
            measure(tokens, decode(codes, on_device), int(clipped))
        with clock("copy back"):
            rows = codes.cpu().numpy()
        store.set_calibration(info, calibration)
        with clock("write"):
            points, grid = PointShard(store, 0), GridShard(store, info, 0)
            for row, (frame, pairs) in enumerate(loaded):
                points.add(row, frame, pairs)
                grid.add(row, rows[row])
            points.commit()
            grid.commit()
    return clock.seconds


class _Clock:
    """Seconds of named blocks, the device's work included, times a factor."""

    def __init__(self, device: torch.device, factor: float) -> None:
        self.device, self.factor = device, factor
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with Stopwatch(self.device) as stopwatch:
            yield
        self.seconds[name] = stopwatch.duration.seconds * self.factor


def _memory(settings: BenchmarkTeacherSettings) -> dict[int, int]:
    """Peak bytes of runs over `SHORT` and `LONG` frames, each in a process of its own."""
    return {
        frames: in_own_process(
            f"memory of stage one, {frames} frames",
            "use a smaller `batch_images` or `memory=false`",
            peak_of_run,
            settings,
            frames,
        )
        for frames in (SHORT, LONG)
    }


def peak_of_run(settings: BenchmarkTeacherSettings, frames: int) -> int:
    """Peak resident bytes of this process, which should be one of its own, after a run over
    `frames` frames with a small teacher."""
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        folder = Path(name)
        job = settings.job(folder / "store.zarr").decided(
            model=SMALL_MODEL, weights="random:0", image_size=SMALL_SIZE
        )
        teacher = load_teacher(teacher_settings(job)[0], choose_device(settings.device))
        fill_store(job, RepeatedFrames(_dataset(settings, folder), frames), [teacher])
    return peak_memory(torch.device("cpu"))
