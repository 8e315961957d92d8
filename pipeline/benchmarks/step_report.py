"""What `clever benchmark step` measured, as ratios inside a round, Markdown and JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median

from ..results.tables import markdown_table
from .durations import Duration
from .report import Json, ratios, spread, verdict
from .step_parts import ALL_PARTS, StepProfile
from .step_sides import SIDES, Side

SPEED_GOAL, WAIT_GOAL = 1.05, 0.01
GOALS = {("minkunet34", "cpu", "fp32", "precision=bf16"): 2.5}
"""How many times as fast a whole step shall be, by student, device, precision and other setting."""
EXPLAINED = """\
full: a step of `clever pretrain`: batch to the device, augmentation, Mix3D, voxels, targets from
stored tokens, backbone, projection head, occupancy queries and decoder, losses, backward, gradient
norm, optimiser, schedule, log.
network: forward and backward of backbone, head and decoder with their losses; voxels, targets,
queries made before.
bare: forward and backward of the backbone alone on the same voxels: full / bare also counts head
and occupancy."""
AS_IT_IS = "as above"
"""Name of the step without another setting among whole steps."""


@dataclass(frozen=True, slots=True)
class WholeStep:
    """A step with one setting changed, or with none, over frames of the same draws.

    Attributes:
        points, pairs: of the batch.
        loading: of the batch from the store, in this process.
        step: as ``full``.
    """

    points: int
    pairs: int
    loading: Duration
    step: Duration


@dataclass(frozen=True, slots=True)
class Round:
    """All sides once, over one batch.

    Attributes:
        points, voxels, pairs, images: of the batch.
        sides: a pass of each.
        teachers: features of the batch's images, by teacher.
        whole: the full step, and those with another setting by its name and value; none where
            there are no others.
    """

    points: int
    voxels: int
    pairs: int
    images: int
    sides: dict[Side, Duration]
    teachers: dict[str, Duration]
    whole: dict[str, WholeStep] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of a side in bytes, above the model without gradients and the batch, with or
    without recomputing; of another recipe than the plain one where it is named."""

    side: Side
    recompute: bool
    peak: int
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class StudentSpeed:
    """Everything about one student.

    Attributes:
        recompute: activation checkpointing in what was timed.
        waits: share of waiting for data in each step of the loop.
    """

    student: str
    device: str
    precision: str
    batch_size: int
    recompute: bool
    rounds: list[Round]
    profiles: list[StepProfile]
    waits: list[float]
    memory: list[Memory]

    def ratio(self, side: Side, base: Side, cores: bool = False) -> Json:
        """Seconds of a side over those of another, round by round; of all cores: what other work
        changes less."""
        name = "core_seconds" if cores else "seconds"
        values, bases = (
            [getattr(each.sides[which], name) for each in self.rounds] for which in (side, base)
        )
        return ratios(values, bases)

    def in_the_loop(self, teacher: str) -> Json:
        """A full step with the teacher's forward pass before it, over the full step alone, round by
        round."""
        full = [each.sides["full"].seconds for each in self.rounds]
        both = [
            each.teachers[teacher].seconds + step
            for each, step in zip(self.rounds, full, strict=True)
        ]
        return ratios(both, full)

    def times_as_fast(self, setting: str, cores: bool = False) -> Json:
        """Seconds of the full step over those of a step with another `setting`, round by round."""
        name = "core_seconds" if cores else "seconds"
        full, other = (
            [getattr(each.whole[which].step, name) for each in self.rounds]
            for which in (AS_IT_IS, setting)
        )
        return ratios(full, other)

    @property
    def settings(self) -> list[str]:
        """The step as it is, and other settings with which whole steps were timed."""
        return list(self.rounds[0].whole)

    @property
    def teachers(self) -> list[str]:
        """Those that were timed."""
        return list(self.rounds[0].teachers)

    @property
    def waiting(self) -> float:
        """Mean share of a step that the loop waits for data."""
        return fmean(self.waits)

    def part(self, name: str) -> float:
        """Median seconds of a part of the step under the profiler."""
        return median(profile.parts[name] for profile in self.profiles)

    def share(self, name: str) -> float:
        """Median share of a part in the step."""
        return median(profile.parts[name] / profile.seconds for profile in self.profiles)

    def to_json(self) -> Json:
        seconds = {
            side: spread([each.sides[side].seconds for each in self.rounds]) for side in SIDES
        }
        cores = {
            side: spread([each.sides[side].core_seconds for each in self.rounds]) for side in SIDES
        }
        teachers = {
            name: {
                "seconds": spread([each.teachers[name].seconds for each in self.rounds]),
                "in_the_loop": self.in_the_loop(name),
            }
            for name in self.teachers
        }
        return {
            **{
                name: getattr(self, name)
                for name in ("student", "device", "precision", "batch_size", "recompute")
            },
            "batches": {
                name: [getattr(each, name) for each in self.rounds]
                for name in ("points", "voxels", "pairs", "images")
            },
            "seconds": seconds,
            "core_seconds": cores,
            "full_over_bare": self.ratio("full", "bare"),
            "full_over_network": self.ratio("full", "network"),
            "core_full_over_bare": self.ratio("full", "bare", cores=True),
            "core_full_over_network": self.ratio("full", "network", cores=True),
            "profiles": [asdict(profile) for profile in self.profiles],
            "data_wait": {"mean": self.waiting, "steps": self.waits},
            "memory": [asdict(memory) for memory in self.memory],
            "teachers": teachers,
            "whole": {
                setting: {
                    "points": [each.whole[setting].points for each in self.rounds],
                    "pairs": [each.whole[setting].pairs for each in self.rounds],
                    "loading": spread(
                        [each.whole[setting].loading.seconds for each in self.rounds]
                    ),
                    "seconds": spread([each.whole[setting].step.seconds for each in self.rounds]),
                    "times_as_fast": self.times_as_fast(setting),
                    "core_times_as_fast": self.times_as_fast(setting, cores=True),
                }
                for setting in self.settings
            },
        }


