"""What this machine computes with: its GPU or its cores."""

import os
from pathlib import Path

import torch

from ...errors import CleverError

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls a processor's arithmetic in bfloat16: AVX-512, AMX, Arm."""
CPU_INFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(name: str) -> torch.device:
    """``auto`` takes the GPU where there is one.

    Raises:
        CleverError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise CleverError(
            "`device=cuda`: torch finds no CUDA device; use `device=cpu` or repair the driver"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def slow_bfloat16(precision: str | None, device: str) -> str | None:
    """A line for who asks for bf16 on a CPU that has no arithmetic for it."""
    if precision != "bf16" or device != "cpu" or native_bfloat16() is not False:
        return None
    return "`precision=bf16` will be slow: this CPU has neither avx512_bf16 nor amx_bf16"


def native_bfloat16() -> bool | None:
    """Whether the processor computes in bfloat16 itself; None where it does not say."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not BFLOAT16_FLAGS.isdisjoint(flags.split())
