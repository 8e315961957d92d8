"""Kills stage one at random instants until it has died often enough, and compares what is left in
the end.

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
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from clever.cache.store.records import committed_shards
from clever.cache.teacher import load_teacher
from clever.cli import main as command_line
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.request import teacher_settings

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


def run(arguments: list[str]) -> int:
    """`clever cache-teacher` in a fork; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    sys.argv = ["clever", "cache-teacher", *arguments]
    try:
        command_line.main()
    except SystemExit as leaving:
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)
    os._exit(99)


def finish(pid: int) -> int:
    """Exit status of a fork; minus the signal's number if one killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def interrupt(
    start: Callable[[], int], store: Path, number: int, longest: float
) -> tuple[int, float]:
    """Start a run, send it a signal after at most `longest` seconds with its lock held; returns its
    exit status."""
    lock, delay = store.with_name(f".{store.name}.lock"), random.uniform(0, longest)
    lock.unlink(missing_ok=True)
    pid = start()
    while (
        not lock.exists() and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, number)
    return finish(pid), delay


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path, help="where stores are made; removed afterwards")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--signal", choices=["KILL", "INT"], default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    torch.set_num_threads(1)
    flags = [*FLAGS, "--data-root", str(given.root), "--split", "all"]
    reference, store = given.folder / "reference.zarr", given.folder / "interrupted.zarr"
    load_teacher(
        teacher_settings(
            CacheTeacherSettings.model_validate(
                {"model": "resnet10t", "weights": "random:0", "image_size": (32, 64)}
            )
        )
    )
    started = time.monotonic()
    assert finish(run([*flags, "--cache", str(reference)])) == 0
    longest = time.monotonic() - started
    expected, seen, died, completed = tree(reference), Counter[int](), 0, 0
    number = signal.Signals[f"SIG{given.signal}"]
    while died < given.kills:
        status, _ = interrupt(lambda: run([*flags, "--cache", str(store)]), store, number, longest)
        if status == 0:
            assert tree(store) == expected, "a completed store differs"
            shutil.rmtree(store)
            completed += 1
            continue
        assert status in (-number, 130), f"exit status {status}"
        assert status != 130 or not list(store.rglob("*.part")), "Ctrl-C left parts behind"
        died += 1
        seen[
            sum(
                len(committed_shards(store, layer.name)) for layer in (store / "teachers").glob("*")
            )
        ] += 1
    assert finish(run([*flags, "--cache", str(store)])) == 0
    same = tree(store) == expected
    shutil.rmtree(given.folder)
    report = {
        "died": died,
        "completed": completed,
        "died_with_shards": dict(sorted(seen.items())),
        "identical": same,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
