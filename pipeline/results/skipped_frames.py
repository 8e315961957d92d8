"""Frames that stage one passed over, as its results tell of them."""

from collections.abc import Sequence
from pathlib import Path

from ...words import quantity

LISTED = 20
"""Skipped frames that are listed."""


def skipped_lines(
    failed: Sequence[tuple[str, str]], requested: int, store: Path, layer: str = ""
) -> list[str]:
    """A line a frame, of many the first ones, then how many there are and what to do.

    Args:
        failed: (frame id, reason).
        requested: frames asked for.
        layer: named where it is not that of the command.
    """
    if not failed:
        return []
    mark, whose = (f" [{layer}]", f"{layer}: ") if layer else ("", "")
    lines = [f"skipped {frame}{mark}: {reason}" for frame, reason in failed[:LISTED]]
    if len(failed) > LISTED:
        more = len(failed) - LISTED
        lines.append(f"skipped {more} more{mark}: `clever cache info {store}` lists them")
    share = f"{len(failed)} of {quantity(requested, 'frame')}"
    return [*lines, f"{whose}{share} skipped; repair them and add `retry_failed=yes`"]
