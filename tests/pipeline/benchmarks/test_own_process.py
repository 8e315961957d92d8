"""A measurement in a process of its own, and one whose process is killed."""

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.benchmarks.own_process import (
    in_own_process,
    peak_memory,
    reset_peak,
    resident_memory,
)

CPU = torch.device("cpu")


def test_the_result_comes_from_another_process() -> None:
    assert in_own_process("id", "wait", os.getpid) != os.getpid()
    assert in_own_process("count", "wait", int, "12") == 12


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


def test_the_peak_stays_when_memory_is_given_back() -> None:
    """The kernel counts pages in lots: within 4 MB."""
    block = np.ones(2**25, np.float64)
    full = resident_memory(CPU)
    del block
    assert peak_memory(CPU) > full - 2**22
    assert resident_memory(CPU) < full - 2**27
    reset_peak(CPU)
    if peak_memory(CPU) > full - 2**22:
        pytest.skip("this kernel does not let the peak be reset")
    assert peak_memory(CPU) < full - 2**27
