"""A measurement in a process of its own, which starts with nothing and may be killed; and what such
a process reads of its memory."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ...errors import CleverError


def in_own_process(label: str, advice: str, work: Callable[..., int], *arguments: object) -> int:
    """What `work(*arguments)` returns in a new process; all of them can be pickled.

    Args:
        label: what is measured, for the error.
        advice: what a user can do when memory did not suffice.

    Raises:
        CleverError: the process ended before its time: it failed or was killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise CleverError(
            f"{label}: the process that measured it ended with code {process.exitcode}; see what "
            f"it printed; if it was killed, {advice}"
        ) from None
    finally:
        process.join()
        receiver.close()


def _send_result(
    sender: Connection, work: Callable[..., int], arguments: tuple[object, ...]
) -> None:
    sender.send(work(*arguments))


def peak_memory(device: torch.device) -> int:
    """Bytes in use at most since the start or the last `reset_peak`: resident memory of this
    process, or what torch has given out on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def reset_peak(device: torch.device) -> None:
    """Let `peak_memory` begin anew at what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    # Not every kernel lets the peak be reset; before a first pass it is hardly above the rest.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def rise_of_peak(work: Callable[[], object], device: torch.device) -> int:
    """Bytes by which `work()` raises the peak of memory above that of what is in use before it.

    Nothing where `work` makes do with memory that the process freed earlier and still holds. Where
    the kernel does not let the peak be reset, only what exceeds the process's earlier peak counts.
    """
    reset_peak(device)
    # The same mark before and after: resident memory may be told by some pages more than the mark
    # that is read next. The mark itself never falls, but is read without the pages that other cores
    # have yet to report: a later reading below an earlier one means that nothing was added.
    before = peak_memory(device)
    work()
    return max(0, peak_memory(device) - before)
