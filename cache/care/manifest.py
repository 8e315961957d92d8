"""A store's contents as JSON lines: what is in it, frame by frame, with checksums, for other
programs."""

from collections.abc import Iterator
from typing import Any

from ..store.contents import Contents
from ..store.files.remote import AnyPath
from ..store.layout import SHARD_ROWS
from ..store.records.commits import records_by_row
from ..store.records.models import FORMAT, SCHEMA, FrameRecord, as_json


def manifest(path: AnyPath) -> Iterator[dict[str, Any]]:
    """A header, then one entry a frame in row order, from the commit records alone.

    The header: format, schema, settings of points and pairs, number of frames, and of every layer
    its settings. A frame: id, scene, row, timestamp (microseconds), number of points and pairs
    (null until they are stored), and of every layer the status (``stored``, ``skipped`` with reason
    and time, ``pending``), the shard, and the crc32c of the stored bytes by array.

    Raises:
        CleverError: no store at `path`, or a damaged record.
    """
    store = Contents(path)
    layers = {layer.id: records_by_row(store.commits(layer.id)) for layer in store.layers()}
    yield {
        "format": f"{FORMAT}-manifest",
        "schema": SCHEMA,
        "base": as_json(store.base),
        "frames": sum(1 for frame in store.ids if frame),
        "layers": {
            info.id: {**info.fingerprint.values(), "sha256": info.fingerprint.sha256}
            for info in store.teachers()
        },
    }
    for row, (frame, scene) in enumerate(zip(store.ids, store.scenes, strict=True)):
        if not frame:
            continue
        record = layers[store.points.id].get(row)
        point_record = record if record and not record.reason else None
        yield {
            "id": frame,
            "scene": scene,
            "row": row,
            "timestamp": point_record.timestamp if point_record else None,
            "points": point_record.points if point_record else None,
            "pairs": point_record.pairs if point_record else None,
            "layers": {name: _entry(records.get(row), row) for name, records in layers.items()},
        }


def _entry(record: FrameRecord | None, row: int) -> dict[str, Any]:
    if record is None:
        return {"status": "pending", "shard": row // SHARD_ROWS}
    if record.reason:
        return {
            "status": "skipped",
            "shard": row // SHARD_ROWS,
            "reason": record.reason,
            "time": record.time,
        }
    return {"status": "stored", "shard": row // SHARD_ROWS, "crc32c": record.checksums}
