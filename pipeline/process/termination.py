"""Ctrl-C and SIGTERM where something has to be cleared away, and where nothing has."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM inside ends the block as Ctrl-C does, so that temporary folders go; afterwards, and
    in other threads than the main one, it does what it did before.

    Raises:
        KeyboardInterrupt: the process was told to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_exit(words: str, code: int) -> Iterator[None]:
    """Ctrl-C and SIGTERM inside end the process at once, with a line: for imports, which an
    exception in their midst leaves half done, so that they fail otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        print(words, file=sys.stderr, flush=True)
        os._exit(code)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    answered = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in answered:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, before[number])


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
