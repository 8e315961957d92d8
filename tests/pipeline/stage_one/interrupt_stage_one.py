"""Kills stage one at random instants until it has died often enough, and compares what is left in
the end.

An instant is a number: of opening, renaming or removing one of the store's files, and of what comes
just before and after making one durable. No clock decides.

Not a test by itself: ``test_cache_teacher.py`` runs it with few kills. By hand, with many::

    python tests/pipeline/interrupt_stage_one.py DATA_ROOT FOLDER --kills 200

Prints one line of JSON. Every run is a fork of this process, so that a kill costs no interpreter
start.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from clever.cache.store.records.commits import committed_shards
from clever.cache.teacher import load_teachers
from clever.cli import main as command_line
from clever.pipeline import cache_teacher  # noqa: F401 - imported once, not in every fork
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.request import teacher_settings

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
"""Of Python's audit, which tells of them before they happen."""
FLAGS = [
    "--dataset",
    "semantickitti",
    "--model",
    "resnet10t",
    "--weights",
    "random:0",
    "--image-size",
    "32x64",
]


def tree(folder: Path) -> dict[str, bytes]:
    """Content of every file below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def end_at(instant: int, number: int, folder: Path) -> Callable[[], int]:
    """Send this process a signal at an instant, counted from 1; returns how many there were."""
    count, prefix, fsync = 0, str(folder), os.fsync

    def tick() -> None:
        nonlocal count
        count += 1
        if count == instant:
            os.kill(os.getpid(), number)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(prefix):
            tick()

    def durable(handle: int) -> None:
        tick()
        fsync(handle)
        tick()

    os.fsync = durable
    sys.addaudithook(hook)
    return lambda: count


def run(arguments: list[str], folder: Path, instant: int, number: int) -> tuple[int, int]:
    """`clever cache-teacher` in a fork, which gets a signal at an instant.

    Returns:
        Exit status of the fork, minus the signal's number if one killed it; and how many instants
        there were, 0 where it was killed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            instants = int(pipe.read() or 0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), instants
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    sys.argv = ["clever", "cache-teacher", *arguments]
    instants_so_far = end_at(instant, number, folder)
    status = 99
    try:
        command_line.main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    os.write(writer, str(instants_so_far()).encode())
    os._exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path, help="where stores are made; removed afterwards")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--signal", choices=["KILL", "INT"], default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.set_num_threads(1)
    folder = options.folder.absolute()
    flags = [*FLAGS, "--data-root", str(options.root), "--split", "all"]
    reference, store = folder / "reference.zarr", folder / "interrupted.zarr"
    load_teachers(
        teacher_settings(
            CacheTeacherSettings.model_validate(
                {"model": "resnet10t", "weights": "random:0", "image_size": (32, 64)}
            )
        )
    )
    number = signal.Signals[f"SIG{options.signal}"]
    status, instants = run([*flags, "--cache", str(reference)], folder, 0, number)
    assert (status, instants > 100) == (0, True), f"{instants} instants, exit status {status}"
    expected, shards, died, completed = tree(reference), Counter[int](), 0, 0
    while died < options.kills:
        status, _ = run(
            [*flags, "--cache", str(store)], folder, random.randint(1, instants), number
        )
        if status == 0:
            assert tree(store) == expected, "a completed store differs"
            shutil.rmtree(store)
            completed += 1
            continue
        assert status in (-number, 130), f"exit status {status}"
        assert status != 130 or not list(store.rglob("*.part")), "Ctrl-C left parts behind"
        died += 1
        shards[
            sum(
                len(committed_shards(store, layer.name)) for layer in (store / "teachers").glob("*")
            )
        ] += 1
    assert run([*flags, "--cache", str(store)], folder, 0, number)[0] == 0
    same = tree(store) == expected
    shutil.rmtree(folder)
    report = {
        "died": died,
        "completed": completed,
        "instants": instants,
        "died_with_shards": dict(sorted(shards.items())),
        "identical": same,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
