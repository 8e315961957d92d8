"""`clever benchmark`: how fast, how small, how right, measured on this machine."""

import sys

import typer

from ..pipeline.benchmarks.occlusion import benchmark_occlusion, occlusion_table
from ..pipeline.benchmarks.read import PACKAGES, benchmark_read, goals, missing_readers, read_table
from ..pipeline.benchmarks.report import machine, machine_line
from ..pipeline.benchmarks.start import PACKAGES as START_PACKAGES
from ..pipeline.benchmarks.start import benchmark_start, start_goals, start_table
from ..pipeline.benchmarks.step import PACKAGES as STEP_PACKAGES
from ..pipeline.benchmarks.step import benchmark_step
from ..pipeline.benchmarks.step_report import step_tables
from ..pipeline.benchmarks.teacher import PACKAGES as TEACHER_PACKAGES
from ..pipeline.benchmarks.teacher import benchmark_teacher, teacher_tables
from ..pipeline.settings.benchmarks import (
    BenchmarkOcclusionSettings,
    BenchmarkReadSettings,
    BenchmarkStartSettings,
    BenchmarkStepSettings,
    BenchmarkTeacherSettings,
)
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(help="Measure speed and quality on this machine.", no_args_is_help=True)
    job_command(group, "read", BenchmarkReadSettings, read)
    job_command(group, "teacher", BenchmarkTeacherSettings, teacher)
    job_command(group, "step", BenchmarkStepSettings, step)
    job_command(group, "occlusion", BenchmarkOcclusionSettings, occlusion)
    job_command(group, "start", BenchmarkStartSettings, start)
    app.add_typer(group, name="benchmark")


def read(settings: BenchmarkReadSettings) -> int:
    """Frames/s of our reader and of others on the same frames, warm and cold, with and without
    loader workers.

    Every number is a ratio to np.memmap on float16 in the same round: median [quartiles] (median
    frames/s).
    """
    for name in missing_readers():
        print(
            f"{name} is not installed and left out; pip install 'clever-distiller[bench]'",
            file=sys.stderr,
        )
    readings = benchmark_read(settings)
    print(machine_line(machine(PACKAGES)))
    print(f"\nA frame's tokens\n\n{read_table(readings, 'tokens')}")
    print(f"\nA whole frame: tokens, points, pairs\n\n{read_table(readings, 'frame')}")
    print("\n" + "\n".join(goals(readings)))
    print(f"\nevery round: {settings.out}")
    return 0


def teacher(settings: BenchmarkTeacherSettings) -> int:
    """Images/s of cache-teacher, from files to store, over those of the bare network, and its peak
    memory."""
    speed = benchmark_teacher(settings)
    print(machine_line(machine(TEACHER_PACKAGES)))
    print(
        f"\n{settings.model} {settings.precision}, {teacher_tables(speed)}\n\nevery round: "
        f"{settings.out}"
    )
    return 0


def step(settings: BenchmarkStepSettings) -> int:
    """A whole training step over its bare network, its parts and its memory, and what the cache
    saves in it."""
    speeds = benchmark_step(settings)
    print(machine_line(machine(STEP_PACKAGES)))
    print(f"\n{step_tables(speeds)}\n\nevery round: {settings.out}")
    return 0


def occlusion(settings: BenchmarkOcclusionSettings) -> int:
    """Precision and recall of the occlusion test on generated drives, whose ray-cast truth is
    known."""
    counts = benchmark_occlusion(settings)
    print(f"{occlusion_table(counts)}\n\ncounts: {settings.out}")
    if settings.picture:
        print(f"picture: {settings.picture}")
    return 0


def start(settings: BenchmarkStartSettings) -> int:
    """How long the command line takes to answer, over importing what it is made of."""
    speeds = benchmark_start(settings)
    print(machine_line(machine(START_PACKAGES)))
    print(f"\n{start_table(speeds)}\n\n" + "\n".join(start_goals(speeds)))
    print(f"\nevery round: {settings.out}")
    return 0
