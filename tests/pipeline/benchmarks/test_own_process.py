"""A measurement in a process of its own, and one whose process is killed."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.benchmarks import own_process
from clever.pipeline.benchmarks.own_process import (
    in_own_process,
    peak_memory,
    reset_peak,
    rise_of_peak,
)

CPU = torch.device("cpu")


def test_the_result_comes_from_another_process() -> None:
    parent = in_own_process("id", "wait", eval, "__import__('os').getppid()")
    assert parent == os.getpid()


@pytest.mark.parametrize(
    ("work", "argument", "code"), [(signal.raise_signal, signal.SIGKILL, -9), (int, "x", 1)]
)
def test_a_process_that_dies_is_one_line(
    work: Callable[[Any], Any], argument: Any, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CleverError) as failure:
        in_own_process("memory of full", "use a smaller `batch_size`", work, argument)
    assert str(failure.value) == (
        f"memory of full: the process that measured it ended with code {code}; see what it "
        "printed; if it was killed, use a smaller `batch_size`"
    )
    assert ("invalid literal for int()" in capfd.readouterr().err) == (code == 1)


def resident_memory() -> int:
    """Bytes of this process that lie in memory now."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def test_the_peak_stays_when_memory_is_given_back() -> None:
    """The kernel counts pages in lots: within 4 MB."""
    block = np.ones(2**25, np.float64)
    full = resident_memory()
    del block
    assert peak_memory(CPU) > full - 2**22
    assert resident_memory() < full - 2**27
    reset_peak(CPU)
    if peak_memory(CPU) > full - 2**22:
        pytest.skip("this kernel does not let the peak be reset")
    assert peak_memory(CPU) < full - 2**27


def test_the_rise_of_the_peak_is_what_the_work_adds_to_it() -> None:
    """64 MB, all of them touched, in a process that has never held as much free memory."""
    rise = in_own_process("64 MB", "wait", rise_of_peak, partial(np.ones, 2**23), CPU)
    assert 60e6 < rise < 200e6
    # Work that adds nothing: a peak that was there before is not its own.
    assert rise_of_peak(lambda: None, CPU) < 2**22


def test_a_peak_read_a_few_pages_lower_has_not_risen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As counters that are read while other cores have yet to report may say."""
    readings = iter([2**30, 2**30 - 53248, 2**30, 2**30 + 4096])
    monkeypatch.setattr(own_process, "peak_memory", lambda _: next(readings))
    assert [rise_of_peak(lambda: None, CPU) for _ in range(2)] == [0, 4096]
