"""Seals: what a layer is, and the checksum of each of its files that no commit record covers.

A layer's ids, settings and calibration cannot be derived from anything else. Its seal is their
first copy, checked by its own checksum and written first; the Zarr arrays and attributes that
readers see are views of it and of the commit records, and can be written again from them. It lies
among the commit records: inside a folder of an array, where zarr-python looks at nothing but
chunks.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from ...errors import CleverError
from . import checked_json
from .layout import commit_folder, write_if_changed


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of one layer.

    Attributes:
        layer: ``points`` or a teacher id.
        content: what the layer is; JSON values (see `store.Store`).
        shards: the committed shards when the views were written.
        files: size and crc32c of every view, by path inside the store.
    """

    layer: str
    content: dict[str, Any]
    shards: list[int]
    files: dict[str, dict[str, int]]


def seal_path(store: Path, layer: str) -> Path:
    """File of a layer's seal."""
    return commit_folder(store, layer) / "seal.json"


def write_seal(
    store: Path, layer: str, content: dict[str, Any], shards: list[int], views: dict[str, bytes]
) -> None:
    """Seal a layer and the views that are about to be written."""
    files = {
        path: {"bytes": len(data), "crc32c": google_crc32c.value(data)}
        for path, data in views.items()
    }
    write_if_changed(
        seal_path(store, layer), checked_json.encode(asdict(Seal(layer, content, shards, files)))
    )


def read_seal(store: Path, layer: str) -> Seal:
    """Read one seal.

    Raises:
        CleverError: missing or damaged seal.
    """
    path = seal_path(store, layer)
    try:
        return Seal(**checked_json.decode(path.read_bytes()))
    except FileNotFoundError as error:
        raise CleverError(f"{path}: seal is missing; run `clever cache repair`") from error
    except (ValueError, TypeError, OSError) as error:
        raise CleverError(
            f"{path}: seal is damaged ({error}); run `clever cache repair`"
        ) from error


def sealed_teachers(store: Path) -> list[str]:
    """Ids of the teacher layers that have a seal, in order."""
    return sorted(path.parents[2].name for path in store.glob("teachers/*/grid/commits/seal.json"))
