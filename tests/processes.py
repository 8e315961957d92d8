"""`clever` in processes of their own, copies of one that has imported what training needs: a new
interpreter takes some core-seconds each."""

import multiprocessing
import os
import socket
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

COMMAND = """
import os, sys
from clever.cli.main import main
os.environ.clear()
os.environ.update(environment)
handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(handle, 1)
os.dup2(handle, 2)
sys.argv = arguments
main()
"""
"""What such a process does; a function of the tests has no name there."""
PRELOAD = ("clever.pipeline.training.loader", "clever.pipeline.pretrain", "clever.cli.main")


def start(
    arguments: Sequence[str], output: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start ``clever ARGUMENTS``.

    Args:
        output: file of what it prints.
        environment: variables beside those of the tests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    variables = {
        "arguments": ["clever", *arguments],
        "output": str(output),
        "environment": {**os.environ, **(environment or {})},
    }
    process = context.Process(target=exec, args=(COMMAND, variables))
    process.start()
    return process


def team(size: int) -> list[dict[str, str]]:
    """The variables by which torchrun tells each of `size` processes how to meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    place |= {"LOCAL_WORLD_SIZE": str(size)}
    return [{**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
