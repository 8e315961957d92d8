"""Seals: what a layer is, and the checksum of each of its files that no commit record covers.

A layer's ids, settings and calibration cannot be derived from anything else. Its seal is their
first copy, checked by its own checksum and written first; the Zarr arrays and attributes that
readers see are views of it and of the commit records, and can be written again from them. It lies
among the commit records: inside a folder of an array, where zarr-python looks at nothing but
chunks.
"""

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import google_crc32c

from ....errors import CleverError, StoreWarning
from ..files.remote import AnyPath, names_in
from ..layers import POINTS_ID, REGIONS, SWEEPS, TEACHERS, place
from ..layout import write_if_changed
from . import checked_json, schema1
from .models import (
    FORMAT,
    SCHEMA,
    SEALS,
    Content,
    ContentT,
    LayerContent,
    PointContent,
    RegionContent,
    Seal,
    Stamp,
    SweepContent,
    TeacherContent,
    parse,
)

METADATA = "zarr.json"
FAULTS = (ValueError, KeyError, TypeError, AttributeError, OSError)
"""What reading damaged or foreign JSON may end in."""


class SchemaError(CleverError):
    """The store is of another format or schema version."""


def seal_path(store: Path, layer: str) -> Path:
    """File of a layer's seal."""
    return store / place(layer).seal


def seal_of(
    layer: str, content: ContentT, shards: Sequence[int], views: Mapping[str, bytes]
) -> Seal[ContentT]:
    """The seal of a layer and its views."""
    files = {path: Stamp(len(data), google_crc32c.value(data)) for path, data in views.items()}
    return Seal(layer, content, tuple(shards), files)


def write_seal(store: Path, seal: Seal[Content]) -> None:
    """Write the seal of a layer whose views are about to be written."""
    data = checked_json.encode(SEALS[type(seal.content)].dump_json(seal))
    write_if_changed(seal_path(store, seal.layer), data)


def read_point_seal(store: AnyPath, allow_schema1: bool = False) -> tuple[Seal[PointContent], int]:
    """The seal of points and pairs, and the schema that it was written in.

    Args:
        allow_schema1: whether a store of schema 1 is read too, its values converted to this
            schema's.

    Raises:
        CleverError: missing or damaged seal, or another schema.
    """
    path = store / place(POINTS_ID).seal
    try:
        body = checked_json.decode(path.read_bytes())
        try:
            return parse(SEALS[PointContent], body), SCHEMA
        except ValueError:
            schema = schema1.schema_of(body)
            if schema != schema1.SCHEMA or not allow_schema1:
                check_schema(FORMAT, schema, str(store))
                raise
            return parse(SEALS[PointContent], schema1.point_seal(body)), schema1.SCHEMA
    except FAULTS as error:
        raise _damage_error(path, error) from error


def read_layer_seal(store: AnyPath, layer: str, schema: int = SCHEMA) -> Seal[LayerContent]:
    """The seal of a layer beside points and pairs, of a store of the given schema.

    Raises:
        CleverError: missing or damaged seal; the message names the file and the wrong field.
    """
    path = store / place(layer).seal
    try:
        body = checked_json.decode(path.read_bytes())
        if place(layer).is_regions:
            return parse(SEALS[RegionContent], body)
        if place(layer).is_sweeps:
            return parse(SEALS[SweepContent], body)
        body = schema1.teacher_seal(body) if schema == schema1.SCHEMA else body
        return parse(SEALS[TeacherContent], body)
    except FAULTS as error:
        raise _damage_error(path, error) from error


def read_seal(store: AnyPath, layer: str) -> Seal[Content]:
    """Any layer's seal, in this schema; see those above."""
    return read_point_seal(store)[0] if place(layer).is_points else read_layer_seal(store, layer)


def sealed_teachers(store: AnyPath) -> list[str]:
    """Ids of the teacher layers that have a seal, in order."""
    return _sealed(store, names_in(store / TEACHERS))


def sealed_regions(store: AnyPath) -> list[str]:
    """Ids of the layers of regions that have a seal, in order."""
    return _sealed(store, [f"{REGIONS}/{name}" for name in names_in(store / REGIONS)])


def sealed_sweeps(store: AnyPath) -> list[str]:
    """Ids of the layers of earlier sweeps that have a seal, in order."""
    return _sealed(store, [f"{SWEEPS}/{name}" for name in names_in(store / SWEEPS)])


def _sealed(store: AnyPath, layers: Sequence[str]) -> list[str]:
    return [layer for layer in layers if (store / place(layer).seal).exists()]


def unsealed_layers(store: AnyPath) -> list[str]:
    """Ids of layers that are there without a seal: their run has not ended, or it is lost."""
    return [
        layer
        for group in (TEACHERS, REGIONS, SWEEPS)
        for name in names_in(store / group)
        if (store / group / name / METADATA).exists()
        for layer in [name if group == TEACHERS else f"{group}/{name}"]
        if not (store / place(layer).seal).exists()
    ]


def foreign_names(store: AnyPath) -> list[str]:
    """What lies where layers do and is none: neither metadata nor a folder with a seal or the
    metadata of a group."""
    return [
        f"{group}/{name}"
        for group in (TEACHERS, REGIONS, SWEEPS)
        for name in names_in(store / group)
        if name != METADATA
        and not name.endswith(".part")
        and not (store / group / name / METADATA).exists()
        and not (store / place(name if group == TEACHERS else f"{group}/{name}").seal).exists()
    ]


def warn_of_foreign(store: AnyPath) -> None:
    """Warn of what lies where layers do and is none; nothing reads it."""
    names: list[str] = []
    with contextlib.suppress(OSError):  # who reads a place that does not answer says so
        names = foreign_names(store)
    if names:
        warnings.warn(
            f"{store}: {', '.join(names)} is no part of the store and is passed over; move it "
            "elsewhere",
            StoreWarning,
            stacklevel=1,
        )


def check_schema(kind: object, schema: object, path: str) -> None:
    """Raise SchemaError when a store is of another format or schema version."""
    if kind != FORMAT:
        raise SchemaError(
            f"{path} is a Zarr group but no feature cache; give the path of a `clever "
            "cache-teacher` store"
        )
    if schema == schema1.SCHEMA:
        raise SchemaError(
            f"{path} has cache schema 1, this clever reads schema {SCHEMA}; `clever cache copy "
            f"{path} NEW` makes a new one of it without running the teacher"
        )
    if schema != SCHEMA:
        raise SchemaError(
            f"{path} has cache schema {schema}, this clever reads schema {SCHEMA}; make the cache "
            "again or use the clever version that wrote it"
        )


def _damage_error(path: AnyPath, error: Exception) -> CleverError:
    if isinstance(error, FileNotFoundError):
        return CleverError(f"{path}: seal is missing; run `clever cache repair`")
    return CleverError(f"{path}: seal is damaged ({error}); run `clever cache repair`")
