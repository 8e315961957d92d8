"""`clever cache`: look at a store."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..cache.summary import StoreSummary, TeacherSummary, summarise
from ..errors import CleverError
from .command import fail

PathArgument = Annotated[Path, typer.Argument(help="Folder of the store.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(help="Look at a feature cache.", no_args_is_help=True)
    group.command("info")(info)
    app.add_typer(group, name="cache")


def info(
    path: PathArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False
) -> None:
    """Print what a store holds: frames, teachers with their settings, bytes, fidelity and skipped frames."""
    try:
        summary = summarise(path)
    except CleverError as error:
        fail(error)
    print(json.dumps(summary.to_json(), indent=2) if as_json else _text(summary))


def _text(summary: StoreSummary) -> str:
    base, layer, frames = summary.base, summary.base_layer, max(summary.base_layer.stored, 1)
    rule = ", ".join(f"{key} {value}" for key, value in base.items() if key not in ("dataset", "cameras"))
    lines = [
        f"{summary.path}",
        f"  dataset   {base['dataset']}, {summary.scenes} scenes, cameras {', '.join(base['cameras'])}",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in {layer.shards} shards",
        f"  points    {summary.points:,} ({summary.points // frames:,} a frame)",
        f"  pairs     {summary.pairs:,} ({summary.pairs // frames:,} a frame); {rule}",
        f"  bytes     {_bytes(layer.bytes)} for points and pairs ({_bytes(layer.bytes // frames)} a frame)",
    ]
    for teacher in summary.teachers:
        lines += _teacher(teacher)
    for name, records in summary.failures.items():
        lines += [f"  skipped   {record.id} [{name}] {record.reason} ({record.time})" for record in records]
    return "\n".join(lines)


def _teacher(teacher: TeacherSummary) -> list[str]:
    info, layer, fidelity = teacher.info, teacher.layer, teacher.fidelity
    settings = ", ".join(f"{key} {_short(value)}" for key, value in info.fingerprint.items() if value is not None)
    return [
        f"teacher {info.id}",
        f"  weights   {info.description}",
        f"  settings  {settings}",
        f"  grid      {info.grid[0]} x {info.grid[1]} tokens of {info.channels} channels a camera, {info.codec}",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in {layer.shards} shards",
        f"  bytes     {_bytes(layer.bytes)} ({_bytes(layer.bytes // max(layer.stored, 1))} a frame)",
        f"  fidelity  cosine to float32: mean {fidelity.mean:.6f}, 1st percentile {fidelity.percentile1:.6f}, "
        f"minimum {fidelity.cosine_min:.6f}; clipped {fidelity.clip_rate:.2e} of values; {fidelity.tokens:,} tokens",
    ]


def _short(value: object) -> str:
    text = "x".join(map(str, value)) if isinstance(value, list) and value and isinstance(value[0], int) else str(value)
    return text[:12] if len(text) == 64 else text


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
