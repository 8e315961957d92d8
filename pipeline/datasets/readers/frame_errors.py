"""Whose fault a file is: a frame that needs a damaged file is lost, and no other."""

from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import CleverError, FrameError


@contextmanager
def errors_of(frame: str) -> Iterator[None]:
    """Raise every CleverError of the block as FrameError of the frame with that id."""
    try:
        yield
    except FrameError:
        raise
    except CleverError as error:
        raise FrameError(frame, str(error)) from error
