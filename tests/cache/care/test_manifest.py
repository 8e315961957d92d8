"""The manifest says what the commit records say."""

import json
from collections.abc import Callable
from typing import Any

import google_crc32c

from clever.cache.care.manifest import manifest
from clever.cache.store.files.shards import ShardFile
from clever.cache.store.store import Store

Writes = Callable[..., Any]


def test_manifest(write_store: Writes) -> None:
    sample = write_store([100, 50] * 10, failed=(1,), others=(("fp16", "hit"),))
    store = Store(sample.path)
    store.extend(["later"], ["another"])
    store.uncommit(sample.info.id, [1])
    header, *rows = [json.loads(json.dumps(entry)) for entry in manifest(sample.path)]
    other = next(info for info in store.teachers() if info.codec == "fp16")
    assert header["base"] == {
        "dataset": "made",
        "cameras": ["left", "right"],
        "min_depth_m": 1.0,
        "margin_px": 1.0,
        "occlusion": "none",
        "intensity_scale": None,
    }
    assert header["frames"] == len(rows) == 21
    assert header["layers"][sample.info.id]["sha256"] == sample.info.fingerprint.sha256
    assert [row["id"] for row in rows] == [*sample.frames, "later"]
    assert [row["row"] for row in rows] == [*range(20), 32]
    for row in rows[:20]:
        frame, pairs = sample.frames[row["id"]], sample.pairs[row["id"]]
        failed = row["row"] == 1
        assert row["scene"] == frame.scene
        assert row["timestamp"] == (None if failed else frame.timestamp)
        assert row["points"] == (None if failed else len(frame.points))
        assert row["pairs"] == (None if failed else len(pairs.point))
        assert set(row["layers"]) == {"points", sample.info.id, other.id}
        for layer in row["layers"].values():
            assert layer["shard"] == row["row"] // 16
        states = {name: layer["status"] for name, layer in row["layers"].items()}
        expected = "skipped" if failed else "stored"
        mine = "pending" if row["row"] >= 16 else expected
        assert states == {"points": expected, sample.info.id: mine, other.id: expected}
    assert rows[1]["layers"]["points"]["reason"] == "the image is damaged"
    assert set(rows[0]["layers"][other.id]["crc32c"]) == {"grid", "hit"}
    assert rows[20]["layers"]["points"] == {"status": "pending", "shard": 2}
    shard = ShardFile(sample.path / f"teachers/{sample.info.id}/grid/c/0/0/0/0/0", 16)
    (chunk,) = shard.chunks(3, 1)
    assert rows[3]["layers"][sample.info.id]["crc32c"] == {"grid": google_crc32c.value(chunk)}
