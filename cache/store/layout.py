"""The store's layout: which arrays there are, their shapes and shards, and the schema version.

    run.zarr/
      frames/     one row a frame: id, scene, timestamp, pose, number of points, pair offsets, image
      sizes, status points/     xyzi (rows, capacity, 4) float32
      pairs/      point (rows, capacity) uint32, uv (rows, capacity, 2) uint16
      teachers/<id>/grid (rows, cameras, h, w, channels), centre, step

A row's points and pairs fill whole blocks; the rest of a row was never written and costs nothing.
A shard file holds `SHARD_ROWS` rows; commit records and the layer's seal lie beside the shards, in
``<array>/commits``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from ...errors import CleverError
from ...files import atomic_write
from ..codec import compressor, stored_dtype

FORMAT = "clever-feature-cache"
SCHEMA = 1
SHARD_ROWS = 16
BLOCK = 4096
SHARD_BLOCKS = 64
HIT_BLOCK = 64
"""Tokens in a block of a ``hit`` layer."""
TEXT_BYTES = 64
UV_LEVELS = 65536
BASE = "points/xyzi"
"""The array whose folder holds the commit records of points and pairs."""
OK, FAILED, PENDING = 1, 2, 0
"""Values of ``frames/status``."""


@dataclass(frozen=True, slots=True)
class BlockArray:
    """A ragged array of the store: rows of any length, in blocks of entries; a block is one inner
    chunk.

    Attributes:
        path: array path inside the store.
        dtype: NumPy dtype, little-endian.
        entry: shape of one entry.
        codec: how blocks are compressed, see `codec.pack`.
        block: entries in a block.
        blocks: blocks of a row in one shard; longer rows continue in the next shard along the
            second axis.
    """

    path: str
    dtype: str
    entry: tuple[int, ...]
    codec: str = ""
    block: int = BLOCK
    blocks: int = SHARD_BLOCKS

    @property
    def inner_chunks(self) -> int:
        """Inner chunks of one shard."""
        return SHARD_ROWS * self.blocks

    @property
    def capacity(self) -> int:
        """Entries of a row in one shard."""
        return self.block * self.blocks

    @property
    def block_bytes(self) -> int:
        """Bytes of one block before compression."""
        return self.block * math.prod(self.entry) * np.dtype(self.dtype).itemsize

    def metadata(self, rows: int, columns: int = 1) -> bytes:
        """The ``zarr.json`` of the array with `rows` rows and `columns` shards along the second
        axis."""
        shape, chunks = (rows, columns * self.capacity, *self.entry), (1, self.block, *self.entry)
        shards = (SHARD_ROWS, self.capacity, *self.entry)
        return array_metadata(shape, chunks, shards, self.dtype, compressor(self.codec))

    def key(self, shard: int, column: int) -> str:
        """File of a shard inside the store; `column` counts shards along the second axis."""
        return f"{self.path}/c/{shard}/{column}" + "/0" * len(self.entry)


POINTS = BlockArray(BASE, "<f4", (4,))
PAIR_POINT = BlockArray("pairs/point", "<u4", ())
PAIR_UV = BlockArray("pairs/uv", "<u2", (2,))
BLOCK_ARRAYS = (POINTS, PAIR_POINT, PAIR_UV)


def grid_array(
    teacher: str, grid: tuple[int, int, int, int], codec: str, tokens: str
) -> BlockArray:
    """The token array of a teacher layer.

    Args:
        grid: cameras, h, w, channels.
        tokens: ``grid`` stores every token, (rows, cameras, h, w, channels), a frame in one block;
            ``hit`` stores the tokens within reach of a point, (rows, capacity, channels), in the
            order of `hit_array`'s ones.
    """
    path, dtype = f"teachers/{teacher}/grid", stored_dtype(codec)
    if tokens == "grid":
        return BlockArray(path, dtype, grid[1:], codec, grid[0], 1)
    blocks = -(-math.prod(grid[:3]) // HIT_BLOCK)
    return BlockArray(path, dtype, grid[3:], codec, HIT_BLOCK, blocks)


def hit_array(teacher: str, grid: tuple[int, int, int, int]) -> BlockArray:
    """(rows, cameras, h, w) uint8 of a ``hit`` layer: 1 where the token is stored."""
    return BlockArray(f"teachers/{teacher}/hit", "u1", grid[1:3], "", grid[0], 1)


def commit_folder(store: Path, layer: str) -> Path:
    """Folder of a layer's commit records; `layer` is ``points`` or a teacher id."""
    array = BASE if layer == "points" else f"teachers/{layer}/grid"
    return store / array / "commits"


