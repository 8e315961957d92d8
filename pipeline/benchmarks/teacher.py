"""Benchmark of stage one: images/s from files to store over those of the network alone, and the
memory it takes."""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ...cache.codec import Statistics, calibrate, decode, encode, measure
from ...cache.images import load_image
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard
from ...cache.teacher import Teacher, load_teacher
from ..datasets import LidarDataset, open_dataset
from ..device import choose_device
from ..progress import Track
from ..settings.benchmarks import BenchmarkTeacherSettings
from ..settings.cache_teacher import CacheTeacherSettings
from ..stage_one.calibration import calibration_sample
from ..stage_one.fill import deterministic
from ..stage_one.frames import FrameReader
from ..stage_one.request import (
    add_layer,
    base_settings,
    build_stage,
    default_batch,
    teacher_settings,
)
from ..tables import markdown_table
from .repeated_frames import GeneratedFrames, Repeated
from .report import Json, machine, ratios, spread, write_report

SHORT, LONG = 39, 390
"""Frames of the two runs whose peak memory is compared."""
SMALL_MODEL, SMALL_SIZE = "vit_tiny_patch16_224", (112, 224)
"""Teacher of the memory runs: quick, and with little memory of its own."""
MEMORY_GOAL, SPEED_GOAL = 1.05, 0.95
PACKAGES = ("timm", "pillow")
"""Packages whose versions matter."""
GPU_SECONDS = 2.0
"""Time of one measurement of the network on a GPU."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One run: images/s on the clock, and seconds of all cores together an image."""

    rate: float
    core_seconds: float


@dataclass(frozen=True, slots=True)
class TeacherSpeed:
    """What was measured.

    Attributes:
        device, batch: where the teacher ran, and images in a call.
        images: images of an end-to-end run.
        network: the network alone by how it was called, of every round.
        whole: from files to store, of every round.
        parts: seconds that one thread or the GPU needs for an image, by part, measured alone.
        memory: peak bytes of the memory runs by frames; empty when they were not asked for.
    """

    device: str
    batch: int
    images: int
    network: dict[str, list[Timed]]
    whole: list[Timed]
    parts: dict[str, float]
    memory: dict[int, int]

    @property
    def ratio(self) -> Json:
        """Images/s of the whole over those of the network, called in the faster way of each
        round."""
        best = [
            max(timed.rate for timed in runs) for runs in zip(*self.network.values(), strict=True)
        ]
        return ratios([timed.rate for timed in self.whole], best)

    @property
    def core_ratio(self) -> Json:
        """Core-seconds of the network over those of the whole: what other work on the machine
        changes little."""
        least = [
            min(timed.core_seconds for timed in runs)
            for runs in zip(*self.network.values(), strict=True)
        ]
        return ratios(least, [timed.core_seconds for timed in self.whole])

    def to_json(self) -> Json:
        runs = {**self.network, "cache-teacher": self.whole}
        return {
            "device": self.device,
            "batch_images": self.batch,
            "images": self.images,
            "images_per_s": {
                name: spread([timed.rate for timed in found]) for name, found in runs.items()
            },
            "core_s_an_image": {
                name: spread([timed.core_seconds for timed in found])
                for name, found in runs.items()
            },
            "ratio": self.ratio,
            "core_ratio": self.core_ratio,
            "seconds_an_image": self.parts,
            "peak_bytes": self.memory,
        }


def benchmark_teacher(settings: BenchmarkTeacherSettings) -> TeacherSpeed:
    """Measure stage one; the JSON goes to ``settings.out``.

    The network alone gets images that are decoded and on its device; on a CPU it is called in both
    ways, one call at a time with all threads and, as stage one does, with one thread a call; the
    faster counts.

    Raises:
        CleverError: what `cache-teacher` would report.
    """
    device = choose_device(settings.device)
    with tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        folder = Path(name)
        dataset = _dataset(settings, folder)
        job = settings.job(folder / "store.zarr")
        teacher = load_teacher(teacher_settings(job), device)
        frames = settings.frames or (400 if device.type == "cuda" else 8)
        batch = max(1, default_batch(job, device.type) // len(dataset.cameras)) * len(
            dataset.cameras
        )
        ways = _network_ways(teacher, batch)
        network: dict[str, list[Timed]] = {name: [] for name in ways}
        whole: list[Timed] = []
        repeated = Repeated(dataset, frames)
        with Track("benchmark", settings.rounds * (1 + len(ways)), "runs") as track:
            for number in range(settings.rounds):
                for way, run in ways.items():
                    network[way].append(_timed(run))
                    track.advance()
                path = folder / f"{number}.zarr"
                whole.append(_timed(partial(fill_store, settings.job(path), repeated, teacher)))
                shutil.rmtree(path)
                track.advance()
        parts = _parts(job, repeated, teacher, batch)
        parts["network"] = _lanes(device) / max(
            timed.rate for runs in network.values() for timed in runs
        )
        memory = (
            {count: _peak_in_own_process(settings, count) for count in (SHORT, LONG)}
            if settings.memory
            else {}
        )
    result = TeacherSpeed(
        device.type, batch, frames * len(dataset.cameras), network, whole, parts, memory
    )
    write_report(
        settings.out,
        "teacher",
        settings.model_dump(mode="json"),
        machine(("timm", "pillow")),
        result.to_json(),
    )
    return result


