"""What a local store holds, for people and for scripts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from ..codec import Fidelity
from ..store import layout
from ..store.layers import TeacherInfo, fingerprint_hash
from ..store.layout import BLOCK_ARRAYS
from ..store.records import FrameRecord, total_fidelity
from ..store.store import Store


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
    """One teacher layer and how faithful its stored features are to the float32 originals."""

    info: TeacherInfo
    layer: LayerSummary
    fidelity: Fidelity


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """A store: its base settings, layers and skipped frames.

    Attributes:
        base: dataset, cameras, visibility rule.
        frames: rows that hold a frame or are meant to.
        points, pairs: totals over the stored frames.
        failures: (frame id, reason, time) of every skipped frame, by layer.
    """

    path: Path
    base: dict[str, Any]
    frames: int
    scenes: int
    points: int
    pairs: int
    base_layer: LayerSummary
    teachers: list[TeacherSummary]
    failures: dict[str, list[FrameRecord]]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        teachers = [
            {
                **asdict(teacher.info),
                "sha256": fingerprint_hash(teacher.info.fingerprint),
                **asdict(teacher.layer),
                "fidelity": {
                    "tokens": teacher.fidelity.tokens,
                    "cosine_mean": teacher.fidelity.mean,
                    "cosine_percentile1": teacher.fidelity.percentile1,
                    "cosine_min": teacher.fidelity.cosine_min,
                    "clip_rate": teacher.fidelity.clip_rate,
                },
            }
            for teacher in self.teachers
        ]
        failures = {
            layer: [
                {"id": record.id, "reason": record.reason, "time": record.time}
                for record in records
            ]
            for layer, records in self.failures.items()
        }
        return {
            "path": str(self.path),
            "schema": layout.SCHEMA,
            "clever": __version__,
            "base": self.base,
            "frames": self.frames,
            "scenes": self.scenes,
            "points": self.points,
            "pairs": self.pairs,
            "base_layer": asdict(self.base_layer),
            "teachers": teachers,
            "failures": failures,
        }


def summarise(path: Path) -> StoreSummary:
    """Read what a local store holds from its commit records.

    Raises:
        CleverError: no store at `path`, or a damaged record.
    """
    store = Store(path)
    used = [frame for frame in store.ids if frame]
    scenes = {scene for frame, scene in zip(store.ids, store.scenes, strict=True) if frame}
    base_layer, base_records = _layer(
        store, "points", [path / array.path for array in BLOCK_ARRAYS]
    )
    good = [record for record in base_records if not record.reason]
    failures = {"points": [record for record in base_records if record.reason]}
    teachers = []
    for info in store.teachers():
        layer, records = _layer(store, info.id, [path / "teachers" / info.id])
        teachers.append(TeacherSummary(info, layer, total_fidelity(store.commits(info.id))))
        failures[info.id] = [record for record in records if record.reason]
    return StoreSummary(
        path,
        store.base,
        len(used),
        len(scenes),
        sum(record.points for record in good),
        sum(record.offsets[-1] for record in good),
        base_layer,
        teachers,
        failures,
    )


def _layer(store: Store, name: str, folders: list[Path]) -> tuple[LayerSummary, list[FrameRecord]]:
    commits = store.commits(name)
    records = [record for commit in commits for record in commit.frames]
    failed = sum(1 for record in records if record.reason)
    size = sum(
        file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()
    )
    frames = sum(1 for frame in store.ids if frame)
    return LayerSummary(
        len(records) - failed, failed, frames - len(records), len(commits), size
    ), records
