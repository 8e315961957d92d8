"""Benchmark of stage two: a whole training step over its bare network, what it waits for, its
memory and its parts."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ...cache.teacher import Teacher, TeacherSettings, load_teacher
from ...errors import CleverError
from ...student.registry import STUDENTS
from ..device import choose_device
from ..progress import Track
from ..settings.benchmarks import BenchmarkStepSettings
from ..settings.pretrain import PretrainSettings
from ..steps.cached_frames import DistillationBatch
from .random_store import write_random_store
from .random_sweeps import RandomSweeps
from .report import machine, write_report
from .step_parts import Profile, profile_step
from .step_report import Memory, Round, StudentSpeed, Timed
from .step_sides import SIDES, Side, Sides, StepReport

PACKAGES = ("accelerate", "spconv-cu120", "spconv-cu126", "timm")
"""Packages whose versions matter."""
PASSES = 2
"""Of a side whose memory is measured: from the second on the optimiser's state is there too."""


def benchmark_step(settings: BenchmarkStepSettings) -> list[StudentSpeed]:
    """Measure the training step of every student; the JSON goes to ``settings.out``.

    Raises:
        CleverError: unknown student or teacher, what `clever pretrain` would report, or no memory
            for a side.
    """
    device = choose_device(settings.device)
    if unknown := [name for name in settings.students if name not in STUDENTS]:
        raise CleverError(f"unknown student {', '.join(unknown)}; known: {', '.join(STUDENTS)}")
    teachers = _teachers(settings, device)
    with tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        store = _store(settings, Path(name))
        speeds: list[StudentSpeed] = []
        for student in settings.students:
            speeds.append(_measured(settings, student, store, teachers, device))
            results = {
                "threads": torch.get_num_threads(),
                "students": [speed.to_json() for speed in speeds],
            }
            # After each of them: what took hours shall not be lost with the next one.
            write_report(
                settings.out, "step", settings.model_dump(mode="json"), machine(PACKAGES), results
            )
    return speeds


def _store(settings: BenchmarkStepSettings, folder: Path) -> Path:
    if settings.cache is not None:
        return settings.cache
    frames = RandomSweeps(
        settings.cameras, settings.grid, settings.channels, settings.points, settings.seed
    )
    write_random_store(folder / "store.zarr", frames, settings.frames, ("int8",))
    return folder / "store.zarr"


def _teachers(settings: BenchmarkStepSettings, device: torch.device) -> dict[str, Teacher]:
    names = () if settings.teachers == ("none",) else settings.teachers
    return {
        name: load_teacher(
            TeacherSettings(
                model=name,
                weights="random:0",
                image_size=settings.image_size,
                precision=settings.precision,
            ),
            device,
        )
        for name in names
    }


def _measured(
    settings: BenchmarkStepSettings,
    student: str,
    store: Path,
    teachers: dict[str, Teacher],
    device: torch.device,
) -> StudentSpeed:
    """Everything about one student."""
    memory = _memory(settings, student, store, device) if settings.memory else []
    count, rounds = settings.repeats(device.type), settings.warmup + settings.rounds
    # On a GPU the first step under the profiler pays for its start.
    profiled = settings.profiled + (1 if settings.profiled and device.type == "cuda" else 0)
    job = settings.job(store, student, device.type, settings.recompute)
    with tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        sides = Sides(
            job, device, Path(name), rounds * count + profiled + 1 + settings.loader_steps
        )
        with (
            sides.by_hand(),
            Track(student, rounds * (len(SIDES) + len(teachers)), "measurements") as track,
        ):
            measured = [_round(sides, number, count, teachers, track) for number in range(rounds)]
            batch = sides.batch(rounds)
            profiles = [_profile(sides, batch) for _ in range(profiled)]
        waits = sides.loop()
    return StudentSpeed(
        student=student,
        device=device.type,
        precision=job.precision,
        batch_size=job.batch_size,
        recompute=settings.recompute,
        rounds=measured[settings.warmup :],
        profiles=profiles[profiled - settings.profiled :],
        waits=waits,
        memory=memory,
    )


