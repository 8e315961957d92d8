"""Progress with rate and time left: a live bar on a terminal, one line every few seconds
elsewhere."""

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def _duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Track:
    """Counts `total` units of work on standard error; use as a context manager.

    Args:
        label: what is being done.
        total: units of work.
        unit: name of a unit in the plural, for the rate ("frames", "steps").
        done: units that an earlier run finished; they do not count in the rate.
    """

    def __init__(
        self, label: str, total: int, unit: str = "frames", done: int = 0, every: float = 10.0
    ) -> None:
        self.label, self.total, self.unit, self.every = label, total, unit, every
        self.done = self._first = done
        self._started = self._printed = time.monotonic()
        self._note = ""
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._task = self._bar.add_task(label, total=total, completed=done, rate="", note="")

    def __enter__(self) -> "Track":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None and self.done > self._first:
            self._print()

    def rate(self) -> float:
        """Units a second since the start of this run."""
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is a short state such as the current loss."""
        self.done += count
        self._note = note or self._note
        if self._bar:
            self._bar.update(
                self._task,
                completed=self.done,
                rate=f"{self.rate():.2f} {self.unit}/s",
                note=self._note,
            )
        elif time.monotonic() - self._printed >= self.every:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        left = (self.total - self.done) / max(self.rate(), 1e-9)
        note = f"  {self._note}" if self._note else ""
        print(
            f"{self.label}: {self.done}/{self.total} {self.unit}, {self.rate():.2f}/s, "
            f"{_duration(self._printed - self._started)} gone, {_duration(left)} left{note}",
            file=sys.stderr,
            flush=True,
        )
