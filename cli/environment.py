"""How the command's process, and those that it starts, use threads and memory: set before torch is
imported, unless the user has set it.

What each of these does was measured: BENCHMARKS.md, "Training on a CPU".
"""

import ctypes
import os

MIB = 1 << 20
LARGEST_KEPT, FREE_KEPT = 32 * MIB, 128 * MIB
"""Bytes up to which an array's memory is taken from the heap, and free ones at the heap's end that
are not given back: glibc's own first values, 128 KiB each, ask the system for new pages for every
array."""
VARIABLES = {
    # Threads that spin as long as they wait make a training step two to ten times slower where
    # another process wants the cores, and threads that sleep at once make it a third slower where
    # none does. A thousand turns, then sleep, is as fast as the better one.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "1000",
    # torch asks for large tensors on a CPU in pages of 2 MiB, where Linux grants them: a training
    # step touches hundreds of new tensors, whose changing sizes leave no gaps in the heap then.
    "THP_MEM_ALLOC_ENABLE": "1",
    # glibc reads these when a process starts: those that this one starts.
    "MALLOC_MMAP_THRESHOLD_": str(LARGEST_KEPT),
    "MALLOC_TRIM_THRESHOLD_": str(FREE_KEPT),
}
MALLOPT = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}
"""The same in a process that runs: M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h."""


def set_environment() -> None:
    """Set what is not set, for this process and those that it starts."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc; others have none
    for name, value in VARIABLES.items():
        if name in os.environ:
            continue
        os.environ[name] = value
        if mallopt and name in MALLOPT:
            mallopt(MALLOPT[name], int(value))
