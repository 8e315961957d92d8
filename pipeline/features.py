"""A student's feature for every point of bare LiDAR files."""

import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import WEIGHTS, load_student, read_meta, weights_digest
from ..student.points import PointBatch
from ..student.student import Student
from ..words import quantity
from .outputs.each_input import Outputs, make_each, open_folder, output_of_each, read_file
from .process.device import choose_device
from .results.run_folder import notice, warn_unfinished
from .results.sources import Source
from .settings.features import FeaturesSettings

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
        return (
            f"{self.source}: {quantity(self.points, 'point')}, {self.intensity} -> "
            f"{self.out} ({shape})"
        )


def features(settings: FeaturesSettings) -> Outputs[Path, FeatureFile]:
    """Write a feature for every point of every file.

    A folder holds the outputs of one set of settings. There an output whose file and weights have
    not changed stays, so that the same command goes on where it was stopped; a file that cannot be
    used is reported and left out. A single output must not exist.

    Raises:
        CleverError: no files, no checkpoint, an output that exists or belongs to other settings,
            two files that would get the same output, or no usable file.
    """
    formats = ("safetensors", "npy")
    targets = output_of_each(settings.points, settings.out, formats, settings.output_format)
    warn_unfinished(settings.checkpoint)
    student = load_student(settings.checkpoint).to(choose_device(settings.device))
    if student.intensities:
        norm = student.intensities[0]
        notice(f"the student standardises intensities by the statistics of {norm.dataset}")
    write = partial(_write, student, read_meta(settings.checkpoint / WEIGHTS), settings=settings)
    if settings.out in targets.values():
        return make_each(
            "features", "files", list(targets), lambda path: write(path, targets[path])
        )
    weights = weights_digest(settings.checkpoint)
    sources = open_folder(settings.out, settings, frozenset({"points"}))

    def make(path: Path) -> FeatureFile | None:
        out = targets[path]
        if sources.current(out, path, weights):
            return None
        read_from = Source.of(path, weights)
        file = write(path, out)
        sources.note(out, read_from)
        return file

    return make_each("features", "files", list(targets), make)


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


def _write(
    student: Student, described: dict[str, Any], source: Path, out: Path, settings: FeaturesSettings
) -> FeatureFile:
    file = read_file(source, settings, "their features are NaN")
    try:
        rows = point_features(student, file.points)
    except CleverError as error:
        raise CleverError(f"{source}: {error}") from error
    with np.errstate(over="ignore"):
        rows = rows.astype(settings.dtype)
    if np.isinf(rows).any():
        raise CleverError(f"{source}: features are too large for float16; use `dtype=float32`")
    meta = {
        "source": str(source),
        "read": file.words,
        "settings": settings.model_dump(mode="json", exclude={"points", "out", "device"}),
        "student": described,
    }
    atomic_write(out, _encode(rows, out, meta))
    return FeatureFile(source, out, len(rows), student.out_channels, file.words)


def _encode(rows: NDArray[Any], out: Path, meta: dict[str, Any]) -> bytes:
    if out.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        return buffer.getvalue()
    return safetensors.numpy.save({FEATURES: rows}, {"clever": json.dumps(meta)})
