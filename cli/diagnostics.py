"""Standard error while a command runs: notices and progress, silenced or also kept in a file."""

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import CleverError, StoreWarning


class Diagnostics(io.TextIOBase):
    """Takes the place of standard error.

    Args:
        terminal: the true standard error.
        wording: how a text is put before it is shown.
        quiet: nothing but `error` reaches the terminal.
        log: also gets every line, with the time before it; progress then comes in lines.
    """

    def __init__(
        self, terminal: TextIO, wording: Callable[[str], str], quiet: bool, log: TextIO | None
    ) -> None:
        self.terminal, self.wording, self.quiet, self.log = terminal, wording, quiet, log
        self._fresh = self._line_ended = True

    def isatty(self) -> bool:
        """Whether a live bar may be drawn."""
        return not self.quiet and self.log is None and self.terminal.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the terminal: what other libraries ask for."""
        return self.terminal.fileno()

    def write(self, text: str, /) -> int:
        shown = self.wording(text)
        if not self.quiet:
            self.terminal.write(shown)
            self._line_ended = shown.endswith("\n")
        self._keep(shown)
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()

    def error(self, line: str) -> None:
        """A line that is always shown."""
        shown = self.wording(line)
        print("" if self._line_ended else "\n", shown, sep="", file=self.terminal, flush=True)
        self._line_ended = True
        self._keep(f"{shown}\n")

    def _keep(self, text: str) -> None:
        if self.log is None:
            return
        try:
            for part in text.splitlines(keepends=True):
                if self._fresh:
                    self.log.write(time.strftime("%Y-%m-%d %H:%M:%S  "))
                self.log.write(part)
                self._fresh = part.endswith("\n")
            self.log.flush()
        except OSError as error:
            log, self.log = self.log, None
            with contextlib.suppress(OSError):
                log.close()  # which tries to write once more
            raise CleverError(
                f"cannot write {log.name}: {error.strerror}; choose another --log-file"
            ) from error


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """What is passed over in a store is told in one line; other warnings as ever."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, StoreWarning):
            print(message, file=sys.stderr, flush=True)
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


@contextlib.contextmanager
def diagnostics(
    wording: Callable[[str], str], quiet: bool = False, log_file: Path | None = None
) -> Iterator[Diagnostics]:
    """Replace standard error for the duration of the block.

    Raises:
        CleverError: the log file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        log = None
        if log_file is not None:
            try:
                log_file.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(log_file.open("a", encoding="utf-8"))
            except OSError as error:
                raise CleverError(
                    f"cannot write {log_file}: {error.strerror}; choose another --log-file"
                ) from error
        stream = Diagnostics(sys.stderr, wording, quiet, log)
        stack.enter_context(contextlib.redirect_stderr(stream))
        stack.enter_context(_plain_warnings())
        yield stream
