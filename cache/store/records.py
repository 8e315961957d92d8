"""Commit records: a shard counts only once its record, written after its data is durable, says
so."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CleverError
from ...files import atomic_write
from ..codec import Fidelity
from . import checked_json
from .layout import commit_folder


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What one row of a shard holds.

    Attributes:
        row: row of the store.
        id: frame id.
        reason: why the frame was skipped; empty when it is stored.
        time: when it was skipped, ISO 8601, UTC; empty when it is stored.
        checksums: crc32c of the frame's stored bytes by array.
        points: number of points (base layer), else 0.
        timestamp: microseconds (base layer), else 0.
        pose: global <- lidar, 16 float64 row by row (base layer), else empty.
        offsets: CSR offsets of the pairs over the cameras (base layer), else empty.
        image_size: (width, height) a camera (base layer), else empty.
    """

    row: int
    id: str
    reason: str = ""
    time: str = ""
    checksums: dict[str, int] = field(default_factory=dict)
    points: int = 0
    timestamp: int = 0
    pose: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    image_size: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed shard of one layer.

    Attributes:
        layer: ``points`` or a teacher id.
        shard: number of the shard.
        files: size and crc32c of every data file, by path inside the store.
        frames: one record a used row.
        fidelity: fields of `codec.Fidelity` over the shard's tokens (teacher layers), else empty.
    """

    layer: str
    shard: int
    files: dict[str, dict[str, int]]
    frames: list[FrameRecord]
    fidelity: dict[str, Any] = field(default_factory=dict)


def commit_path(store: Path, layer: str, shard: int) -> Path:
    """File of a commit record."""
    return commit_folder(store, layer) / f"{shard:06}.json"


def write_commit(store: Path, commit: Commit) -> None:
    """Make a shard count: atomic, durable, with a checksum over the record itself."""
    atomic_write(
        commit_path(store, commit.layer, commit.shard), checked_json.encode(asdict(commit))
    )


def read_commit(store: Path, layer: str, shard: int) -> Commit:
    """Read one record.

    Raises:
        CleverError: missing or damaged record.
    """
    path = commit_path(store, layer, shard)
    try:
        return parse_commit(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise CleverError(
            f"{path}: commit record is missing; run cache-teacher again to redo the shard"
        ) from error


def parse_commit(data: bytes, name: str) -> Commit:
    """Commit record from its bytes; raises CleverError naming `name` when it is damaged."""
    try:
        body = checked_json.decode(data)
        return Commit(**{**body, "frames": [FrameRecord(**frame) for frame in body["frames"]]})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CleverError(
            f"{name}: commit record is damaged ({error}); run `clever cache repair`"
        ) from error


def committed_shards(store: Path, layer: str) -> list[int]:
    """Numbers of the committed shards of a layer, ascending."""
    folder = commit_folder(store, layer)
    if not folder.is_dir():
        return []
    return sorted(
        int(path.stem)
        for path in folder.iterdir()
        if path.suffix == ".json" and path.stem.isdigit()
    )


def records_by_row(commits: Iterable[Commit]) -> dict[int, FrameRecord]:
    """Frame records of several shards by row."""
    return {record.row: record for commit in commits for record in commit.frames}


def total_fidelity(commits: Iterable[Commit]) -> Fidelity:
    """The fidelity of all tokens of several teacher shards."""
    measured = [commit.fidelity for commit in commits if commit.fidelity]
    parts = [Fidelity(**{**values, "histogram": tuple(values["histogram"])}) for values in measured]
    return sum(parts, Fidelity.none())
