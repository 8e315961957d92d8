"""What this machine computes with: its GPU or its cores."""

import os
from typing import TYPE_CHECKING

import torch

from ..errors import CleverError

if TYPE_CHECKING:
    pass


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