def step_tables(speeds: Sequence[StudentSpeed]) -> str:
    """All tables and goals as Markdown."""
    first = speeds[0]
    size = f"{first.batch_size} frames a step"
    head = f"{first.device}, {first.precision}, {size}, {len(first.rounds)} rounds"
    sections = [
        head + (", activations recomputed" if first.recompute else ""),
        _sides_table(speeds),
        EXPLAINED,
        _goal(
            speeds,
            f"full <= {SPEED_GOAL} of network",
            lambda speed: speed.ratio("full", "network")["median"],
            SPEED_GOAL,
        ),
        _goal(
            speeds,
            f"full <= {SPEED_GOAL} of bare",
            lambda speed: speed.ratio("full", "bare")["median"],
            SPEED_GOAL,
        ),
    ]
    if first.settings:
        sections += [_whole_table(speeds), *_whole_goals(speeds)]
    if first.profiles:
        sections += [_parts_table(speeds), _waits(speeds)]
    sections.append(
        _goal(
            speeds,
            f"waiting for data < {WAIT_GOAL:.0%}",
            lambda speed: speed.waiting,
            WAIT_GOAL,
            ".2%",
        )
    )
    if first.memory:
        sections.append(_memory_table(speeds))
    if first.teachers:
        sections += [
            _teachers_table(speeds),
            f"Images are {first.rounds[0].images} a step, decoded and resized before: reading "
            "JPEGs would come on top.",
        ]
    return "\n\n".join(sections)


def _goal(
    speeds: Sequence[StudentSpeed],
    text: str,
    value: Callable[[StudentSpeed], float],
    goal: float,
    form: str = ".3f",
) -> str:
    """Whether every student's value reaches a goal: of ratios at most it, of waiting less than
    it."""
    lines = []
    for speed in speeds:
        result = value(speed)
        success = result <= goal if goal >= 1 else result < goal
        lines.append(f"goal {text}: {verdict(success)}, {result:{form}} ({speed.student})")
    return "\n".join(lines)


