"""`clever cache`: what its commands do and print."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.choices import INTERPOLATED
from ..cache.store.records.models import TeacherInfo, as_json
from ..files import atomic_write
from ..pipeline.process.progress import Track
from ..pipeline.settings.care import (
    CopySettings,
    DropRegionsSettings,
    DropSettings,
    DropSweepsSettings,
    InfoSettings,
    ManifestSettings,
    RepairSettings,
    VerifySettings,
)
from ..words import quantity, storage
from .printers import plain
from .wording import with_flags

if TYPE_CHECKING:
    from ..cache.care.summary import RegionSummary, StoreSummary, TeacherSummary
    from ..cache.fidelity import Fidelity
    from ..pipeline.repair import RepairSummary
    from ..pipeline.verify import VerifySummary

DAMAGED = 1
"""Exit code when a store has problems."""


def summary(settings: InfoSettings) -> "StoreSummary":
    """What a store holds."""
    from ..cache.care.summary import summarise
    from ..cache.store.files.remote import any_path

    return summarise(any_path(settings.path))


def print_info(_: InfoSettings, content: "StoreSummary") -> int:
    """Print it."""
    print(_text(content))
    return 0


def print_verification(settings: VerifySettings, result: "VerifySummary") -> int:
    """Print every problem and what was read."""
    plain(settings, result)
    return DAMAGED if result.problems else 0


def print_repair(settings: RepairSettings, result: "RepairSummary") -> int:
    """Print every problem and what was done about it."""
    plain(settings, result)
    return DAMAGED if result.remainder else 0


@dataclass(frozen=True, slots=True)
class DropSummary:
    """What a store lost: a layer and its bytes on disk."""

    path: Path
    teacher: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DropRegionsSummary:
    """What a store lost: a layer of regions and its bytes on disk."""

    path: Path
    regions: str
    bytes: int


def drop(settings: DropSettings) -> DropSummary:
    """Drop a layer."""
    from ..cache.care.drop import drop_teacher

    size = drop_teacher(settings.path, settings.teacher)
    return DropSummary(settings.path, settings.teacher, size)


def drop_regions(settings: DropRegionsSettings) -> DropRegionsSummary:
    """Drop a layer of regions."""
    from ..cache.care import drop

    size = drop.drop_regions(settings.path, settings.regions)
    return DropRegionsSummary(settings.path, settings.regions, size)


def drop_sweeps(settings: DropSweepsSettings) -> DropRegionsSummary:
    """Drop all earlier sweeps."""
    from ..cache.care import drop

    return DropRegionsSummary(settings.path, "sweeps", drop.drop_sweeps(settings.path))


def print_drop(
    _: DropSettings | DropRegionsSettings | DropSweepsSettings,
    result: DropSummary | DropRegionsSummary,
) -> int:
    """Print what is gone."""
    layer = result.teacher if isinstance(result, DropSummary) else result.regions
    print(f"{result.path}: {layer} dropped, {storage(result.bytes)} freed")
    return 0


@dataclass(frozen=True, slots=True)
class CopySummary:
    """What was copied.

    Attributes:
        source, target: the stores.
        frames: frames copied.
        pending: frames left out because the source has not finished them.
        teachers: layers, with the fidelity of what was encoded anew.
    """

    source: str | Path
    target: Path
    frames: int
    pending: int
    teachers: "dict[str, Fidelity | None]"


def copy(settings: CopySettings) -> CopySummary:
    """Make a copy."""
    from ..cache.care.copy import Copy, Selection
    from ..cache.store.files.remote import any_path

    selection = Selection(
        settings.teacher, settings.scene, settings.limit, settings.codec, settings.regions
    )
    job = Copy(any_path(settings.source), settings.target, selection)
    with Track("copying", len(job)) as track:
        layers = job.run(track.advance)
    return CopySummary(settings.source, settings.target, len(job.rows), job.pending, layers)


def print_copy(_: CopySettings, result: CopySummary) -> int:
    """Print what was copied and what was left out."""
    print(f"{result.target}: {quantity(result.frames, 'frame')} of {result.source}")
    for name, fidelity in result.teachers.items():
        print(
            f"teacher {name}" + (f"\n{_fidelity(fidelity, 'what was stored')}" if fidelity else "")
        )
    if result.pending:
        print(
            f"{quantity(result.pending, 'frame')} that {result.source} has not finished are "
            "left out"
        )
    return 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """A store's contents: a header, and an entry a frame."""

    header: dict[str, Any]
    frames: list[dict[str, Any]]


def export_manifest(settings: ManifestSettings) -> Manifest:
    """The manifest."""
    from ..cache.care.manifest import manifest
    from ..cache.store.files.remote import any_path

    header, *frames = manifest(any_path(settings.path))
    return Manifest(header, frames)


