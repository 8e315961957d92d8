"""Which rows of a store a choice of frames means, so that nuScenes' tables need not be read to find
nothing to do.

Kept beside the store, not in it: data root and file times belong to this machine.
"""

import hashlib
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from ...cache.store.store import Store
from ...errors import CleverError
from ...files import atomic_write
from ..datasets.nuscenes import NuScenesDataset, find_version

CHOICES = 32
"""How many are remembered, the latest ones."""


def choice_key(
    dataset: str,
    root: Path | None,
    version: str | None,
    split: str,
    sequences: tuple[str, ...] | None,
    limit: int | None,
    cameras: tuple[str, ...] | None = None,
    options: tuple[str, ...] | None = None,
) -> str | None:
    """Name of a choice of frames that changes whenever the tables do; None for a dataset that is
    quick to open."""
    if dataset != NuScenesDataset.name or root is None:
        return None
    try:
        folder = root.absolute() / (version or find_version(root))
        tables = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(folder.glob("*.json"))
        ]
    except (OSError, CleverError):
        return None
    choice = [dataset, str(folder), split, sequences, limit, tables, cameras, options]
    return hashlib.sha256(json.dumps(choice).encode()).hexdigest()


def remember_rows(store: Store, key: str | None, rows: list[int]) -> None:
    """Note the rows of a choice."""
    if key is None:
        return
    runs = [list(group) for _, group in groupby(enumerate(rows), lambda pair: pair[1] - pair[0])]
    entry = {"runs": [[run[0][1], run[-1][1] + 1] for run in runs], "ids": _digest(store, rows)}
    entries = {name: value for name, value in _read(store.path).items() if name != key}
    atomic_write(_path(store.path), json.dumps(dict([*entries.items(), (key, entry)][-CHOICES:])))


def recall_rows(store: Store, key: str | None) -> list[int] | None:
    """The rows of a choice; None when it was not noted, or of another store."""
    entry = _read(store.path).get(key) if key else None
    if entry is None:
        return None
    rows = [row for start, stop in entry["runs"] for row in range(start, stop)]
    same = all(row < len(store.ids) for row in rows) and _digest(store, rows) == entry["ids"]
    return rows if same else None


def forget_choices(store: Path) -> None:
    """Remove what was noted of a store that is no more."""
    _path(store).unlink(missing_ok=True)


def _path(store: Path) -> Path:
    return store.with_name(f".{store.name}.choices.json")


def _digest(store: Store, rows: list[int]) -> str:
    return hashlib.sha256("\n".join(store.ids[row] for row in rows).encode()).hexdigest()


def _read(store: Path) -> dict[str, Any]:
    """What was noted; a damaged note is none."""
    try:
        entries = json.loads(_path(store).read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