def _sides_table(speeds: Sequence[StudentSpeed]) -> str:
    header = ["student", "points", "voxels", "pairs", *(f"{side}, ms" for side in SIDES)]
    header += ["full / bare", "full / network", "both by core-seconds"]
    rows = []
    for speed in speeds:
        sizes = [
            median(getattr(each, name) for each in speed.rounds)
            for name in ("points", "voxels", "pairs")
        ]
        times = [
            spread([1000 * each.sides[side].seconds for each in speed.rounds]) for side in SIDES
        ]
        over = [speed.ratio("full", "bare"), speed.ratio("full", "network")]
        cores = [speed.ratio("full", base, cores=True)["median"] for base in ("bare", "network")]
        rows.append(
            [
                speed.student,
                *(f"{size:,.0f}" for size in sizes),
                *(_spread(time, ".0f") for time in times),
                *(_spread(ratio, ".3f") for ratio in over),
                " / ".join(f"{ratio:.3f}" for ratio in cores),
            ]
        )
    return markdown_table(header, rows)


def _whole_table(speeds: Sequence[StudentSpeed]) -> str:
    header = ["whole step", "student", "points", "pairs", "batch loaded in, ms", "full, ms"]
    header += ["times as fast", "by core-seconds"]
    rows = []
    for speed in speeds:
        for setting in speed.settings:
            steps = [each.whole[setting] for each in speed.rounds]
            rows.append(
                [
                    setting,
                    speed.student,
                    f"{median(step.points for step in steps):,.0f}",
                    f"{median(step.pairs for step in steps):,.0f}",
                    _spread(spread([1000 * step.loading.seconds for step in steps]), ".0f"),
                    _spread(spread([1000 * step.step.seconds for step in steps]), ".0f"),
                    _spread(speed.times_as_fast(setting), ".2f"),
                    _spread(speed.times_as_fast(setting, cores=True), ".2f"),
                ]
            )
    return markdown_table(header, rows)


def _whole_goals(speeds: Sequence[StudentSpeed]) -> list[str]:
    """A line a goal of `GOALS` that was measured."""
    lines = []
    for speed in speeds:
        for setting in speed.settings:
            goal = GOALS.get((speed.student, speed.device, speed.precision, setting))
            if goal is not None:
                ratio = speed.times_as_fast(setting)["median"]
                lines.append(
                    f"goal whole step with {setting} >= {goal:g} times as fast: "
                    f"{verdict(ratio >= goal)}, {ratio:.2f} ({speed.student})"
                )
    return lines


def _parts_table(speeds: Sequence[StudentSpeed]) -> str:
    clock = "time on the GPU" if speeds[0].device == "cuda" else "time"
    rows = [
        [name, *(f"{speed.share(name):.1%} ({1000 * speed.part(name):.1f} ms)" for speed in speeds)]
        for name in ALL_PARTS
    ]
    return markdown_table(
        [f"part of the step, {clock}", *(speed.student for speed in speeds)], rows
    )


def _waits(speeds: Sequence[StudentSpeed]) -> str:
    """How often the host waits for the device in a step."""
    lines = []
    for speed in speeds:
        waits = speed.profiles[-1].waits
        calls = (
            "none" if not waits else ", ".join(f"{name} x {count}" for name, count in waits.items())
        )
        lines.append(
            f"host waits for the device in a step ({speed.student}): "
            + ("not measured on a CPU" if waits is None else calls)
        )
    return "\n".join(lines)


def _memory_table(speeds: Sequence[StudentSpeed]) -> str:
    rows = []
    for place, memory in enumerate(speeds[0].memory):
        name = memory.side + (", recompute" if memory.recompute else "")
        name += f", recipe {memory.recipe}" if memory.recipe else ""
        rows.append([name, *(f"{speed.memory[place].peak / 1e6:,.0f}" for speed in speeds)])
    return markdown_table(
        ["peak memory above model and batch, MB", *(speed.student for speed in speeds)], rows
    )


def _teachers_table(speeds: Sequence[StudentSpeed]) -> str:
    rows = []
    for name in speeds[0].teachers:
        cells = []
        for speed in speeds:
            time = spread([each.teachers[name].seconds for each in speed.rounds])["median"]
            cells.append(f"{_spread(speed.in_the_loop(name), '.2f')} ({1000 * time:,.0f} ms)")
        rows.append([name, *cells])
    header = ["(teacher + full) / full (teacher alone)", *(speed.student for speed in speeds)]
    return markdown_table(header, rows)


def _spread(values: Json, form: str) -> str:
    return f"{values['median']:{form}} [{values['low']:{form}}-{values['high']:{form}}]"
