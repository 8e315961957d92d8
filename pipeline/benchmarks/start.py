"""Benchmark of the command line: how long it takes to answer, over importing what any command line
of this kind is made of."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CleverError
from ..process.progress import Track
from ..process.termination import sigterm_interrupts
from ..results.tables import markdown_table
from ..settings.benchmarks.start import BenchmarkStartSettings
from .durations import Duration, Stopwatch
from .random_frames import RandomFrames
from .random_store import write_random_store
from .report import Json, machine, ratios, spread, verdict, write_report

PACKAGES = ("typer", "pydantic", "pyyaml", "rich")
"""Packages whose versions matter."""
BASE = ("-c", "import typer, pydantic, yaml, rich")
"""What Python runs to be compared with."""
ANSWER_GOAL, INFO_GOAL = 2.5, 6.0
"""At most this many times `BASE`: help and errors of the command line; a look at a small store."""
STORE = "STORE"
"""Stands for the folder of the small store in a command."""
SMALL = RandomFrames(cameras=2, grid=(4, 8), channels=32, points=500, seed=0)
SMALL_FRAMES = 4
TIMEOUT = 120.0
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to time.

    Attributes:
        arguments: what follows ``clever``.
        code: its exit code when it does what it should.
        goal: how many times `BASE` it may take.
    """

    arguments: tuple[str, ...]
    code: int = 0
    goal: float = ANSWER_GOAL

    def __str__(self) -> str:
        return " ".join(("clever", *self.arguments))


COMMANDS = (
    Command(("--help",)),
    Command(("cache-teacher", "--help")),
    Command(("pretrain", "--help")),
    Command(("finetune", "--help")),
    Command(("evaluate", "--help")),
    Command(("cache", "verify", "--help")),
    Command(("benchmark", "step", "--help")),
    Command(("pretrain", "--cache", STORE, "--no-such-flag", "1"), code=2),
    Command(("pretrain", "--cache", STORE, "--precision", "fp8"), code=2),
    Command(("cache", "info", STORE), goal=INFO_GOAL),
)


@dataclass(frozen=True, slots=True)
class StartSpeed:
    """How long a command took, and `BASE` just before it, in every round."""

    command: Command
    durations: list[Duration]
    base: list[Duration]

    @property
    def ratio(self) -> Json:
        """Seconds over those of `BASE`, round by round."""
        return ratios(
            [duration.seconds for duration in self.durations],
            [duration.seconds for duration in self.base],
        )

    @property
    def core_ratio(self) -> Json:
        """Core-seconds over those of `BASE`, round by round."""
        return ratios(
            [duration.core_seconds for duration in self.durations],
            [duration.core_seconds for duration in self.base],
        )

    @property
    def met(self) -> bool:
        """Whether the median ratio reaches the goal."""
        return self.ratio["median"] <= self.command.goal

    def to_json(self) -> Json:
        return {
            "command": str(self.command),
            "exit_code": self.command.code,
            "seconds": spread([duration.seconds for duration in self.durations]),
            "core_seconds": spread([duration.core_seconds for duration in self.durations]),
            "base_seconds": spread([duration.seconds for duration in self.base]),
            "ratio": self.ratio,
            "core_ratio": self.core_ratio,
            "goal": self.command.goal,
            "met": self.met,
        }


def benchmark_start(
    settings: BenchmarkStartSettings, commands: Sequence[Command] = COMMANDS
) -> list[StartSpeed]:
    """Time `commands`, each in a process of its own; the JSON goes to ``settings.out``.

    The first round does not count: after it Python has compiled every module and the disk's files
    are in memory. In every round another command comes first, and before each of them `BASE` is
    timed.

    Raises:
        CleverError: a command hangs or ends with another exit code than it should.
    """
    speeds = [StartSpeed(command, [], []) for command in commands]
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="clever-benchmark-") as name:
        store = Path(name) / "store.zarr"
        write_random_store(store, SMALL, SMALL_FRAMES, ("int8",))
        with Track("start", (1 + settings.rounds) * len(speeds), "commands") as track:
            for number, speed in _rounds(speeds, 1 + settings.rounds):
                base = run_python(BASE, 0)
                arguments = (
                    str(store) if text == STORE else text for text in speed.command.arguments
                )
                duration = run_python(("-m", "clever", *arguments), speed.command.code)
                if number:
                    speed.base.append(base)
                    speed.durations.append(duration)
                track.advance()
    results = {
        "base": f"python {BASE[0]} '{BASE[1]}'",
        "commands": [speed.to_json() for speed in speeds],
    }
    write_report(
        settings.out, "start", settings.model_dump(mode="json"), machine(PACKAGES), results
    )
    return speeds


def _rounds(speeds: Sequence[StartSpeed], rounds: int) -> Iterator[tuple[int, StartSpeed]]:
    """All of them in every round, another one first each time, with the round's number."""
    for number in range(rounds):
        for place in range(len(speeds)):
            yield number, speeds[(number + place) % len(speeds)]


def run_python(arguments: Sequence[str], code: int) -> Duration:
    """How long this Python takes with `arguments`, from its start to its end.

    Raises:
        CleverError: it runs for more than `TIMEOUT` seconds or does not end with `code`.
    """
    stopwatch = Stopwatch(children=True)
    try:
        with stopwatch:
            process = subprocess.run(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise CleverError(
            f"python {' '.join(arguments)}: no answer after {TIMEOUT:.0f} s"
        ) from None
    if process.returncode != code:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        raise CleverError(
            f"python {' '.join(arguments)}: exit code {process.returncode} instead of {code}: "
            f"{lines[-1] if lines else 'nothing on standard error'}"
        )
    return stopwatch.duration


def start_table(speeds: Sequence[StartSpeed]) -> str:
    """A row a command as Markdown."""
    rows = [
        [
            str(speed.command),
            "{median:.2f}".format(**spread([duration.seconds for duration in speed.durations])),
            "{median:.2f} [{low:.2f}-{high:.2f}]".format(**speed.ratio),
            "{median:.2f} [{low:.2f}-{high:.2f}]".format(**speed.core_ratio),
            f"{speed.command.goal:g}, {verdict(speed.met)}",
        ]
        for speed in speeds
    ]
    header = ["command", "s", "over the imports", "by core-seconds", "goal"]
    return markdown_table(header, rows)


def start_goals(speeds: Sequence[StartSpeed]) -> list[str]:
    """A line a goal: met when the slowest of its commands meets it."""
    lines = []
    for goal in dict.fromkeys(speed.command.goal for speed in speeds):
        slowest = max(
            (speed for speed in speeds if speed.command.goal == goal),
            key=lambda speed: speed.ratio["median"],
        )
        lines.append(
            f"goal <= {goal:g} of the imports: {verdict(slowest.met)}, at most "
            f"{slowest.ratio['median']:.2f} ({slowest.command})"
        )
    return lines
