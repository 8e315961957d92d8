"""A student's feature for every point of bare LiDAR files."""

import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from ..cache.store.point_statistics import is_dark
from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import WEIGHTS, load_student, read_meta, weights_digest
from ..student.points import PointBatch
from ..student.student import Student
from .datasets.bare_files import PointCloud, read_cloud, suffix
from .datasets.intensity import dark_words
from .device import choose_device
from .progress import Track
from .runs import Run, notice, warn_unfinished
from .settings.features import FeaturesSettings
from .sources import Source, Sources
from .steps.labelled import BadFrame

FEATURES = "features"
"""Name of the array in a safetensors file."""


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """One output: features (points, channels), row i for point i of the file."""

    source: Path
    out: Path
    points: int
    channels: int
    intensity: str
    """What was read as what, and how intensity was scaled."""

    def __str__(self) -> str:
        shape = f"{self.points} x {self.channels}"
        return f"{self.source}: {self.points} points, {self.intensity} -> {self.out} ({shape})"


@dataclass(frozen=True, slots=True)
class FeaturesSummary:
    """What `clever features` did: outputs written, inputs whose output was there already, inputs it
    could not use."""

    files: list[FeatureFile]
    current: list[Path]
    bad: list[BadFrame]

    def __str__(self) -> str:
        lines = [str(file) for file in self.files]
        if self.current:
            lines.append(f"{len(self.current)} outputs were up to date")
        lines += [f"skipped {bad.reason}" for bad in self.bad]
        return "\n".join(lines)


def features(settings: FeaturesSettings) -> FeaturesSummary:
    """Write a feature for every point of every file.

    A folder holds the outputs of one set of settings. There an output whose file and weights have
    not changed stays, so that the same command goes on where it was stopped; a file that cannot be
    used is reported and left out. A single output must not exist.

    Raises:
        CleverError: no files, no checkpoint, an output that exists or belongs to other settings,
            two files that would get the same output, or no usable file.
    """
    targets = _targets(settings)
    warn_unfinished(settings.checkpoint)
    student = load_student(settings.checkpoint).to(choose_device(settings.device))
    described = read_meta(settings.checkpoint / WEIGHTS)
    weights = weights_digest(settings.checkpoint)
    sources = None if settings.out in targets.values() else _open_folder(settings)
    summary = FeaturesSummary([], [], [])
    with Track("features", len(targets), "files") as track:
        for source, out in targets.items():
            try:
                if sources is not None and sources.current(out, source, weights):
                    summary.current.append(source)
                else:
                    read_from = Source.of(source, weights)
                    summary.files.append(_write(student, described, source, out, settings))
                    if sources is not None:
                        sources.note(out, read_from)
            except CleverError as error:
                if len(targets) == 1:
                    raise
                summary.bad.append(BadFrame(id=str(source), reason=str(error)))
                notice(f"skipped {error}")
            track.advance()
    if len(summary.bad) == len(targets):
        raise CleverError(
            f"none of {len(targets)} files could be used; the first: {summary.bad[0].reason}"
        )
    return summary


def point_features(student: Student, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, C) float32 of a cloud (N, 4) of `PointCloud.points`; NaN where the point is.

    Raises:
        CleverError: points too far apart, or features that are not finite.
    """
    valid = np.isfinite(points).all(1)
    device = next(student.parameters()).device
    with torch.inference_mode():
        finite_rows = (
            student(PointBatch.from_clouds([torch.from_numpy(points[valid])]).to(device))
            .float()
            .cpu()
            .numpy()
        )
    if not np.isfinite(finite_rows).all():
        raise CleverError("the student's features are not finite; its weights are of no use")
    rows = np.full((len(points), student.out_channels), np.nan, np.float32)
    rows[valid] = finite_rows
    return rows


def _targets(settings: FeaturesSettings) -> dict[Path, Path]:
    """Output of every input."""
    if not settings.points:
        raise CleverError("no point files given; name one or more in `points`")
    ending = settings.out.suffix.lower().removeprefix(".")
    if ending in ("safetensors", "npy") and not settings.out.is_dir():
        first, *more = settings.points
        if more:
            raise CleverError(
                f"`out={settings.out}` is one file for {len(settings.points)} inputs; give a folder"
            )
        if settings.output_format not in (None, ending):
            raise CleverError(
                f"`out={settings.out}` is no {settings.output_format} file; leave `output_format` "
                "out"
            )
        if settings.out.exists():
            raise CleverError(f"{settings.out} exists; remove it or choose another `out`")
        return {first: settings.out}
    ending = settings.output_format or "safetensors"
    names = {
        path: f"{path.name[: len(path.name) - len(suffix(path))]}.{ending}"
        for path in settings.points
    }
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        both = [str(path) for path in names if names[path] == name][:2]
        raise CleverError(
            f"{' and '.join(both)} would both become {name}; write them into different folders"
        )
    return {path: settings.out / name for path, name in names.items()}


def _open_folder(settings: FeaturesSettings) -> Sources:
    """The folder of the outputs.

    Raises:
        CleverError: it holds something else, or outputs of other settings.
    """
    sources = Sources(settings.out)
    Run.open(settings.out, settings, also_ignore=frozenset({"points"}))
    return sources


def _write(
    student: Student, described: dict[str, Any], source: Path, out: Path, settings: FeaturesSettings
) -> FeatureFile:
    cloud = read_cloud(source, settings.input_format, settings.intensity_field)
    points = cloud.points(settings.intensity_scale, settings.origin or (0.0, 0.0, 0.0))
    intensity = _scaling(cloud, points, settings.intensity_scale)
    try:
        rows = point_features(student, points)
    except CleverError as error:
        raise CleverError(f"{source}: {error}") from error
    with np.errstate(over="ignore"):
        rows = rows.astype(settings.dtype)
    if np.isinf(rows).any():
        raise CleverError(f"{source}: features are too large for float16; use `dtype=float32`")
    meta = {
        "source": str(source),
        "read": intensity,
        "settings": settings.model_dump(mode="json", exclude={"points", "out", "device"}),
        "student": described,
    }
    atomic_write(out, _encode(rows, out, meta))
    return FeatureFile(source, out, len(points), student.out_channels, intensity)


def _scaling(cloud: PointCloud, points: NDArray[np.float32], scale: float | None) -> str:
    """How the file was read, in words, with the user's attention drawn to what looks odd."""
    full = cloud.full if scale is None else scale
    high = np.nanmax(points[:, 3])
    nan_count = int(np.isnan(points[:, 3]).sum())
    if nan_count:
        notice(
            f"{cloud.path}: {nan_count} of {len(points)} points are not finite (no return); their "
            "features are NaN"
        )
    if is_dark(float(high)):
        notice(dark_words(f"{cloud.path}:", float(high), full, "intensity_scale"))
    return f"{cloud.layout}, intensity / {full:g} = {np.nanmin(points[:, 3]):.3g} to {high:.3g}"


def _encode(rows: NDArray[Any], out: Path, meta: dict[str, Any]) -> bytes:
    if out.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        return buffer.getvalue()
    return safetensors.numpy.save({FEATURES: rows}, {"clever": json.dumps(meta)})