def print_manifest(settings: ManifestSettings, result: Manifest) -> int:
    """Write its lines to the file, or print them."""
    entries = (result.header, *result.frames)
    lines = "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries)
    if settings.out:
        atomic_write(settings.out, lines)
    else:
        sys.stdout.write(lines)
    return 0


def _text(summary: "StoreSummary") -> str:
    base, layer, frames = summary.base, summary.base_layer, max(summary.base_layer.stored, 1)
    rule = ", ".join(
        f"{key} {value}"
        for key, value in as_json(base).items()
        if key not in ("dataset", "cameras") and value is not None
    )
    lines = [
        f"{summary.path}",
        f"  dataset   {base.dataset}, {quantity(summary.scenes, 'scene')}, cameras "
        f"{', '.join(base.cameras)}",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in "
        f"{quantity(layer.shards, 'shard')}",
        f"  points    {summary.points:,} ({summary.points // frames:,} a frame)",
        f"  pairs     {summary.pairs:,} ({summary.pairs // frames:,} a frame); {rule}",
        *_intensity(summary),
        f"  bytes     {storage(layer.bytes)} for points and pairs "
        f"({storage(layer.bytes // frames)} a frame)",
    ]
    for teacher in summary.teachers:
        lines += _teacher(teacher)
    for regions in summary.regions:
        lines += _regions(regions)
    for sweeps in summary.sweeps:
        kind = " with pairs" if sweeps.info.pairs else ""
        frames = max(sweeps.layer.stored, 1)
        lines += [
            f"sweeps {sweeps.info.count} before each frame{kind}",
            f"  points    {sweeps.points:,} ({sweeps.points // frames:,} a frame)",
            f"  frames    {sweeps.layer.stored} stored, {sweeps.layer.failed} skipped, "
            f"{sweeps.layer.pending} pending, in {quantity(sweeps.layer.shards, 'shard')}",
            f"  bytes     {storage(sweeps.layer.bytes)} ({storage(sweeps.layer.bytes // frames)} a "
            "frame)",
        ]
    for name, records in summary.failures.items():
        lines += [
            f"  skipped   {record.id} [{name}] "
            f"{with_flags(record.reason, InfoSettings)} ({record.time})"
            for record in records
        ]
    return "\n".join(lines)


def _what_is_stored(info: TeacherInfo) -> str:
    """The grid of a teacher, or the features of pairs that are stored in its place."""
    height, width = info.grid
    if info.tokens in INTERPOLATED:
        return (
            f"pairs     a feature of {info.channels} channels each, interpolated from "
            f"{height} x {width} tokens"
        )
    return f"grid      {height} x {width} tokens of {info.channels} channels a camera"


def _intensity(summary: "StoreSummary") -> list[str]:
    """Scale and statistics of the stored intensities, and what is doubtful about them."""
    intensity, scale = summary.intensity, summary.base.intensity_scale
    if intensity is None:
        return []
    stored = f"stored value / {scale:g}" if scale else "of full intensity"
    line = (
        f"  intensity mean {intensity.mean:.4g}, standard deviation {intensity.std:.4g}, from "
        f"{intensity.lowest:.3g} to {intensity.highest:.3g} ({stored})"
    )
    if summary.dark:
        line += f"; doubtful scale: {quantity(summary.dark, 'frame')} have no bright point"
    return [line]


def _teacher(teacher: "TeacherSummary") -> list[str]:
    info, layer, fidelity = teacher.info, teacher.layer, teacher.fidelity
    settings = ", ".join(
        f"{key} {_short(value)}"
        for key, value in info.fingerprint.values().items()
        if value is not None
    )
    return [
        f"teacher {info.id}",
        f"  weights   {info.description}",
        *([f"  licence   {info.licence}"] if info.licence else []),
        f"  settings  {settings}",
        f"  {_what_is_stored(info)}, {info.codec}",
        *([f"  channels  {teacher.moments}"] if teacher.moments else []),
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in "
        f"{quantity(layer.shards, 'shard')}",
        f"  bytes     {storage(layer.bytes)} ({storage(layer.bytes // max(layer.stored, 1))} a "
        "frame)",
        _fidelity(
            fidelity,
            f"the {info.reencoded_from[-1]} it was copied from"
            if info.reencoded_from
            else "float32",
        ),
    ]


def _regions(regions: "RegionSummary") -> list[str]:
    info, layer = regions.info, regions.layer
    height, width = info.settings.size
    return [
        f"regions {info.id.partition('/')[2]}",
        f"  source    {info.description}",
        f"  maps      {height} x {width} a camera, uint16",
        f"  frames    {layer.stored} stored, {layer.failed} skipped, {layer.pending} pending, in "
        f"{quantity(layer.shards, 'shard')}",
        f"  bytes     {storage(layer.bytes)} ({storage(layer.bytes // max(layer.stored, 1))} a "
        "frame)",
    ]


def _fidelity(fidelity: "Fidelity", reference: str) -> str:
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