def _round(
    sides: Sides, number: int, count: int, teachers: dict[str, Teacher], track: Track
) -> Round:
    """Every side once over the same batch, another one first each time, then the teachers on as
    many images."""
    batch = sides.batch(number)
    prepared = sides.prepare(batch)
    found: dict[Side, Timed] = {}
    for place in range(len(SIDES)):
        side = SIDES[(number + place) % len(SIDES)]
        found[side] = _timed(sides.of(side, batch, prepared, count), sides.device, count)
        track.advance()
    looks: dict[str, Timed] = {}
    for name, teacher in teachers.items():
        looks[name] = _timed(_look(teacher, len(batch.view_pairs)), sides.device)
        track.advance()
    sizes = (
        len(prepared.points),
        len(prepared.voxels.coords),
        len(prepared.slot),
        len(batch.view_pairs),
    )
    return Round(*sizes, found, looks)


def _timed(run: Callable[[], object], device: torch.device, count: int = 1) -> Timed:
    """Time of `run` over `count`, the device's work included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started, core = time.perf_counter(), time.process_time()
    run()
    wait()
    return Timed((time.perf_counter() - started) / count, (time.process_time() - core) / count)


def _look(teacher: Teacher, count: int) -> Callable[[], None]:
    """The features of `count` random images that lie on the host, as decoding leaves them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (count, 3, *teacher.settings.image_size), dtype=torch.uint8, generator=generator
    )
    cuda = teacher.device.type == "cuda"
    parts = (images.pin_memory() if cuda else images).split(64 if cuda else 12)

    def run() -> None:
        for part in parts:
            teacher.features(part)

    return run


def _profile(sides: Sides, batch: DistillationBatch) -> Profile:
    """One step under the profiler; its numbers are read when the next one runs, which is not part
    of it."""
    readings: list[StepReport] = []
    profile = profile_step(lambda: readings.append(sides.train_on(batch)), sides.device)
    sides.read(readings[0])
    return profile


def _memory(
    settings: BenchmarkStepSettings, student: str, store: Path, device: torch.device
) -> list[Memory]:
    """Peak memory of every side, each in a process of its own, which starts with nothing."""
    ways: list[tuple[Side, bool]] = [
        (side, recompute) for recompute in (False, True) for side in SIDES
    ]
    with Track(f"{student}, memory", len(ways), "processes") as track:
        found = []
        for side, recompute in ways:
            job = settings.job(store, student, device.type, recompute)
            found.append(Memory(side, recompute, peak_in_own_process(job, side)))
            track.advance()
    return found


def peak_in_own_process(job: PretrainSettings, side: Side) -> int:
    """Bytes by which a pass of `side` raises the peak of memory above that of the model and the
    batch.

    On a CPU resident memory of the process; on a GPU what torch has given out there.

    Raises:
        CleverError: the process ended before its time.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(job, side, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise CleverError(
            f"{job.student}: the process that measured the memory of {side} ended with code "
            f"{process.exitcode}; "
            "see what it printed; if it was killed use a smaller --batch-size or --no-memory"
        ) from None
    finally:
        process.join()


def _peak(job: PretrainSettings, side: Side, result: Connection) -> None:
    device = torch.device(job.device)
    with tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        sides = Sides(job, device, Path(name), PASSES)
        with sides.by_hand():
            batch = sides.batch(0)
            run = sides.of(side, batch, None if side == "full" else sides.prepare(batch))
            before = torch.cuda.memory_allocated() if device.type == "cuda" else _resident("VmRSS")
            _reset_peak(device)
            for _ in range(PASSES):
                run()
            peak = (
                torch.cuda.max_memory_allocated() if device.type == "cuda" else _resident("VmHWM")
            )
    result.send(peak - before)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(
        OSError
    ):  # not every kernel lets the peak be reset; before a first pass it is hardly above the rest
        Path("/proc/self/clear_refs").write_text("5")


def _resident(name: str) -> int:
    """Bytes of ``VmRSS``, resident now, or ``VmHWM``, at most so far."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])
