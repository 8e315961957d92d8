"""`clever cache-teacher`."""

import typer

from ..pipeline.cache_teacher import CacheSummary, CacheTeacherSettings, cache_teacher
from .command import BAD_FRAMES, job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "cache-teacher", CacheTeacherSettings, run)


def run(settings: CacheTeacherSettings) -> int:
    """Stage one: run the image teacher once over every camera frame and store features, points and pairs.

    Only what is missing is computed: the same command again goes on where it was stopped, another --model adds a
    layer to the same store. Exit code 3: finished, but some frames were bad and were skipped.
    """
    summary = cache_teacher(settings)
    print_summary(summary)
    return BAD_FRAMES if summary.failed else 0


def print_summary(summary: CacheSummary) -> None:
    """Print what a run did, one fact a line, every skipped frame with its reason."""
    if not summary.written:
        print(f"nothing to do: {summary.path} holds all {summary.wanted} frames of {summary.teacher.id}")
    else:
        rate = summary.images / max(summary.seconds, 1e-9)
        done = f"{summary.written} frames, {summary.images} images in {summary.seconds:.1f} s ({rate:.2f} images/s)"
        print(f"{summary.path}: {done}")
    print(f"teacher {summary.teacher.id}: {summary.teacher.description}")
    for frame, reason in summary.failed:
        print(f"skipped {frame}: {reason}")
    if summary.failed:
        print(f"{len(summary.failed)} of {summary.wanted} frames skipped; repair them and add --retry-failed")
