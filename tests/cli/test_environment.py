"""What the command sets before it imports torch."""

import os
import subprocess
import sys

import pytest

from clever.cli.environment import VARIABLES, set_environment

PAGE = os.sysconf("SC_PAGESIZE")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict.fromkeys(VARIABLES, "7")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    set_environment()
    assert {name: os.environ[name] for name in VARIABLES} == values


def test_torch_takes_large_tensors_by_the_page_and_child_processes_inherit() -> None:
    code = (
        "import os, subprocess, sys\n"
        f"for name in {list(VARIABLES)}: os.environ.pop(name, None)\n"
        "from clever.cli.environment import set_environment\n"
        "set_environment()\n"
        "import torch\n"
        f"print(torch.empty(1_000_003).data_ptr() % {PAGE})\n"
        "child = 'import os; print(os.environ[\"MALLOC_TRIM_THRESHOLD_\"])'\n"
        "sys.stdout.flush()\n"
        "subprocess.run([sys.executable, '-c', child], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(128 << 20)]


@pytest.mark.parametrize(("name", "own", "answers"), [
    (None, "", ["True", "True"]),
    ("MALLOC_MMAP_THRESHOLD_", "1048576", ["False", "True"]),
    ("MALLOC_TRIM_THRESHOLD_", "1048576", ["True", "False"]),
])  # fmt: skip
def test_memory_of_arrays_is_kept_in_the_running_process(
    name: str | None, own: str, answers: list[str]
) -> None:
    """An array of 8 MiB lies in the heap, and 48 MiB that were freed stay in it, but for a limit
    of 1 MiB that the user has set."""
    code = (
        "import ctypes\n"
        "from clever.cli.environment import set_environment\n"
        "set_environment()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "def heap():\n"
        "    lines = open('/proc/self/maps').read().splitlines()\n"
        "    places = next(line for line in lines if line.endswith('[heap]')).split()[0]\n"
        "    return [int(place, 16) for place in places.split('-')]\n"
        "address = libc.malloc(ctypes.c_size_t(8 << 20))\n"
        "start, end = heap()\n"
        "print(start <= address < end)\n"
        "blocks = [libc.malloc(ctypes.c_size_t(1 << 19)) for _ in range(96)]\n"
        "for block in blocks: libc.free(ctypes.c_void_p(block))\n"
        "print(heap()[1] - end > 40 << 20)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if name:
        environment[name] = own
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == answers
