"""Benchmark of stage two: a whole training step over its bare network, what it waits for, its
memory and its parts."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import torch

from ...cache.teacher import Teacher, TeacherSettings, load_teacher
from ...errors import CleverError
from ...student.registry import STUDENTS
from ..process.device import choose_device, slow_bfloat16
from ..process.progress import Track
from ..process.termination import sigterm_interrupts
from ..results.run_folder import notice
from ..settings.benchmarks.step import BenchmarkStepSettings
from ..settings.pretrain import PretrainSettings
from ..steps.cached_frames import DistillationBatch
from ..steps.passes import PassBatch
from .durations import Duration, Stopwatch
from .own_process import in_own_process, rise_of_peak
from .random_frames import RandomSweeps
from .random_store import write_random_store
from .report import machine, write_report
from .step_parts import StepProfile, profile_step
from .step_report import AS_IT_IS, Memory, Round, StudentSpeed, WholeStep
from .step_sides import SIDES, Side, Sides, StepReport

PACKAGES = ("accelerate", "spconv-cu120", "spconv-cu126", "timm")
"""Packages whose versions matter."""
T = TypeVar("T")
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
    others = _others(settings, device.type)
    teachers = _teachers(settings, device)
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        store = _store(settings, Path(name))
        speeds: list[StudentSpeed] = []
        for student in settings.students:
            speeds.append(_measured(settings, student, store, teachers, others, device))
            results = {
                "threads": torch.get_num_threads(),
                "students": [speed.to_json() for speed in speeds],
            }
            # After each of them: what took hours shall not be lost with the next one.
            write_report(
                settings.out, "step", settings.model_dump(mode="json"), machine(PACKAGES), results
            )
    return speeds


def _store(settings: BenchmarkStepSettings, folder: Path) -> str | Path:
    if settings.cache is not None:
        return settings.cache
    frames = RandomSweeps(
        settings.cameras, settings.grid, settings.channels, settings.points, settings.seed
    )
    write_random_store(folder / "store.zarr", frames, settings.frames, ("int8",))
    return folder / "store.zarr"


def _others(settings: BenchmarkStepSettings, device: str) -> dict[str, dict[str, str]]:
    """Changes of settings by their words, but for those that change nothing and those that are slow
    here, which is said.

    Raises:
        CleverError: no such setting or value.
    """
    others: dict[str, dict[str, str]] = {}
    against = () if settings.against == ("none",) else settings.against
    for words in (*against, *(f"recipe={name}" for name in settings.recipe or ())):
        name, separator, value = words.partition("=")
        if not separator:
            raise CleverError(f"`against`: {words} is not of the form name=value")
        value = value.replace(";", ",")
        try:
            plain, changed = (
                settings.job("store", settings.students[0], device, settings.recompute, changes)
                for changes in ({}, {name: value})
            )
        except CleverError as error:
            raise CleverError(f"`against`, {words}: {error}") from error
        if line := slow_bfloat16(changed.precision, device):
            notice(f"{words} is left out: {line}")
        elif changed.differences(plain):
            others[words] = {name: value}
    return others


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
    store: str | Path,
    teachers: dict[str, Teacher],
    others: dict[str, dict[str, str]],
    device: torch.device,
) -> StudentSpeed:
    """Everything about one student."""
    memory = _memory(settings, student, store, device) if settings.memory else []
    count, rounds = settings.repeats(device.type), settings.warmup + settings.rounds
    # On a GPU the first step under the profiler pays for its start.
    profiled = settings.profiled + (1 if settings.profiled and device.type == "cuda" else 0)
    job = settings.job(store, student, device.type, settings.recompute)
    # The same for all runs: the order of frames depends on it.
    steps = rounds * count + profiled + 1 + settings.loader_steps
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        # First the others: the precision of the run that was made last holds for parts of a step.
        further = {
            words: Sides(
                settings.job(store, student, device.type, settings.recompute, changes),
                device,
                Path(name) / f"other-{number}",
                steps,
            )
            for number, (words, changes) in enumerate(others.items())
        }
        sides = Sides(job, device, Path(name) / "run", steps)
        size = len(SIDES) + len(further) + len(teachers)
        with ExitStack() as logs, Track(student, rounds * size, "measurements") as track:
            for each in (sides, *further.values()):
                logs.enter_context(each.by_hand())
            measurements = [
                _round(sides, further, number, count, teachers, track) for number in range(rounds)
            ]
            batch = sides.batch(rounds)
            profiles = [_profile(sides, batch) for _ in range(profiled)]
        waits = sides.loop()
        for each in further.values():
            each.fit.stepper.release()
    return StudentSpeed(
        student=student,
        device=device.type,
        precision=job.precision,
        batch_size=job.batch_size,
        recompute=settings.recompute,
        rounds=measurements[settings.warmup :],
        profiles=profiles[profiled - settings.profiled :],
        waits=waits,
        memory=memory,
    )


def _round(
    sides: Sides,
    others: dict[str, Sides],
    number: int,
    count: int,
    teachers: dict[str, Teacher],
    track: Track,
) -> Round:
    """Every side once over the same batch and whole steps with other settings over batches of the
    same draws, another one first each time, then the teachers on as many images."""
    loaded = {
        words: _loaded(each, number) for words, each in _turned({AS_IT_IS: sides} | others, number)
    }
    batch = loaded[AS_IT_IS][0]
    assert isinstance(batch, DistillationBatch)
    prepared = sides.prepare(batch)
    runs = {side: sides.of(side, batch, prepared, count) for side in SIDES}
    runs |= {
        words: each.of("full", loaded[words][0], None, count) for words, each in others.items()
    }
    passes: dict[str, Duration] = {}
    for name, run in _turned(runs, number):
        passes[name] = _duration(run, sides.device) / count
        track.advance()
    features: dict[str, Duration] = {}
    for name, teacher in teachers.items():
        run = _teacher_pass(teacher, len(batch.view_pairs))
        features[name] = _duration(run, sides.device)
        track.advance()
    sizes = (
        len(prepared.points),
        len(prepared.voxels.coords),
        len(prepared.slot),
        len(batch.view_pairs),
    )
    whole = {
        words: WholeStep(
            len(loaded[words][0].points),
            sum(loaded[words][0].view_pairs),
            loaded[words][1],
            passes["full" if words == AS_IT_IS else words],
        )
        for words in ((AS_IT_IS, *others) if others else ())
    }
    return Round(*sizes, {side: passes[side] for side in SIDES}, features, whole)


def _turned(values: dict[str, T], number: int) -> list[tuple[str, T]]:
    """The items, from that of `number` on and around."""
    items = list(values.items())
    first = number % len(items)
    return items[first:] + items[:first]


def _loaded(sides: Sides, number: int) -> tuple[DistillationBatch | PassBatch, Duration]:
    """A batch, and how long it took to load."""
    with Stopwatch() as stopwatch:
        batch = sides.batch_of_passes(number)
    return batch, stopwatch.duration


def _duration(run: Callable[[], object], device: torch.device) -> Duration:
    """How long `run` takes, the device's work included."""
    with Stopwatch(device) as stopwatch:
        run()
    return stopwatch.duration


