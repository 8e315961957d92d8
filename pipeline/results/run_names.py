"""Names by which runs of a table are known: digests, and folders."""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

from ..settings.shared.base import JobSettings

LONGEST = 60
"""Characters of a row's name in its folders' names."""
LENGTH = 8
"""Hexadecimal digits of a digest in names of folders."""


def digest(*parts: Any) -> str:
    """First digits of the sha256 of plain values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def changed_values(settings: JobSettings, ignore: Collection[str]) -> dict[str, Any]:
    """Settings that are not their class's defaults, as JSON values: a setting that is added later
    changes no digest."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    return {name: value for name, value in values.items() if name not in ignore}


def folder_name(name: str) -> str:
    """A row's name as part of a folder's: letters and digits of ASCII, ``=._-``; a hyphen for
    anything else."""
    return re.sub(r"[^A-Za-z0-9=._]+", "-", name)[:LONGEST].strip("-.") or "row"
