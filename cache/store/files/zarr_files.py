"""The store's Zarr metadata and small arrays, made and read by zarr-python.

The dimensions of every array have names; in a group the same name always has the same length, so
that xarray opens each group as it is.

A job asks for the same files again and again, whenever it compares a store with what it should be,
and zarr takes milliseconds for each: small ones are remembered.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.storage import MemoryStore

from ....errors import CleverError
from ...choices import compressor
from ..layout import SHARD_ROWS, BlockArray
from .remote import AnyPath

REMEMBERED = 256
"""Files of each kind that are remembered."""
SMALL = 1 << 15
"""Bytes of an array whose files are remembered."""


@lru_cache(maxsize=REMEMBERED)
def block_metadata(array: BlockArray, rows: int, columns: int = 1) -> bytes:
    """The ``zarr.json`` of a sharded array, as zarr itself writes it, with `rows` rows and
    `columns` shards along the second axis."""
    files: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(files),
        shape=(rows, columns * array.capacity, *array.entry),
        chunks=(1, array.block, *array.entry),
        shards=(SHARD_ROWS, array.capacity, *array.entry),
        dtype=array.dtype,
        compressors=compressor(array.codec),
        fill_value=0,
        dimension_names=("frame", *array.dims),
    )
    return files["zarr.json"].to_bytes()


def group_metadata(attributes: dict[str, Any]) -> bytes:
    """The ``zarr.json`` of a group with attributes, as zarr itself writes it."""
    return _group_metadata(json.dumps(attributes))


@lru_cache(maxsize=REMEMBERED)
def _group_metadata(attributes: str) -> bytes:
    files: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(files), attributes=json.loads(attributes))
    return files["zarr.json"].to_bytes()


def array_files(
    path: str, values: np.ndarray, chunk_rows: int, dims: tuple[str, ...], compress: bool = True
) -> dict[str, bytes]:
    """Files of a small array by their path inside the store: its chunks first, its metadata last.

    Chunk boundaries never move when rows are appended, so a crash between two writes leaves the old
    array readable. Compressed chunks carry zstd's own checksum.

    Args:
        path: of the array inside the store.
        values: of any shape; the first axis is chunked.
        chunk_rows: rows in a chunk.
        dims: names of the dimensions.
    """
    if values.nbytes > SMALL:
        files = _array_files(values, chunk_rows, dims, compress)
    else:
        kind = (values.tobytes(), values.dtype.str, values.shape)
        files = _small_array_files(*kind, chunk_rows, dims, compress)
    return {f"{path}/{key}": data for key, data in files.items()}


@lru_cache(maxsize=REMEMBERED)
def _small_array_files(
    data: bytes, dtype: str, shape: tuple[int, ...], *rest: Any
) -> dict[str, bytes]:
    return _array_files(np.frombuffer(data, dtype).reshape(shape), *rest)


def _array_files(
    values: np.ndarray, chunk_rows: int, dims: tuple[str, ...], compress: bool
) -> dict[str, bytes]:
    """`array_files` by their path inside the array."""
    files: dict[str, Buffer] = {}
    array = zarr.create_array(
        MemoryStore(files),
        shape=values.shape,
        chunks=(chunk_rows, *values.shape[1:]),
        dtype=values.dtype,
        compressors={"name": "zstd", "configuration": {"level": 0, "checksum": True}}
        if compress
        else None,
        fill_value=0,
        config={"write_empty_chunks": True},
        dimension_names=dims,
    )
    array[...] = values
    keys = sorted(files, key=lambda name: name == "zarr.json")
    return {key: files[key].to_bytes() for key in keys}


def read_array(folder: AnyPath) -> np.ndarray:
    """A small array of any shape, read whole; raises CleverError where it is damaged."""
    try:
        return np.asarray(zarr.open_array(str(folder), mode="r")[...])
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # the last one is zstd's
        raise CleverError(
            f"{folder} cannot be read ({error}); run `clever cache verify`"
        ) from error
