"""Schema 1 read as schema 2, for copies: the bytes of the shards are the same, the JSON says a
little less.

Schema 1 called the occlusion test of neighbours ``zbuffer``, left out what had not been asked for
(settings, request, fidelity) as an empty object, and named no dimensions.
"""

import json
from typing import Any

SCHEMA = 1


def schema_of(body: bytes) -> object:
    """The schema that the JSON of a seal of points and pairs says it has; None where it says
    none."""
    content = json.loads(body).get("content")
    return content.get("schema") if isinstance(content, dict) else None


def point_seal(body: bytes) -> bytes:
    """The seal of points and pairs."""
    seal: dict[str, Any] = json.loads(body)
    seal["content"]["schema"] = 2
    base = seal["content"]["base"]
    if base.get("occlusion") == "zbuffer":
        base["occlusion"] = "parallax"
    return json.dumps(seal).encode()


def teacher_seal(body: bytes) -> bytes:
    """The seal of a teacher layer."""
    seal: dict[str, Any] = json.loads(body)
    info = seal["content"]["info"]
    info["request"] = info.get("request") or None
    return json.dumps(seal).encode()


def commit(body: bytes) -> bytes:
    """A commit record."""
    record: dict[str, Any] = json.loads(body)
    record["fidelity"] = record["fidelity"] or None
    return json.dumps(record).encode()
