"""Benchmark of reading a cache: our reader beside np.memmap and the libraries that people would
take instead."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from ...cache import CachedFrame, FeatureCache
from ...cache.store.files.local import forget_shards
from ...errors import CleverError
from ..process.progress import Track
from ..process.termination import sigterm_interrupts
from ..results.tables import markdown_table
from ..settings.benchmarks.read import BenchmarkReadSettings
from .random_frames import RandomFrames
from .random_store import write_random_store
from .readers import BASE, OPTIONAL, Frames, Order, Source, installed, sources
from .report import Json, machine, ratios, spread, verdict, write_report

WARM_PASSES = 3
"""Passes over all frames before anything is measured: our reader maps a shard on its second
read."""
MAX_READS = 4000
BOUND = ("np.memmap", "int8")
PACKAGES = ("zarr", "safetensors", *OPTIONAL)
"""Packages whose versions matter."""
Part = Literal["tokens", "frame"]


@dataclass(frozen=True, slots=True)
class ReadSpeed:
    """One way to read and how fast it is.

    Attributes:
        source: the reader.
        part: a frame's ``tokens`` or the whole ``frame``.
        state: ``warm``, or ``cold``: after the files were dropped from the page cache.
        workers: DataLoader workers; 0 is this process.
        rates: frames/s of every round.
        base: frames/s of `BASE` in the same rounds.
        from_disk: bytes that came from the disk over those of the frames' tokens, of every cold
            round.
    """

    source: Source
    part: Part
    state: Literal["warm", "cold"]
    workers: int
    rates: list[float]
    base: list[float]
    from_disk: list[float]

    def to_json(self) -> Json:
        rates = {"frames_per_s": spread(self.rates), "ratio": ratios(self.rates, self.base)}
        names = {
            "reader": self.source.name,
            "codec": self.source.codec,
            "frame_bytes": self.source.frame_bytes,
        }
        place = {"part": self.part, "state": self.state, "workers": self.workers}
        return (
            names
            | place
            | rates
            | ({"from_disk": spread(self.from_disk)} if self.from_disk else {})
        )


def benchmark_read(settings: BenchmarkReadSettings) -> list[ReadSpeed]:
    """Measure every reader that is installed; the JSON goes to ``settings.out``.

    All readers give the same values, each frame in memory of its own; this is checked first. Cold
    speeds come first, from this process; what a hypervisor or a disk keeps in its own memory
    cannot be dropped.

    Raises:
        CleverError: a reader gives other values, or the store cannot be read.
    """
    with (
        sigterm_interrupts(),
        tempfile.TemporaryDirectory(prefix="clever-benchmark-") as folder,
        _one_thread(),
    ):
        store, layers = _store(settings, Path(folder))
        frames = min(
            settings.frames, *(len(FeatureCache(store, layer)) for layer in layers.values())
        )
        readers = sources(store, layers, frames, Path(folder))
        check_equal(readers, frames)
        speeds = _speeds(readers, frames, settings)
    write_report(
        settings.out,
        "read",
        settings.model_dump(mode="json"),
        machine(PACKAGES),
        _results(speeds),
    )
    return speeds


def _results(speeds: Sequence[ReadSpeed]) -> Json:
    return {"base": " ".join(BASE), "readings": [speed.to_json() for speed in speeds]}


def read_table(speeds: Sequence[ReadSpeed], part: Part) -> str:
    """Ratios to `BASE` with frames/s in brackets: a row a reader, a column a way to read."""
    part_speeds = [speed for speed in speeds if speed.part == part]
    columns = list(dict.fromkeys((speed.state, speed.workers) for speed in part_speeds))
    rows: dict[tuple[str, str], dict[tuple[str, int], str]] = {}
    for speed in part_speeds:
        ratio, rate = ratios(speed.rates, speed.base), spread(speed.rates)
        quartiles = f"{ratio['low']:.2f}-{ratio['high']:.2f}"
        text = f"{ratio['median']:.2f} [{quartiles}] ({rate['median']:,.0f}/s)"
        rows.setdefault((speed.source.name, speed.source.codec), {})[speed.state, speed.workers] = (
            text
        )
    sizes = {
        (speed.source.name, speed.source.codec): speed.source.frame_bytes for speed in part_speeds
    }
    names = [
        f"{state}, {workers} workers" if workers else f"{state}, in process"
        for state, workers in columns
    ]
    body = [
        [
            f"{name} {codec}",
            f"{sizes[name, codec] / 1e6:.2f}",
            *(cells.get(column, "") for column in columns),
        ]
        for (name, codec), cells in rows.items()
    ]
    return markdown_table(["reader", "MB a frame", *names], body)


def goals(speeds: Sequence[ReadSpeed]) -> list[str]:
    """Whether int8 tokens, warm and in this process, come as fast as `BASE`, and faster than from
    any library.

    A map of our own codes has no index to look up and no file to check: it is not one of the
    readers, but the bound.
    """
    near = [
        item for item in speeds if (item.part, item.state, item.workers) == ("tokens", "warm", 0)
    ]
    rates = {(item.source.name, item.source.codec): spread(item.rates)["median"] for item in near}
    own = next(
        (item for item in near if (item.source.name, item.source.codec) == ("clever", "int8")), None
    )
    if own is None:
        return []
    ratio, rate, bound = (
        ratios(own.rates, own.base)["median"],
        rates["clever", "int8"],
        rates.pop(BOUND, None),
    )
    ahead = [
        f"{name} {codec} {other:,.0f}/s" for (name, codec), other in rates.items() if other > rate
    ]
    lines = [
        f"goal int8 >= 1.0 of {' '.join(BASE)}: {verdict(ratio >= 1)}, {ratio:.2f}",
        f"goal first of all readers: {'missed, ahead are ' + ', '.join(ahead) if ahead else 'met'}",
    ]
    return (
        lines
        if bound is None
        else [*lines, f"bound {' '.join(BOUND)}: int8 comes at {rate / bound:.2f} of it"]
    )


def missing_readers() -> list[str]:
    """Readers that are not installed."""
    return [name for name in OPTIONAL if not installed(name)]


def check_equal(readers: Sequence[Source], frames: int) -> None:
    """Raise CleverError unless all readers of a codec give the same frame, for the first and the
    last frame."""
    for number in {0, frames - 1}:
        expected: dict[str, CachedFrame] = {}
        for source in readers:
            reader = source.open()
            frame = reader.frame(number)
            first = expected.setdefault(source.codec, frame)
            same = all(
                torch.equal(getattr(frame, name), getattr(first, name))
                for name in ("tokens", "points", "pair_point", "pair_camera", "pair_uv")
            )
            if not same or not torch.equal(reader.tokens(number), first.tokens):
                raise CleverError(
                    f"{source.name} {source.codec}: frame {number} differs from the other readers'"
                )


def _store(settings: BenchmarkReadSettings, folder: Path) -> tuple[Path, dict[str, str]]:
    """The store to read and its layers by codec."""
    if settings.cache is not None:
        teacher = FeatureCache(settings.cache, settings.teacher).teacher
        if teacher.tokens != "grid":
            raise CleverError(
                f"{teacher.id} stores hit tokens alone; choose a `teacher` that stores the whole "
                "grid"
            )
        return settings.cache, {teacher.codec: teacher.id}
    frames = RandomFrames(
        settings.cameras, settings.grid, settings.channels, settings.points, settings.seed
    )
    return folder / "store.zarr", write_random_store(
        folder / "store.zarr", frames, settings.frames, settings.codecs
    )


def _speeds(
    readers: Sequence[Source], frames: int, settings: BenchmarkReadSettings
) -> list[ReadSpeed]:
    ways: list[tuple[Part, int]] = [
        (part, workers) for workers in settings.workers for part in ("tokens", "frame")
    ]
    with Track(
        "reading", (len(ways) + 1) * len(readers) * settings.rounds, "measurements"
    ) as track:
        speeds = _cold(readers, frames, settings, track)
        for part, workers in ways:
            speeds += _warm(readers, frames, part, workers, settings, track)
    return speeds


def _cold(
    readers: Sequence[Source], frames: int, settings: BenchmarkReadSettings, track: Track
) -> list[ReadSpeed]:
    """A random quarter of the frames, each reader opened anew and its files dropped from the page
    cache just before."""
    rng = np.random.default_rng(settings.seed)
    rates: list[list[float]] = [[] for _ in readers]
    disk_shares: list[list[float]] = [[] for _ in readers]
    for _ in range(settings.rounds):
        order = rng.permutation(frames)[: -(-frames // 4)].tolist()
        for number, source in enumerate(readers):
            reader = source.open()
            forget_shards()
            for path in source.files:
                _drop(path)
            before, started = _bytes_from_disk(), time.perf_counter()
            for index in order:
                reader.tokens(index)
            rates[number].append(len(order) / (time.perf_counter() - started))
            disk_shares[number].append(
                (_bytes_from_disk() - before) / (len(order) * source.frame_bytes)
            )
            track.advance()
    columns = zip(readers, rates, disk_shares, strict=True)
    return [
        ReadSpeed(source, "tokens", "cold", 0, rate, rates[0], share)
        for source, rate, share in columns
    ]


def _warm(
    readers: Sequence[Source],
    frames: int,
    part: Part,
    workers: int,
    settings: BenchmarkReadSettings,
    track: Track,
) -> list[ReadSpeed]:
    """Random frames from the page cache, as many as each reader can read in the time given."""
    rng = np.random.default_rng(settings.seed)
    runs = [_runner(source, part == "frame", workers) for source in readers]
    counts: list[int] = []
    for run in runs:
        run(list(range(frames)) * (WARM_PASSES - 1))
        rate = frames / run(range(frames))
        counts.append(min(MAX_READS, max(frames, int(rate * settings.seconds))))
    rates: list[list[float]] = [[] for _ in readers]
    for _ in range(settings.rounds):
        for number, (run, count) in enumerate(zip(runs, counts, strict=True)):
            rates[number].append(count / run(rng.integers(frames, size=count).tolist()))
            track.advance()
    columns = zip(readers, rates, strict=True)
    return [
        ReadSpeed(source, part, "warm", workers, rate, rates[0], []) for source, rate in columns
    ]


def _runner(source: Source, whole: bool, workers: int) -> Callable[[Sequence[int]], float]:
    """Reads frames, each let go at once, and gives the seconds that it took; worker processes stay
    between calls."""
    data, order = Frames(source, whole), Order()
    loader: Iterable[Any] = order
    if workers:
        # Clean processes, quickly made: tensorstore and h5py do not survive a fork of a process
        # that used them.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        loader = DataLoader(
            data,
            None,
            sampler=order,
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context=context,
        )

    def run(indices: Sequence[int]) -> float:
        order.indices = indices
        started = time.perf_counter()
        for item in loader:
            if not workers:
                data[item]
        return time.perf_counter() - started

    return run


def _drop(path: Path) -> None:
    """Drop a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _bytes_from_disk() -> int:
    """Bytes that this process had fetched from disks so far."""
    return int(Path("/proc/self/io").read_text().split("read_bytes:")[1].split()[0])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
