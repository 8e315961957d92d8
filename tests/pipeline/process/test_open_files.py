"""Limits of open files, each in a process of its own."""

import subprocess
import sys

SCRIPT = """
import resource
from clever.errors import CleverError
from clever.pipeline.process.open_files import allow_open_files

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 64))
allow_open_files(39, "workers", "use fewer")
print(resource.getrlimit(resource.RLIMIT_NOFILE))
allow_open_files(41, "workers", "use fewer")
print(resource.getrlimit(resource.RLIMIT_NOFILE))
allow_open_files(64, "workers", "use fewer")
print(resource.getrlimit(resource.RLIMIT_NOFILE))
try:
    allow_open_files(65, "workers", "use fewer")
except CleverError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_rises_up_to_the_hard_one() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert process.stdout.splitlines() == [
        "(40, 64)",
        "(41, 64)",
        "(64, 64)",
        "workers need 65 open files at once and this process may have 64; use fewer, or raise the "
        "limit (ulimit -n)",
        "(64, 64)",
    ], process.stderr
