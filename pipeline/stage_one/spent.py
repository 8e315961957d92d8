"""How long stage one took for each layer of a store, over all its runs.

Kept beside the store, not in it: a store has the same bytes however often its making was
interrupted and however many workers made it. A copy of the store does not say.
"""

import json
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ...cache.store.files.lock import beside
from ...errors import CleverError
from ...files import atomic_write


class Spent(BaseModel):
    """What the runs of stage one took for a layer.

    Attributes:
        seconds: wall time, calibration included, loading the teacher not.
        frames: frames that they worked on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = 0.0
    frames: int = 0


_RECORDS = TypeAdapter(dict[str, Spent])


def note_spent(store: Path, layer: str, seconds: float, frames: int) -> None:
    """Add a run; a disk that is full costs the record alone."""
    records = _read(store)
    before = records.get(layer, Spent())
    records[layer] = Spent(seconds=before.seconds + seconds, frames=before.frames + frames)
    content = {name: record.model_dump() for name, record in records.items()}
    with suppress(CleverError):
        atomic_write(beside(store, "seconds.json"), json.dumps(content, indent=1) + "\n")


def time_spent(store: str | Path, layer: str) -> Spent | None:
    """What a layer took; None where that was not recorded, as of a copy or a remote store."""
    return None if "://" in str(store) else _read(Path(store)).get(layer)


def _read(store: Path) -> dict[str, Spent]:
    """Records by layer; a damaged one is none."""
    try:
        return _RECORDS.validate_json(beside(store, "seconds.json").read_bytes())
    except (OSError, ValidationError):
        return {}
