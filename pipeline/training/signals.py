"""Ctrl-C and SIGTERM while a run trains: the step under way ends first."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..process.team import Team

REPEATED = 3.0
"""Seconds within which several processes take a second signal for the first."""
INTERRUPTED = 130
"""Exit code of a process that a signal has stopped."""


class StopRequest:
    """The user's wish to stop; a second signal does not wait for the step to end.

    Attributes:
        received: this process got a signal.
        agreed: all processes know of one. Alone a process agrees with itself at once; of several
            the loop sets it when they have told each other, or some would wait for those that have
            stopped.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        self.received = self.agreed = False
        self._first = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are answered inside, in the main thread; afterwards as before.

        Raises:
            KeyboardInterrupt: at once, on a second signal.
        """
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, self._answer) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _answer(self, number: int, _: object) -> None:
        # A launcher passes on what the terminal has told every process already.
        again = self.received and (self.team.size == 1 or time.monotonic() - self._first > REPEATED)
        self._first = self._first or time.monotonic()
        if again:
            raise KeyboardInterrupt
        self.received, self.agreed = True, self.team.size == 1
        if self.team.first:
            print("stopping after this step; once more stops at once", file=sys.stderr, flush=True)


def ignore_interrupt(_: int) -> None:
    """Let a worker process ignore Ctrl-C, which reaches every process of the terminal: the parent
    alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
