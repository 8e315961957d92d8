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


@pytest.mark.parametrize(("own", "mapped"), [("", False), ("1048576", True)])
def test_memory_of_arrays_is_kept_in_the_running_process(own: str, mapped: bool) -> None:
    """An array of 8 MiB lies in the heap, where a free one leaves its pages; with a limit of 1 MiB
    that the user has set it is mapped by itself."""
    code = (
        "import ctypes, os\n"
        "from clever.cli.environment import set_environment\n"
        "set_environment()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "address = libc.malloc(ctypes.c_size_t(8 << 20))\n"
        "lines = open('/proc/self/maps').read().splitlines()\n"
        "heap = next(line for line in lines if line.endswith('[heap]')).split()[0].split('-')\n"
        "start, end = (int(place, 16) for place in heap)\n"
        "print(start <= address < end)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if own:
        environment["MALLOC_MMAP_THRESHOLD_"] = own
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == [str(not mapped)]
