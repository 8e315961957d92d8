"""JSON that carries its own checksum and has one spelling, so that no changed byte goes unseen."""

import json
from typing import Any

import google_crc32c


def encode(body: dict[str, Any]) -> bytes:
    """`body` without white space, in its own key order, with the crc32c of these bytes as its last
    entry."""
    checksum = google_crc32c.value(_dump(body))
    return _dump({**body, "crc32c": checksum})


def decode(data: bytes) -> dict[str, Any]:
    """The inverse of `encode`.

    Another spelling of the same values (a longer number, an upper-case escape) is damage too: hence
    the comparison.

    Raises:
        ValueError: `data` is not byte for byte what `encode` writes.
    """
    body = json.loads(data)
    if not isinstance(body, dict) or "crc32c" not in body:
        raise ValueError("checksum is missing")
    del body["crc32c"]
    if encode(body) != data:
        raise ValueError("checksum differs")
    return body


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
