"""Freed memory: kept by the process, where getting it anew from the system costs more than the work
done in it."""

import numpy as np


def keep_freed_memory() -> None:
    """Let this process keep the memory that one frame or image leaves for the next.

    The C library gives free memory back to the system when there is more of it than twice the
    largest block that was ever freed, at most 64 MB; getting it anew, page by page, can take
    several times as long as decoding an image or reading a frame. Here such a block is freed.
    Nothing in it was touched, so it costs nothing; other C libraries than glibc have other rules
    and are left as they are.
    """
    np.empty(2**25 - 2**16, np.uint8)
