"""Names of frames, scenes, cameras and classes: what one cannot hold, since tables, logs, lists of
frames and terminals would break on it; and how any text is shown on one line."""

import re

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, ends of lines and paragraphs, and what turns the direction of writing."""
_LONE = re.compile(r"[\ud800-\udfff]")
"""Halves of characters: bytes of file names that are no UTF-8."""


def name_fault(name: str) -> str:
    """Why a text can be no name of a frame, scene, camera or class; empty where it can."""
    if match := _BREAKS.search(name):
        kind = "a line break" if match[0] in "\n\r\x0b\x0c\x85\u2028\u2029" else "a control"
        return f"holds {kind} character ({match[0]!a})"
    return "is no UTF-8" if _LONE.search(name) else ""


def visible(text: str) -> str:
    """`text` on one line that any terminal shows as it is: whatever would break it is written
    out, such as ``\\n`` and ``\\x1b``."""
    escaped = _BREAKS.sub(lambda match: ascii(match[0])[1:-1], text)
    return _LONE.sub(lambda match: ascii(match[0])[1:-1], escaped)
