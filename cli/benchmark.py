"""`clever benchmark`: what its commands print."""

import sys
from typing import TYPE_CHECKING, Any

from ..pipeline.settings.benchmarks.conv import BenchmarkConvSettings
from ..pipeline.settings.benchmarks.corruptions import BenchmarkCorruptionsSettings
from ..pipeline.settings.benchmarks.detection import BenchmarkDetectionSettings
from ..pipeline.settings.benchmarks.occlusion import BenchmarkOcclusionSettings
from ..pipeline.settings.benchmarks.read import BenchmarkReadSettings
from ..pipeline.settings.benchmarks.start import BenchmarkStartSettings
from ..pipeline.settings.benchmarks.step import BenchmarkStepSettings
from ..pipeline.settings.benchmarks.teacher import BenchmarkTeacherSettings

if TYPE_CHECKING:
    from ..pipeline.benchmarks.conv import ConvSpeed
    from ..pipeline.benchmarks.corruptions import CorruptionSpeed
    from ..pipeline.benchmarks.detection import Side
    from ..pipeline.benchmarks.step_report import StudentSpeed
    from ..pipeline.benchmarks.teacher import TeacherSpeed


def print_read(settings: BenchmarkReadSettings, readings: list[Any]) -> int:
    """Print the readers' rates, and which readers are missing."""
    from ..pipeline.benchmarks.read import PACKAGES, goals, missing_readers, read_table
    from ..pipeline.benchmarks.report import machine, machine_line

    for name in missing_readers():
        print(
            f"{name} is not installed and left out; pip install 'clever-distiller[bench]'",
            file=sys.stderr,
        )
    print(machine_line(machine(PACKAGES)))
    print(f"\nA frame's tokens\n\n{read_table(readings, 'tokens')}")
    print(f"\nA whole frame: tokens, points, pairs\n\n{read_table(readings, 'frame')}")
    print("\n" + "\n".join(goals(readings)))
    print(f"\nevery round: {settings.out}")
    return 0


def print_teacher(settings: BenchmarkTeacherSettings, speed: "TeacherSpeed") -> int:
    """Print the rates of stage one."""
    from ..pipeline.benchmarks.report import machine, machine_line
    from ..pipeline.benchmarks.teacher import PACKAGES, teacher_tables

    print(machine_line(machine(PACKAGES)))
    print(f"\n{settings.model} {settings.precision}, {teacher_tables(speed)}")
    print(f"\nevery round: {settings.out}")
    return 0


def print_step(settings: BenchmarkStepSettings, speeds: "list[StudentSpeed]") -> int:
    """Print what a step takes."""
    from ..pipeline.benchmarks.report import machine, machine_line
    from ..pipeline.benchmarks.step import PACKAGES
    from ..pipeline.benchmarks.step_report import step_tables

    print(machine_line(machine(PACKAGES)))
    print(f"\n{step_tables(speeds)}\n\nevery round: {settings.out}")
    return 0


def print_conv(settings: BenchmarkConvSettings, speeds: "list[ConvSpeed]") -> int:
    """Print what a backbone takes."""
    import torch

    from ..pipeline.benchmarks.conv import PACKAGES, conv_goals, conv_table
    from ..pipeline.benchmarks.report import machine, machine_line

    print(machine_line(machine(PACKAGES)))
    print(
        f"\nforward and backward pass of the bare backbone, 1 frame, {torch.get_num_threads()} "
        f"threads, {settings.rounds} rounds\n\n{conv_table(speeds)}\n"
    )
    print("\n".join([*conv_goals(speeds), f"every round: {settings.out}"]))
    return 0


def print_corruptions(
    settings: BenchmarkCorruptionsSettings, speeds: "list[CorruptionSpeed]"
) -> int:
    """Print how long corruptions take."""
    from ..pipeline.benchmarks.corruptions import PACKAGES, corruptions_table
    from ..pipeline.benchmarks.report import machine, machine_line

    points = speeds[0].points if speeds else 0
    print(machine_line(machine(PACKAGES)))
    print(f"\none sweep of {points} points, {settings.rounds} rounds\n")
    print(f"{corruptions_table(speeds)}\n\nevery round: {settings.out}")
    return 0


def print_detection(settings: BenchmarkDetectionSettings, sides: "list[Side]") -> int:
    """Print how long overlaps and suppression take."""
    from ..pipeline.benchmarks.detection import PACKAGES, detection_table
    from ..pipeline.benchmarks.report import machine, machine_line

    print(machine_line(machine(PACKAGES)))
    print(f"\n{detection_table(sides)}\n\nevery round: {settings.out}")
    return 0


def print_occlusion(settings: BenchmarkOcclusionSettings, counts: Any) -> int:
    """Print how right the occlusion test is."""
    from ..pipeline.benchmarks.occlusion import occlusion_table

    print(f"{occlusion_table(counts)}\n\ncounts: {settings.out}")
    if settings.picture:
        print(f"picture: {settings.picture}")
    return 0


def print_start(settings: BenchmarkStartSettings, speeds: Any) -> int:
    """Print how long the command line takes to answer."""
    from ..pipeline.benchmarks.report import machine, machine_line
    from ..pipeline.benchmarks.start import PACKAGES, start_goals, start_table

    print(machine_line(machine(PACKAGES)))
    print(f"\n{start_table(speeds)}\n\n" + "\n".join(start_goals(speeds)))
    print(f"\nevery round: {settings.out}")
    return 0
