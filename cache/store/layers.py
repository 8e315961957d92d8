"""Teacher layers: what each one is and which arrays it has."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import layout
from .layout import BLOCK_ARRAYS, BlockArray

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TeacherInfo:
    """One teacher layer.

    Attributes:
        id: alias and short fingerprint, e.g. ``vitb14-224x448-3f2a``.
        alias: model and image size.
        description: where the weights come from, in words.
        grid: tokens down and across.
        channels: feature width.
        codec: one of `codec.CODECS`.
        tokens: ``grid`` (every token) or ``hit`` (those within reach of a point).
        fingerprint: every setting that changes a feature, in clear.
        request: settings that build this teacher again (`teacher.TeacherSettings`); empty where
            that is not possible.
    """

    id: str
    alias: str
    description: str
    grid: tuple[int, int]
    channels: int
    codec: str
    tokens: str
    fingerprint: Json
    request: Json = field(default_factory=dict)

    @property
    def reencoded_from(self) -> list[str]:
        """The codecs that the features went through before, first one first; empty for a teacher's
        own output."""
        return self.fingerprint.get("reencoded_from", [])


def fingerprint_hash(fingerprint: Json) -> str:
    """sha256 of the canonical JSON of a fingerprint."""
    return hashlib.sha256(
        json.dumps(fingerprint, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def differences(stored: Json, wanted: Json) -> str:
    """The fields in which two settings differ, with both values, on one line."""
    keys = sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key))
    return "; ".join(
        f"{key}: stored {stored.get(key)!r}, wanted {wanted.get(key)!r}" for key in keys
    )


def teacher_info(layer: str, attributes: Json) -> TeacherInfo:
    """Layer description from the attributes of its group or from its seal."""
    values = {
        name: attributes[name] for name in TeacherInfo.__dataclass_fields__ if name in attributes
    }
    height, width = values["grid"]
    return TeacherInfo(**{**values, "id": layer, "grid": (height, width)})


def teacher_arrays(info: TeacherInfo, cameras: int) -> list[BlockArray]:
    """The sharded arrays of a teacher layer: the tokens and, for ``hit`` layers, which ones are
    stored."""
    grid = (cameras, *info.grid, info.channels)
    tokens = layout.grid_array(info.id, grid, info.codec, info.tokens)
    return [tokens] if info.tokens == "grid" else [tokens, layout.hit_array(info.id, grid)]


def layer_arrays(info: TeacherInfo | None, cameras: int) -> Sequence[BlockArray]:
    """The sharded arrays of a teacher layer, or of points and pairs where `info` is None."""
    return teacher_arrays(info, cameras) if info else BLOCK_ARRAYS
