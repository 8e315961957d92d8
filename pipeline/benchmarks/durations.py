"""How long something took: on the clock, and of all cores together."""

import resource
import time
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds on the clock, and of all cores together: what other work on the machine changes
    little."""

    seconds: float
    core_seconds: float

    @property
    def rate(self) -> float:
        """How often it fits into a second."""
        return 1 / self.seconds

    def __truediv__(self, count: float) -> "Duration":
        return Duration(self.seconds / count, self.core_seconds / count)


class Stopwatch:
    """Times the block that it is the context of; afterwards `duration` says how long it took.

    Args:
        device: its work is part of the block: the stopwatch waits for a GPU before and after.
        children: count the core-seconds of the processes that began and ended in the block instead
            of this one's.
    """

    duration: Duration

    def __init__(self, device: torch.device | None = None, *, children: bool = False) -> None:
        self._device, self._children = device, children

    def __enter__(self) -> Self:
        self._wait()
        self._start = time.perf_counter(), self._core_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        seconds, core_seconds = self._start
        self.duration = Duration(time.perf_counter() - seconds, self._core_seconds() - core_seconds)

    def _wait(self) -> None:
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _core_seconds(self) -> float:
        usage = resource.getrusage(
            resource.RUSAGE_CHILDREN if self._children else resource.RUSAGE_SELF
        )
        return usage.ru_utime + usage.ru_stime