def _teacher_pass(teacher: Teacher, count: int) -> Callable[[], None]:
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


def _profile(sides: Sides, batch: DistillationBatch) -> StepProfile:
    """One step under the profiler; its numbers are read when the next one runs, which is not part
    of it."""
    reports: list[StepReport] = []
    profile = profile_step(lambda: reports.append(sides.train_on(batch)), sides.device)
    sides.read(reports[0])
    return profile


def _memory(
    settings: BenchmarkStepSettings, student: str, store: str | Path, device: torch.device
) -> list[Memory]:
    """Peak memory of every side, each in a process of its own, which starts with nothing."""
    ways: list[tuple[Side, bool, str]] = [
        (side, recompute, "") for recompute in (False, True) for side in SIDES
    ]
    for name in settings.recipe or ():
        ways.append(("full", settings.recompute, name))
    with Track(f"{student}, memory", len(ways), "processes") as track:
        peaks = []
        for side, recompute, recipe in ways:
            changes = {"recipe": recipe} if recipe else None
            job = settings.job(store, student, device.type, recompute, changes)
            peak = in_own_process(
                f"memory of {student}, {side}",
                "use a smaller `batch_size` or `memory=false`",
                peak_of_pass,
                job,
                side,
            )
            peaks.append(Memory(side, recompute, peak, recipe))
            track.advance()
    return peaks


def peak_of_pass(job: PretrainSettings, side: Side) -> int:
    """Bytes by which passes of `side` raise the peak of memory above that of the model and the
    batch.

    On a CPU resident memory of this process, which should be one of its own; on a GPU what torch
    has given out there.
    """
    device = torch.device(job.device)
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        sides = Sides(job, device, Path(name), PASSES)
        with sides.by_hand():
            batch = sides.batch_of_passes(0)
            parts = None
            if side != "full":
                assert isinstance(batch, DistillationBatch)
                parts = sides.prepare(batch)
            run = sides.of(side, batch, parts)

            def passes() -> None:
                for _ in range(PASSES):
                    run()

            return rise_of_peak(passes, device)
