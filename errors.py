"""Errors a user can act on: one line that names the frame, file or option and says what to do."""

from .names import visible


class CleverError(Exception):
    """A problem the user can fix. The command line prints its message alone, without a
    traceback; it is one line, whatever is in the names that it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


class StoreWarning(UserWarning):
    """Something in a store that is passed over; the command line shows its message alone."""


class OutputError(CleverError):
    """A file cannot be written, whatever frame it is of: the others' cannot be either."""


class FrameError(CleverError):
    """One frame cannot be used; every other frame still can.

    Attributes:
        frame: id of the frame.
        reason: what is wrong and with which file.
    """

    def __init__(self, frame: str, reason: str) -> None:
        super().__init__(f"frame {frame}: {reason}")
        self.frame = frame
        self.reason = visible(reason)

    def __reduce__(self) -> tuple[type["FrameError"], tuple[str, str]]:
        return type(self), (self.frame, self.reason)