def fill_store(job: CacheTeacherSettings, dataset: LidarDataset, teacher: Teacher) -> int:
    """Stage one on all frames of `dataset` into a new store, calibration included; returns the
    number of images."""
    ids = list(dataset.frame_ids)
    store = Store.open_or_create(job.store, base_settings(job, dataset))
    store.extend(ids, list(dataset.scenes))
    info = add_layer(store, job, teacher)
    stage = build_stage(job, store, info, dataset, teacher)
    shards = set(store.pending(info.id, store.rows_of(ids)))
    if sample := calibration_sample(store, info, sorted(shards), stage.frames_per_batch):
        stage.calibrate(sample, lambda _: None)
    stage.run(shards, shards, lambda _: None)
    store.finalise()
    return len(ids) * len(dataset.cameras)


def _timed(run: Callable[[], int]) -> Timed:
    """Time `run`, which returns the number of images it took."""
    started, core = time.perf_counter(), time.process_time()
    images = run()
    return Timed(images / (time.perf_counter() - started), (time.process_time() - core) / images)


def teacher_tables(speed: TeacherSpeed) -> str:
    """Speed, parts and memory as Markdown."""
    ratio, core_ratio = speed.ratio, speed.core_ratio
    runs = {**speed.network, "cache-teacher, files to store": speed.whole}
    rows = [
        [
            name,
            "{median:.2f} [{low:.2f}-{high:.2f}]".format(**spread([timed.rate for timed in found])),
            f"{spread([timed.core_seconds for timed in found])['median']:.3f}",
        ]
        for name, found in runs.items()
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
        f"goal whole >= {SPEED_GOAL} of the network: {_verdict(ratio['median'] >= SPEED_GOAL)}, "
        f"{ratio['median']:.3f}",
    ]
    if speed.memory:
        growth = speed.memory[LONG] / speed.memory[SHORT]
        sizes = ", ".join(
            f"{size / 1e6:.0f} MB at {frames} frames" for frames, size in speed.memory.items()
        )
        lines.append(
            f"goal peak memory <= {MEMORY_GOAL}: {_verdict(growth <= MEMORY_GOAL)}, {growth:.3f} "
            f"({sizes})"
        )
    return "\n\n".join(lines)


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _dataset(settings: BenchmarkTeacherSettings, folder: Path) -> LidarDataset:
    if settings.data_root is None:
        return GeneratedFrames(folder, settings.cameras)
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
    info = add_layer(store, job, teacher)
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
            stored = codes.cpu().numpy()
        store.set_calibration(info, calibration)
        with clock("write"):
            points, grid = PointShard(store, 0), GridShard(store, info, 0)
            for row, (frame, pairs) in enumerate(loaded):
                points.add(row, frame, pairs)
                grid.add(row, stored[row])
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
        self._wait()
        started = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = (time.perf_counter() - started) * self.factor

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _peak_in_own_process(settings: BenchmarkTeacherSettings, frames: int) -> int:
    """Peak resident bytes of a run over `frames` frames with a small teacher, in a process of its
    own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    small = settings.model_copy(
        update={"model": SMALL_MODEL, "weights": "random:0", "image_size": SMALL_SIZE}
    )
    process = context.Process(target=_peak, args=(small, frames, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _peak(settings: BenchmarkTeacherSettings, frames: int, result: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        folder = Path(name)
        job = settings.job(folder / "store.zarr")
        teacher = load_teacher(teacher_settings(job), choose_device(settings.device))
        fill_store(job, Repeated(_dataset(settings, folder), frames), teacher)
    status = Path("/proc/self/status").read_text()
    result.send(1024 * int(status.split("VmHWM:")[1].split()[0]))
