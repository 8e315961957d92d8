"""`clever cache-teacher`."""

import sys

import typer

from ..pipeline.cache_teacher import CacheSummary, cache_teacher
from ..pipeline.settings.cache_teacher import CacheTeacherSettings
from ..pipeline.stage_one.plan import plan
from .command import BAD_FRAMES, job_command

FAITHFUL = 0.999
"""Mean cosine to the float32 features that a codec should keep."""
LISTED = 20
"""Skipped frames that are listed after a run."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "cache-teacher", CacheTeacherSettings, run)


def run(settings: CacheTeacherSettings) -> int:
    """Stage one: run the image teacher once over every camera frame and store features, points and
    pairs.

    Only what is missing is computed: the same command again goes on where it was stopped, another
    --model adds a layer to the same store. Exit code 3: finished, but some frames were bad and were
    skipped.
    """
    if settings.plan:
        print(plan(settings) or f"nothing to do: {settings.store} has all frames asked for")
        return 0
    summary = cache_teacher(settings)
    print_summary(summary)
    return BAD_FRAMES if summary.failed else 0


def print_summary(summary: CacheSummary) -> None:
    """Print what a run did, one fact a line, skipped frames with their reasons."""
    if not summary.written:
        print(f"nothing to do: {summary.path} is complete for these {summary.wanted} frames")
    else:
        rate = summary.images / max(summary.seconds, 1e-9)
        work = f"{summary.written} frames, {summary.images} images in {summary.seconds:.1f} s"
        print(f"{summary.path}: {work} ({rate:.2f} images/s)")
    print(f"teacher {summary.teacher.id}: {summary.teacher.description}")
    for frame, reason in summary.failed[:LISTED]:
        print(f"skipped {frame}: {reason}")
    if len(summary.failed) > LISTED:
        print(
            f"skipped {len(summary.failed) - LISTED} more: `clever cache info {summary.path}` "
            "lists them"
        )
    if summary.failed:
        print(
            f"{len(summary.failed)} of {summary.wanted} frames skipped; repair them and add "
            "--retry-failed"
        )
    for warning in warnings(summary):
        print(f"warning: {warning}", file=sys.stderr)


def warnings(summary: CacheSummary) -> list[str]:
    """What is stored but may not be what the user wants."""
    found = []
    if summary.unseen:
        found.append(
            f"{summary.unseen} of {summary.wanted} frames have no point that a camera sees: "
            "stored, no pairs"
        )
    fidelity, codec = summary.fidelity, summary.teacher.codec
    if fidelity.tokens and fidelity.mean < FAITHFUL:
        found.append(
            f"features stored as {codec} have a mean cosine of {fidelity.mean:.5f} to their "
            "originals, "
            f"below {FAITHFUL}; take another --codec (fp16 is closest)"
        )
    return found
