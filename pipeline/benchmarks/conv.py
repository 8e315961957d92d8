"""Benchmark of sparse convolution on a CPU: a student's bare backbone by our own kernels, in
float32 and in bfloat16, beside spconv's native ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from ...errors import CleverError
from ...student.backbones.sparse import DownConv, SubmanifoldConv, UpConv
from ...student.points import PointBatch
from ...student.registry import STUDENTS, build_student
from ...student.student import Student
from ...student.voxelize import Voxels
from ...words import quantity
from ..datasets import open_dataset
from ..process.progress import Track
from ..results.tables import markdown_table
from ..settings.benchmarks.conv import BenchmarkConvSettings
from .durations import Duration, Stopwatch
from .random_frames import RandomSweeps
from .report import Json, machine, ratios, spread, verdict, write_report

Side = Literal["spconv fp32", "clever fp32", "clever bf16"]
BASE: Side = "spconv fp32"
GOALS: dict[tuple[str, float, Side], float] = {
    ("minkunet34", 0.05, "clever fp32"): 1.1,
    ("minkunet34", 0.05, "clever bf16"): 2.3,
    ("minkunet-tiny", 0.2, "clever fp32"): 1.4,
}
"""How many times as fast as spconv a side shall be, by student and voxel size."""
PACKAGES = ("spconv-cu120", "spconv-cu126")
"""Packages whose versions matter."""


@dataclass(frozen=True, slots=True)
class ConvSpeed:
    """Forward and backward passes of one student's backbone.

    Attributes:
        voxels: of every round.
        durations: of every round, by side.
    """

    student: str
    voxel_size: float
    sides: tuple[Side, ...]
    voxels: list[int] = field(default_factory=list)
    durations: dict[Side, list[Duration]] = field(default_factory=dict)

    def ratio(self, side: Side, *, core: bool = False) -> Json | None:
        """How many times as fast as spconv, round by round; None where spconv is not installed."""
        if BASE not in self.sides:
            return None
        base, ours = (
            [run.core_seconds if core else run.seconds for run in self.durations[one]]
            for one in (BASE, side)
        )
        return ratios(base, ours)

    def to_json(self) -> Json:
        return {
            "student": self.student,
            "voxel_size": self.voxel_size,
            "voxels": self.voxels,
            "sides": {
                side: {
                    "seconds": spread([run.seconds for run in runs]),
                    "core_seconds": spread([run.core_seconds for run in runs]),
                    "ratio": self.ratio(side),
                    "core_ratio": self.ratio(side, core=True),
                }
                for side, runs in self.durations.items()
            },
        }


def benchmark_conv(settings: BenchmarkConvSettings) -> list[ConvSpeed]:
    """Time forward and backward pass of every student's backbone on the CPU; the JSON goes to
    ``settings.out``.

    Every round takes the frame turned about the vertical by another angle, as in training, where no
    two batches have the same number of voxels; all sides take the same one, another side first each
    time. The first round does not count. Without spconv ours are timed alone.

    Raises:
        CleverError: unknown student, or what the dataset reports.
    """
    if unknown := [name for name in settings.students if name not in STUDENTS]:
        raise CleverError(f"unknown student {', '.join(unknown)}; known: {', '.join(STUDENTS)}")
    cloud = _cloud(settings)
    sides: tuple[Side, ...] = ("clever fp32", "clever bf16")
    if find_spec("spconv") is not None:
        sides = (BASE, *sides)
    speeds: list[ConvSpeed] = []
    with Track(
        "conv", len(settings.students) * (1 + settings.rounds) * len(sides), "runs"
    ) as track:
        for name in settings.students:
            size = settings.voxel_size or (0.2 if name.endswith("-tiny") else 0.05)
            speed = ConvSpeed(name, size, sides, durations={side: [] for side in sides})
            networks = {side: _student(speed, side, settings.seed) for side in sides}
            for number in range(1 + settings.rounds):
                points = _turned(cloud, number)
                voxels = networks["clever fp32"].voxels(points)
                for place in range(len(sides)):
                    side = sides[(number + place) % len(sides)]
                    duration = _timed(networks[side], points, voxels, side)
                    if number:
                        speed.durations[side].append(duration)
                    track.advance()
                if number:
                    speed.voxels.append(len(voxels.coords))
            speeds.append(speed)
    results = {
        "threads": torch.get_num_threads(),
        "students": [speed.to_json() for speed in speeds],
    }
    write_report(settings.out, "conv", settings.model_dump(mode="json"), machine(PACKAGES), results)
    return speeds


def _cloud(settings: BenchmarkConvSettings) -> Tensor:
    """(N, 4): x, y, z in metres, intensity in [0, 1]."""
    if settings.data_root is not None:
        dataset = open_dataset(settings, settings.dataset)
        if settings.frame >= len(dataset):
            raise CleverError(
                f"{settings.data_root} has {quantity(len(dataset), 'frame')}, there is no frame "
                f"{settings.frame}; choose another `frame`"
            )
        return torch.from_numpy(dataset.points(settings.frame)[:, :4])
    sweeps = RandomSweeps(cameras=1, grid=(1, 1), channels=1, points=34688, seed=settings.seed)
    return torch.from_numpy(sweeps.frame(settings.frame)[0].points)


def _turned(cloud: Tensor, number: int) -> PointBatch:
    cos, sin = math.cos(number), math.sin(number)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    return PointBatch.from_clouds([torch.cat([cloud[:, :2] @ turn.T, cloud[:, 2:]], 1)])


def _student(speed: ConvSpeed, side: Side, seed: int) -> Student:
    torch.manual_seed(seed)
    student = build_student(speed.student, speed.voxel_size)
    for module in student.modules():
        if isinstance(module, SubmanifoldConv | DownConv | UpConv):
            module.by_spconv = side == BASE
    return student.train()


def _timed(student: Student, points: PointBatch, voxels: Voxels, side: Side) -> Duration:
    """Forward and backward pass from voxels to the gradients of all weights."""
    pull = torch.randn(
        len(voxels.coords), student.out_channels, generator=torch.Generator().manual_seed(0)
    )
    with Stopwatch() as stopwatch:
        with torch.autocast("cpu", torch.bfloat16, enabled=side == "clever bf16"):
            features = student.encode(points, voxels)
        (features * pull).sum().backward()
    student.zero_grad()
    return stopwatch.duration


def conv_table(speeds: Sequence[ConvSpeed]) -> str:
    """A row a student and side as Markdown."""
    rows = [
        [
            f"{speed.student} at {speed.voxel_size:g} m",
            f"{spread(speed.voxels)['median']:,.0f}",
            side,
            f"{spread([run.seconds for run in runs])['median']:.3f}",
            *(
                "{median:.2f} [{low:.2f}-{high:.2f}]".format(**ratio) if ratio else ""
                for ratio in (speed.ratio(side), speed.ratio(side, core=True))
            ),
        ]
        for speed in speeds
        for side, runs in speed.durations.items()
    ]
    header = ["student", "voxels", "side", "s", "times as fast", "by core-seconds"]
    return markdown_table(header, rows)


def conv_goals(speeds: Sequence[ConvSpeed]) -> list[str]:
    """A line a goal of `GOALS` that was measured."""
    lines = []
    for speed in speeds:
        for side in speed.sides:
            goal = GOALS.get((speed.student, speed.voxel_size, side))
            ratio = speed.ratio(side)
            if goal is not None and ratio is not None:
                lines.append(
                    f"goal {speed.student}, {side} >= {goal:g} times spconv: "
                    f"{verdict(ratio['median'] >= goal)}, {ratio['median']:.2f}"
                )
    return lines
