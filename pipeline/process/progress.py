"""Progress with rate and time left: a live bar on a terminal, one line every few seconds
elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

BAR = 30
"""Widest bar, in columns."""
SHORTEST_BAR, SHORTEST_NOTE = 6, 12
"""Columns below which they are left out."""


def _duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes, whole_seconds = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{whole_seconds:02}" if hours else f"{minutes}:{whole_seconds:02}"


class Track:
    """Counts `total` units of work on standard error; use as a context manager.

    Args:
        label: what is being done.
        total: units of work.
        unit: name of a unit in the plural, for the rate ("frames", "steps").
        start: units that an earlier run finished; they do not count in the rate.
        every: seconds between lines where there is no terminal.
    """

    def __init__(
        self, label: str, total: int, unit: str = "frames", start: int = 0, every: float = 10.0
    ) -> None:
        self.label, self.total, self.unit, self.every = label, total, unit, every
        self.count = self._first = start
        self._started = self._printed = time.monotonic()
        self._note = ""
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(self, console=Console(file=sys.stderr), refresh_per_second=8)

    def __enter__(self) -> "Track":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif kind is None and self.count > self._first:
            self._print()

    def rate(self) -> float:
        """Units a second since the start of this run."""
        return (self.count - self._first) / max(time.monotonic() - self._started, 1e-9)

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is a short state such as the current loss."""
        self.count += count
        self._note = note or self._note
        if self.count >= self.total:  # the line of the end follows
            return
        if self._live is None and time.monotonic() - self._printed >= self.every:
            self._print()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The live line: count, rate and time left always; then label, bar and note as they fit."""
        yield Text(self.line(options.max_width), no_wrap=True, overflow="crop")

    def line(self, width: int) -> str:
        """The state in at most `width` columns; the bar and the note give way first, the label
        next, count, rate and time left never."""
        count = f"{self.count}/{self.total} {self.unit}"
        figures = f"{count} {self.rate():.2f}/s {self._time_left()} left"
        space = width - len(figures) - 1
        label = self.label if len(self.label) <= space else f"{self.label[: max(0, space - 1)]}…"
        space -= len(label) + 1
        bar = min(BAR, space - (len(self._note) + 2 if self._note else 0))
        bar = max(bar, min(BAR // 2, space)) if bar < SHORTEST_BAR else bar
        parts = [label, self._bar(bar)] if bar >= SHORTEST_BAR else [label]
        space -= bar + 1 if bar >= SHORTEST_BAR else 0
        parts.append(figures)
        if self._note and space >= SHORTEST_NOTE:
            note = self._note if len(self._note) <= space else f"{self._note[: space - 1]}…"
            parts.append(note)
        return " ".join(part for part in parts if part)

    def _bar(self, columns: int) -> str:
        filled = round(columns * min(1.0, self.count / max(self.total, 1)))
        return "━" * filled + "─" * (columns - filled)

    def _time_left(self) -> str:
        if self.count == self._first:
            return "-:--"
        return _duration((self.total - self.count) / max(self.rate(), 1e-9))

    def _print(self) -> None:
        self._printed = time.monotonic()
        note = f"  {self._note}" if self._note else ""
        print(
            f"{self.label}: {self.count}/{self.total} {self.unit}, {self.rate():.2f}/s, "
            f"{_duration(self._printed - self._started)} gone, {self._time_left()} left{note}",
            file=sys.stderr,
            flush=True,
        )
