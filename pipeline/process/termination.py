"""Ctrl-C and SIGTERM where something has to be cleared away, and where nothing has."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was stopped."""
Handler = Callable[[int, FrameType | None], object]


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM inside ends the block as Ctrl-C does, so that temporary folders go; afterwards, and
    in other threads than the main one, it does what it did before.

    Raises:
        KeyboardInterrupt: the process was told to end.
    """
    with _answered({signal.SIGTERM: _interrupt}):
        yield


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Ctrl-C and SIGTERM inside end the block with an exception, whatever they do around it; a
    Ctrl-C that is ignored stays so.

    Raises:
        KeyboardInterrupt: the process was told to end.
    """
    handlers: dict[int, Handler] = {signal.SIGTERM: _interrupt}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        handlers[signal.SIGINT] = _interrupt
    with _answered(handlers):
        yield


@contextmanager
def signals_exit(words: str, code: int) -> Iterator[None]:
    """Ctrl-C and SIGTERM inside end the process at once, with a line: for imports, which an
    exception in their midst leaves half done, so that they fail otherwise."""

    def end(_: int, __: FrameType | None) -> None:
        print(words, file=sys.stderr, flush=True)
        os._exit(code)

    numbers = (signal.SIGINT, signal.SIGTERM)
    answered = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    with _answered(dict.fromkeys(answered, end)):
        yield


@contextmanager
def _answered(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Signals inside are answered so; afterwards, and in other threads than the main one, as
    before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
