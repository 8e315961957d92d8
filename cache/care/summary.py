"""What a store holds, for people and for scripts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ... import __version__
from ..fidelity import Fidelity
from ..moments import Moments
from ..store.contents import Contents
from ..store.files.remote import AnyPath, files_below
from ..store.layers import Layer
from ..store.point_statistics import is_dark, total_intensity
from ..store.records.commits import layer_moments, total_fidelity
from ..store.records.models import (
    SCHEMA,
    Commit,
    FrameRecord,
    IntensityStatistics,
    PointSettings,
    RegionInfo,
    SweepInfo,
    TeacherInfo,
    as_json,
)


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """Points and pairs, or one teacher's grid.

    Attributes:
        stored, failed, pending: frames.
        shards: committed shards.
        bytes: size on disk.
    """

    stored: int
    failed: int
    pending: int
    shards: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TeacherSummary:
    """One teacher layer, how faithful its stored features are to the float32 originals, and mean
    and deviation of its channels where the store knows them."""

    info: TeacherInfo
    layer: LayerSummary
    fidelity: Fidelity
    moments: Moments | None = None


@dataclass(frozen=True, slots=True)
class RegionSummary:
    """One layer of regions."""

    info: RegionInfo
    layer: LayerSummary


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """One layer of earlier sweeps and its points."""

    info: SweepInfo
    layer: LayerSummary
    points: int


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """A store: its base settings, layers and skipped frames.

    Attributes:
        base: dataset, cameras, visibility rule.
        frames: rows that hold a frame or are meant to.
        points, pairs: totals over the stored frames.
        intensity: over the points of all stored frames; None where the records do not say.
        dark: stored frames whose brightest point is below `point_statistics.DARK` of full
            intensity.
        failures: (frame id, reason, time) of every skipped frame, by layer.
    """

    path: AnyPath
    base: PointSettings
    frames: int
    scenes: int
    points: int
    pairs: int
    intensity: IntensityStatistics | None
    dark: int
    base_layer: LayerSummary
    teachers: list[TeacherSummary]
    failures: dict[str, list[FrameRecord]]
    regions: list[RegionSummary]
    sweeps: list[SweepSummary]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        teachers = [
            {
                **as_json(teacher.info),
                "sha256": teacher.info.fingerprint.sha256,
                **asdict(teacher.layer),
                "fidelity": teacher.fidelity.to_json(),
                "dominance": teacher.moments and teacher.moments.dominance,
            }
            for teacher in self.teachers
        ]
        regions = [{**as_json(part.info), **asdict(part.layer)} for part in self.regions]
        failures = {
            layer: [
                {"id": record.id, "reason": record.reason, "time": record.time}
                for record in records
            ]
            for layer, records in self.failures.items()
        }
        return {
            "path": str(self.path),
            "schema": SCHEMA,
            "clever": __version__,
            "base": as_json(self.base),
            "frames": self.frames,
            "scenes": self.scenes,
            "points": self.points,
            "pairs": self.pairs,
            "intensity": self.intensity and {**as_json(self.intensity), "dark_frames": self.dark},
            "base_layer": asdict(self.base_layer),
            "teachers": teachers,
            "regions": regions,
            "sweeps": [
                {**as_json(part.info), **asdict(part.layer), "points": part.points}
                for part in self.sweeps
            ],
            "failures": failures,
        }


def summarise(path: AnyPath) -> StoreSummary:
    """Read what a store holds from its commit records.

    Raises:
        CleverError: no store at `path`, or a damaged record.
    """
    store, files = Contents(path), files_below(path)
    frames = sum(1 for frame in store.ids if frame)
    scenes = {scene for frame, scene in zip(store.ids, store.scenes, strict=True) if frame}
    commits = {layer.id: store.commits(layer.id) for layer in store.layers()}
    records = {
        layer: [record for commit in parts for record in commit.frames]
        for layer, parts in commits.items()
    }
    stored_records = [record for record in records[store.points.id] if not record.reason]
    return StoreSummary(
        path,
        store.base,
        frames,
        len(scenes),
        sum(record.points for record in stored_records),
        sum(record.pairs for record in stored_records),
        total_intensity(stored_records),
        sum(is_dark(record.intensity.highest) for record in stored_records if record.intensity),
        _layer(files, store.points, commits[store.points.id], frames),
        [
            TeacherSummary(
                info,
                _layer(files, store.teacher_layer(info.id), commits[info.id], frames),
                total_fidelity(commits[info.id]),
                layer_moments(store.teacher_content(info.id), commits[info.id]),
            )
            for info in store.teachers()
        ],
        {layer: [record for record in parts if record.reason] for layer, parts in records.items()},
        [
            RegionSummary(
                info, _layer(files, store.region_layer(info.id), commits[info.id], frames)
            )
            for info in store.regions()
        ],
        [
            SweepSummary(
                info,
                _layer(files, store.sweep_layer(info.id), commits[info.id], frames),
                sum(record.points for record in records[info.id]),
            )
            for info in store.sweeps()
        ],
    )


def _layer(
    files: Mapping[str, int], layer: Layer, commits: list[Commit], frames: int
) -> LayerSummary:
    records = [record for commit in commits for record in commit.frames]
    failures = sum(1 for record in records if record.reason)
    folders = tuple(f"{folder}/" for folder in layer.folders)
    size = sum(size for name, size in files.items() if name.startswith(folders))
    return LayerSummary(
        len(records) - failures, failures, frames - len(records), len(commits), size
    )
