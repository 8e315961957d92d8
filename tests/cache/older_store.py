"""Rewrites the JSON of a store as schema 1 had it."""

import json
from pathlib import Path
from typing import Any

from clever.cache.store.records import checked_json


def to_schema1(store: Path, occlusion: str = "none") -> None:
    """Turn a store of schema 2 into one of schema 1, in place; the shards stay as they are."""
    for file in store.rglob("commits/*.json"):
        record: dict[str, Any] = json.loads(checked_json.decode(file.read_bytes()))
        content = record.get("content", {})
        if "base" in content:
            content["schema"] = 1
            content["base"]["occlusion"] = occlusion
        elif "info" in content:
            content["info"]["request"] = content["info"]["request"] or {}
        else:
            record["fidelity"] = record["fidelity"] or {}
            for frame in record["frames"]:
                del frame["split"]
        file.write_bytes(checked_json.encode(json.dumps(record, separators=(",", ":")).encode()))
    root = json.loads((store / "zarr.json").read_bytes())
    root["attributes"]["schema"] = 1
    (store / "zarr.json").write_text(json.dumps(root))
