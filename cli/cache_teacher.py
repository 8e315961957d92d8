"""`clever cache-teacher`: a run or its plan, and what is printed of it."""

import sys
from typing import TYPE_CHECKING

from ..pipeline.settings.cache_teacher import CacheTeacherSettings
from ..words import quantity
from .printers import BAD_FRAMES
from .wording import with_flags

if TYPE_CHECKING:
    from ..pipeline.cache_teacher import CacheSummary
    from ..pipeline.stage_one.plan import Plan

FAITHFUL = 0.999
"""Mean cosine to the float32 features that a codec should keep."""


def cache_or_plan(settings: CacheTeacherSettings) -> "CacheSummary | Plan | None":
    """Fill the store, or reckon what that would take; None where a plan has nothing to do."""
    if settings.plan:
        from ..pipeline.stage_one.plan import plan

        return plan(settings)
    from ..pipeline.cache_teacher import cache_teacher

    return cache_teacher(settings)


def print_result(settings: CacheTeacherSettings, result: "CacheSummary | Plan | None") -> int:
    """Print a run or a plan."""
    if settings.plan:
        print(
            with_flags(str(result), CacheTeacherSettings)
            if result
            else f"nothing to do: {settings.store} has all frames asked for"
        )
        return 0
    from ..pipeline.cache_teacher import CacheSummary

    assert isinstance(result, CacheSummary)
    print_summary(result)
    return BAD_FRAMES if result.failed or (result.sweeps and result.sweeps.failed) else 0


def print_summary(summary: "CacheSummary") -> None:
    """Print what a run did, and on standard error what is doubtful of it."""
    print(with_flags(str(summary), CacheTeacherSettings))
    for warning in warnings(summary):
        print(f"warning: {warning}", file=sys.stderr)


def warnings(summary: "CacheSummary") -> list[str]:
    """What is stored but may not be what the user wants."""
    doubts = []
    if summary.unseen:
        doubts.append(
            f"{summary.unseen} of {quantity(summary.requested, 'frame')} have no point that a "
            "camera sees: "
            "stored, no pairs"
        )
    for layer in summary.layers:
        fidelity, info = layer.fidelity, layer.info
        if fidelity.tokens and fidelity.mean < FAITHFUL:
            doubts.append(
                f"features of {info.id} stored as {info.codec} have a mean cosine of "
                f"{fidelity.mean:.5f} to their originals, below {FAITHFUL}; take another --codec "
                "(fp16 is closest)"
            )
    return doubts