def array_metadata(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
    dtype: str,
    compressors: Any = None,
) -> bytes:
    """The ``zarr.json`` of a sharded array, as zarr itself writes it."""
    memory = MemoryStore()
    zarr.create_array(
        memory,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=dtype,
        compressors=compressors,
        fill_value=0,
    )
    return memory._store_dict["zarr.json"].to_bytes()


def group_metadata(attributes: dict[str, Any]) -> bytes:
    """The ``zarr.json`` of a group with attributes, as zarr itself writes it."""
    memory = MemoryStore()
    zarr.create_group(memory, attributes=attributes)
    return memory._store_dict["zarr.json"].to_bytes()


def write_if_changed(path: Path, data: bytes) -> None:
    """Write `data` atomically unless the file already holds it."""
    if not (path.is_file() and path.read_bytes() == data):
        atomic_write(path, data)


def array_files(
    path: str, values: np.ndarray, chunk_rows: int, compress: bool = True
) -> dict[str, bytes]:
    """Files of a small array by their path inside the store: its chunks first, its metadata last.

    Chunk boundaries never move when rows are appended, so a crash between two writes leaves the old
    array readable. Compressed chunks carry zstd's own checksum.
    """
    memory = MemoryStore()
    chunks = (chunk_rows, *values.shape[1:])
    array = zarr.create_array(
        memory,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        compressors={"name": "zstd", "configuration": {"level": 0, "checksum": True}}
        if compress
        else None,
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[...] = values
    keys = sorted(memory._store_dict, key=lambda name: name == "zarr.json")
    return {f"{path}/{key}": memory._store_dict[key].to_bytes() for key in keys}


def quantise_uv(uv: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Pixel positions as 16-bit fixed point: code c stands for (c + 0.5) / 65536 of the image's
    width or height.

    Args:
        uv: (K, 2) float64 pixels, pixel centres at integers, at least half a pixel inside the
            image.
        size: (K, 2) width and height in pixels.

    Returns:
        (K, 2) uint16; the error is at most W / 131072 pixels (0.012 at 1600).
    """
    return np.floor((uv + 0.5) / size * UV_LEVELS).astype(np.uint16)


def normalised_uv(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """(K, 2) float32 ((u + 0.5) / W, (v + 0.5) / H) of stored pixel positions."""
    values = codes.astype(np.float32)
    values += np.float32(0.5)
    values *= np.float32(1 / UV_LEVELS)  # a power of two: exact
    return values


def pair_cameras(offsets: list[int]) -> NDArray[np.int64]:
    """(K,) camera of every pair from the M + 1 CSR offsets over the cameras."""
    cameras = np.empty(offsets[-1], np.int64)
    for camera, (start, stop) in enumerate(pairwise(offsets)):
        cameras[start:stop] = camera
    return cameras


def text_rows(texts: list[str], what: str) -> np.ndarray:
    """Encode texts as (rows, TEXT_BYTES) uint8, UTF-8 padded with zeros.

    Raises:
        CleverError: a text is longer than `TEXT_BYTES` bytes.
    """
    rows = np.zeros((len(texts), TEXT_BYTES), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        data = text.encode()
        if len(data) > TEXT_BYTES:
            raise CleverError(f"{what} {text!r} is longer than {TEXT_BYTES} bytes; shorten it")
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return rows


def row_texts(rows: np.ndarray) -> list[str]:
    """The inverse of `text_rows`."""
    return [bytes(row).rstrip(b"\0").decode() for row in rows]


def read_array(folder: Path) -> np.ndarray:
    """Read a small local array whole."""
    try:
        return np.asarray(zarr.open_array(folder, mode="r")[...])
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # the last one is zstd's
        raise CleverError(
            f"{folder} cannot be read ({error}); run `clever cache verify`"
        ) from error
