"""What `clever benchmark start` runs, in which order, and what it makes of the times; how fast
anything is, is not tested."""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clever.cache import FeatureCache
from clever.errors import CleverError
from clever.pipeline.benchmarks import durations
from clever.pipeline.benchmarks import start as module
from clever.pipeline.benchmarks.durations import Duration, Stopwatch
from clever.pipeline.benchmarks.start import (
    BASE,
    COMMANDS,
    SMALL_FRAMES,
    STORE,
    Command,
    StartSpeed,
    benchmark_start,
    run_python,
    start_goals,
    start_table,
)
from clever.pipeline.settings.benchmarks.start import BenchmarkStartSettings

HELP, INFO = Command(("--help",)), Command(("cache", "info", STORE), goal=6.0)


def speed(command: Command, seconds: list[float]) -> StartSpeed:
    own = [Duration(value, 3.0 * value) for value in seconds]
    return StartSpeed(command, own, [Duration(0.5, 0.25)] * len(seconds))


def test_stopwatch_counts_the_clock_and_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: dict[Any, Any] = {
        "now": 100.0,
        resource.RUSAGE_SELF: (7.0, 1.0),
        resource.RUSAGE_CHILDREN: (2.0, 0.5),
    }
    monkeypatch.setattr(durations.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(
        durations.resource,
        "getrusage",
        lambda who: SimpleNamespace(**dict(zip(("ru_utime", "ru_stime"), clock[who], strict=True))),
    )
    with Stopwatch() as own, Stopwatch(children=True) as children:
        clock |= {
            "now": 103.0,
            resource.RUSAGE_SELF: (12.0, 2.0),
            resource.RUSAGE_CHILDREN: (2.25, 0.75),
        }
    assert own.duration == Duration(3.0, 6.0)
    assert children.duration == Duration(3.0, 0.5)
    assert own.duration / 2 == Duration(1.5, 3.0)
    assert Duration(0.25, 1.0).rate == 4


def test_stopwatch_counts_computing() -> None:
    with Stopwatch() as stopwatch:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert stopwatch.duration.core_seconds > 0.15


def test_core_seconds_of_a_process() -> None:
    busy = run_python(("-c", "import time\nwhile time.process_time() < 0.3: pass"), 0)
    assert busy.core_seconds > 0.25
    idle = run_python(("-c", "import time; time.sleep(0.5)"), 0)
    assert idle.seconds >= 0.5
    assert idle.core_seconds < idle.seconds


def test_a_command_must_end_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    run_python(("-c", "raise SystemExit(2)"), 2)
    with pytest.raises(CleverError, match=r"^python -c .*: exit code 1 instead of 0: oh no$"):
        run_python(("-c", "import sys; print('a'); sys.exit('first\\noh no')"), 0)
    with pytest.raises(CleverError, match="exit code 0 instead of 2: nothing on standard error"):
        run_python(("-c", "print(1)"), 2)
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with pytest.raises(CleverError, match="no answer after 0 s"):
        run_python(("-c", "import signal; signal.pause()"), 0)


def test_commands_alternate_with_the_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []

    def run(arguments: Sequence[str], code: int) -> Duration:
        calls.append(tuple(arguments))
        assert code == 0
        if arguments[-1].endswith("store.zarr"):
            assert len(FeatureCache(Path(arguments[-1]))) == SMALL_FRAMES
        return Duration(float(len(calls)), 2.0 * len(calls))

    monkeypatch.setattr(module, "run_python", run)
    out = tmp_path / "start.json"
    speeds = benchmark_start(BenchmarkStartSettings(rounds=2, out=out), (HELP, INFO))
    assert calls[::2] == [BASE] * 6
    assert [call[:3] for call in calls[1::2]] == [
        ("-m", "clever", "--help"),
        ("-m", "clever", "cache"),
        ("-m", "clever", "cache"),
        ("-m", "clever", "--help"),
        ("-m", "clever", "--help"),
        ("-m", "clever", "cache"),
    ]
    # The first round, calls 1 to 4, warms up.
    assert [each.seconds for each in speeds[0].durations] == [8, 10]
    assert [each.seconds for each in speeds[0].base] == [7, 9]
    assert [each.seconds for each in speeds[1].durations] == [6, 12]
    report = json.loads(out.read_text())
    assert report["benchmark"] == "start"
    assert report["base"] == "python -c 'import typer, pydantic, yaml, rich'"
    first, second = report["commands"]
    assert first["command"] == "clever --help"
    assert first["ratio"]["rounds"] == [8 / 7, 10 / 9]
    assert first["core_seconds"]["rounds"] == [16, 20]
    assert (second["goal"], second["met"], second["exit_code"]) == (6.0, True, 0)


def test_table_and_goals() -> None:
    speeds = [
        speed(HELP, [1.0, 1.25, 2.0]),
        speed(Command(("pretrain", "--help")), [1.5, 1.3, 1.0]),
        speed(INFO, [3.0, 3.0, 3.0]),
    ]
    assert speeds[0].met  # 2.5 itself is enough
    assert not speeds[1].met
    assert speeds[0].core_ratio["rounds"] == [12, 15, 24]
    lines = start_table(speeds).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "clever --help",
        "1.25",
        "2.50 [2.25-3.25]",
        "15.00 [13.50-19.50]",
        "2.5, met",
    ]
    assert lines[3].endswith("| 2.5, missed |")
    assert start_goals(speeds) == [
        "goal <= 2.5 of the imports: missed, at most 2.60 (clever pretrain --help)",
        "goal <= 6 of the imports: met, at most 6.00 (clever cache info STORE)",
    ]


def test_every_command_ends_as_expected(tmp_path: Path) -> None:
    settings = BenchmarkStartSettings(rounds=1, out=tmp_path / "start.json")
    wrong = [command for command in COMMANDS if command.code]
    looks = [command for command in COMMANDS if command.goal == 6.0]
    assert (len(wrong), len(looks)) == (2, 1)
    speeds = benchmark_start(settings, [*wrong, *looks])
    assert all(each.durations[0].seconds > 0 for each in speeds)
    helps = [command.arguments for command in COMMANDS if command.arguments[-1] == "--help"]
    assert len(helps) + 3 == len(COMMANDS)
