"""`clever cache`: look at a store, check it, repair it, copy it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..cache.care.copy import Copy, Selection
from ..cache.care.drop import drop_teacher
from ..cache.care.manifest import manifest
from ..cache.care.problems import Problem
from ..cache.care.summary import StoreSummary, TeacherSummary, summarise
from ..cache.codec import Fidelity
from ..errors import CleverError
from ..files import atomic_write
from ..pipeline.progress import Track
from ..pipeline.repair import RepairSummary, repair
from ..pipeline.settings.care import RepairSettings, VerifySettings
from ..pipeline.verify import VerifySummary, verify
from .command import fail, job_command

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the store.")]
DAMAGED = 1
"""Exit code when a store has problems."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(
        help="Look at a feature cache, check it, repair it, copy it.", no_args_is_help=True
    )
    group.command("info")(info)
    job_command(group, "verify", VerifySettings, run_verify, argument="path")
    job_command(group, "repair", RepairSettings, run_repair, argument="path")
    group.command("drop-teacher")(drop)
    group.command("copy")(copy)
    group.command("export-manifest")(export_manifest)
    app.add_typer(group, name="cache")


def info(
    path: PathArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Print what a store holds: frames, teachers with their settings, bytes, fidelity and skipped
    frames."""
    try:
        summary = summarise(path)
    except CleverError as error:
        fail(error)
    print(json.dumps(summary.to_json(), indent=2) if as_json else _text(summary))


def run_verify(settings: VerifySettings) -> int:
    """Read a whole store and check every checksum, shape, range and reference; name whatever is
    wrong.

    With --data-root, points and pairs of a sample of frames are derived again and compared. Exit
    code 1: problems.
    """
    summary = verify(settings)
    if settings.as_json:
        print(json.dumps({**asdict(summary), "path": str(summary.path)}, indent=2))
    else:
        _print_verification(summary)
    return DAMAGED if summary.problems else 0


def run_repair(settings: RepairSettings) -> int:
    """Recompute exactly the damaged shards of a store and write its other damaged files again.

    Shards need the dataset (--data-root) and, for features, the teacher that made them. Exit code
    1: something is left.
    """
    summary = repair(settings)
    _print_repair(summary)
    return DAMAGED if summary.left else 0


def drop(
    path: PathArgument,
    teacher: Annotated[str, typer.Argument(metavar="ID", help="Whole id of the layer.")],
) -> None:
    """Delete a teacher's layer from a store; points, pairs and other teachers stay as they are."""
    try:
        freed = drop_teacher(path, teacher)
    except CleverError as error:
        fail(error)
    print(f"{path}: {teacher} dropped, {_bytes(freed)} freed")


def copy(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of the store.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder of the copy.")],
    teacher: Annotated[
        list[str] | None, typer.Option(help="Layer, or the beginning of its id; may repeat.")
    ] = None,
    scene: Annotated[list[str] | None, typer.Option(help="Scene to copy; may repeat.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First N of these frames only.")] = None,
    codec: Annotated[
        str | None, typer.Option(help="Encode the copied features anew: int8, int8-zstd, fp16.")
    ] = None,
) -> None:
    """Copy a store, or some of its scenes, frames and teachers.

    With --codec the stored features are encoded anew; the copy's layer says so, and its fidelity is
    relative to them.
    """
    selection = Selection(
        tuple(teacher) if teacher else None, tuple(scene) if scene else None, limit, codec
    )
    try:
        job = Copy(source, target, selection)
        with Track("copying", len(job)) as track:
            made = job.run(track.advance)
    except CleverError as error:
        fail(error)
    print(f"{target}: {len(job.rows)} frames of {source}")
    for name, fidelity in made.items():
        print(
            f"teacher {name}" + (f"\n{_fidelity(fidelity, 'what was stored')}" if fidelity else "")
        )
    if job.pending:
        print(f"{job.pending} frames that {source} has not finished are left out")


def export_manifest(
    path: PathArgument,
    out: Annotated[Path | None, typer.Option(help="File to write; default: print.")] = None,
) -> None:
    """Print a store's contents as JSON lines: a header, then ids, counts, status and checksums of
    every frame."""
    try:
        lines = "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in manifest(path))
        if out:
            atomic_write(out, lines)
        else:
            sys.stdout.write(lines)
    except CleverError as error:
        fail(error)


def _print_verification(summary: VerifySummary) -> None:
    for problem in summary.problems:
        print(problem)
    rate = summary.bytes / max(summary.seconds, 1e-9)
    read = f"{_bytes(summary.bytes)} in {summary.seconds:.1f} s ({_bytes(int(rate))}/s)"
    print(f"{summary.path}: {_count(summary.problems)}; {read}")
    if summary.compared:
        print(f"{len(summary.compared)} frames compared with the dataset")
    for reason in summary.skipped:
        print(f"not compared: {reason}")
    if any(problem.remedy != "none" for problem in summary.problems):
        print(f"put them right with `clever cache repair {summary.path}`")


def _print_repair(summary: RepairSummary) -> None:
    for problem in summary.found:
        print(f"found {problem}")
    for layer, shard in summary.recomputed:
        print(f"recomputed shard {shard} of {layer}")
    for layer, frames in summary.changed.items():
        if frames:
            print(
                f"{len(frames)} frames of {layer} have other bytes than before "
                f"({', '.join(frames)}): "
                "another machine, library version or --batch-images than when they were first made"
            )
    for layer, frame, reason in summary.skipped:
        print(f"skipped {frame} [{layer}]: {reason}")
    for problem in summary.left:
        print(f"left {problem}")
    print(f"{summary.path}: {_count(summary.found)} found, {len(summary.left)} left")


def _count(problems: list[Problem]) -> str:
    return (
        "no problems"
        if not problems
        else "1 problem"
        if len(problems) == 1
        else f"{len(problems)} problems"
    )


def _text(summary: StoreSummary) -> str:
    base, layer, frames = summary.base, summary.base_layer, max(summary.base_layer.stored, 1)
    rule = ", ".join(
        f"{key} {value}" for key, value in base.items() if key not in ("dataset", "cameras")
    )
    lines = [
        f"{summary.path}",
        f"  dataset   {base['dataset']}, {summary.scenes} scenes, cameras "
        f"{', '.join(base['cameras'])}",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in "
        f"{layer.shards} shards",
        f"  points    {summary.points:,} ({summary.points // frames:,} a frame)",
        f"  pairs     {summary.pairs:,} ({summary.pairs // frames:,} a frame); {rule}",
        f"  bytes     {_bytes(layer.bytes)} for points and pairs ({_bytes(layer.bytes // frames)} "
        "a frame)",
    ]
    for teacher in summary.teachers:
        lines += _teacher(teacher)
    for name, records in summary.failures.items():
        lines += [
            f"  skipped   {record.id} [{name}] {record.reason} ({record.time})"
            for record in records
        ]
    return "\n".join(lines)


def _teacher(teacher: TeacherSummary) -> list[str]:
    info, layer, fidelity = teacher.info, teacher.layer, teacher.fidelity
    settings = ", ".join(
        f"{key} {_short(value)}" for key, value in info.fingerprint.items() if value is not None
    )
    return [
        f"teacher {info.id}",
        f"  weights   {info.description}",
        f"  settings  {settings}",
        f"  grid      {info.grid[0]} x {info.grid[1]} tokens of {info.channels} channels a camera, "
        f"{info.codec}",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in "
        f"{layer.shards} shards",
        f"  bytes     {_bytes(layer.bytes)} ({_bytes(layer.bytes // max(layer.stored, 1))} a "
        "frame)",
        _fidelity(
            fidelity,
            f"the {info.reencoded_from[-1]} it was copied from"
            if info.reencoded_from
            else "float32",
        ),
    ]


def _fidelity(fidelity: Fidelity, reference: str) -> str:
    return (
        f"  fidelity  cosine to {reference}: mean {fidelity.mean:.6f}, 1st percentile "
        f"{fidelity.percentile1:.6f}, "
        f"minimum {fidelity.cosine_min:.6f}; clipped {fidelity.clip_rate:.2e} of values; "
        f"{fidelity.tokens:,} tokens"
    )


def _short(value: object) -> str:
    text = (
        "x".join(map(str, value))
        if isinstance(value, list) and value and isinstance(value[0], int)
        else str(value)
    )
    return text[:12] if len(text) == 64 else text


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
