"""The store's layout: which arrays there are, their shapes and shards, and the schema version.

    run.zarr/
      frames/     one row a frame: id, scene, timestamp, pose, number of points, pair offsets, image
      sizes, status points/     xyzi (rows, capacity, 4) float32
      pairs/      point (rows, capacity) uint32, uv (rows, capacity, 2) uint16
      teachers/<id>/grid (rows, cameras, h, w, channels), centre, step; class_token (rows, cameras,
      channels) where it was asked for
      regions/<id>/map (rows, cameras, h, w) uint16
      sweeps/<n>/xyzi, pair_point, pair_uv: as those of points/ and pairs/, of n earlier sweeps

A row's points and pairs fill whole blocks; the rest of a row was never written and costs nothing.
A shard file holds `SHARD_ROWS` rows; commit records and the layer's seal lie beside the shards, in
``<array>/commits``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from ...files import atomic_write
from ...names import name_fault
from ..choices import INTERPOLATED, Codec, Packing, TokenKind, stored_dtype

SHARD_ROWS = 16
BLOCK = 4096
SHARD_BLOCKS = 64
HIT_BLOCK = 64
"""Tokens in a block of a ``hit`` layer."""
PAIR_BLOCK, PAIR_BLOCKS = 256, 2048
"""Pairs in a block of a layer of features of pairs, and blocks of a row."""
TEXT_BYTES = 64
UV_LEVELS = 65536
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
        dims: names of the dimensions after the first, which is the frame.
        codec: how blocks are compressed, see `codec.pack`; None where they are not.
        block: entries in a block.
        blocks: blocks of a row in one shard; longer rows continue in the next shard along the
            second axis.
    """

    path: str
    dtype: str
    entry: tuple[int, ...]
    dims: tuple[str, ...]
    codec: Codec | Packing | None = None
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

    def key(self, shard: int, column: int) -> str:
        """File of a shard inside the store; `column` counts shards along the second axis."""
        return f"{self.path}/c/{shard}/{column}" + "/0" * len(self.entry)


POINTS = BlockArray("points/xyzi", "<f4", (4,), ("point", "value"))
PAIR_POINT = BlockArray("pairs/point", "<u4", (), ("pair",))
PAIR_UV = BlockArray("pairs/uv", "<u2", (2,), ("pair", "axis"))
BLOCK_ARRAYS = (POINTS, PAIR_POINT, PAIR_UV)


def grid_array(
    teacher: str, grid: tuple[int, int, int, int], codec: Codec, tokens: TokenKind
) -> BlockArray:
    """The token array of a teacher layer.

    Args:
        grid: cameras, h, w, channels.
        tokens: ``grid`` stores every token, (rows, cameras, h, w, channels), a frame in one block;
            ``hit`` stores the tokens within reach of a point, (rows, capacity, channels), in the
            order of `hit_array`'s ones; ``points`` a feature of every pair, (rows, capacity,
            channels), in the order of the pairs.
    """
    path, dtype = f"teachers/{teacher}/grid", stored_dtype(codec)
    if tokens == "grid":
        dims = ("camera", "height", "width", "channel")
        return BlockArray(path, dtype, grid[1:], dims, codec, grid[0], 1)
    if tokens in INTERPOLATED:
        dims = ("pair", "channel")
        return BlockArray(path, dtype, grid[3:], dims, codec, PAIR_BLOCK, PAIR_BLOCKS)
    blocks = -(-math.prod(grid[:3]) // HIT_BLOCK)
    return BlockArray(path, dtype, grid[3:], ("token", "channel"), codec, HIT_BLOCK, blocks)


def hit_array(teacher: str, grid: tuple[int, int, int, int]) -> BlockArray:
    """(rows, cameras, h, w) uint8 of a ``hit`` layer: 1 where the token is stored."""
    dims = ("camera", "height", "width")
    return BlockArray(f"teachers/{teacher}/hit", "u1", grid[1:3], dims, None, grid[0], 1)


def class_token_array(teacher: str, cameras: int, channels: int) -> BlockArray:
    """(rows, cameras, channels) float32: the class token of every image, a frame in one block."""
    path, dims = f"teachers/{teacher}/class_token", ("camera", "channel")
    return BlockArray(path, "<f4", (channels,), dims, None, cameras, 1)


def region_array(regions: str, cameras: int, size: tuple[int, int]) -> BlockArray:
    """(rows, cameras, h, w) uint16: the region of every pixel, a frame in one block.

    Args:
        regions: id of the layer, ``regions/...``.
        size: (h, w) of the maps.
    """
    dims = ("camera", "height", "width")
    return BlockArray(f"{regions}/map", "<u2", size, dims, "zstd", cameras, 1)


def sweep_arrays(sweeps: str) -> tuple[BlockArray, BlockArray, BlockArray]:
    """Points (rows, capacity, 4) float32 of earlier sweeps, and point and pixel of their pairs.

    Args:
        sweeps: id of the layer, ``sweeps/...``.
    """
    return (
        BlockArray(f"{sweeps}/xyzi", "<f4", (4,), ("point", "value")),
        BlockArray(f"{sweeps}/pair_point", "<u4", (), ("pair",)),
        BlockArray(f"{sweeps}/pair_uv", "<u2", (2,), ("pair", "axis")),
    )


def write_if_changed(path: Path, data: bytes) -> None:
    """Write `data` atomically unless the file already holds it."""
    if not (path.is_file() and path.read_bytes() == data):
        atomic_write(path, data)


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


def pair_cameras(offsets: Sequence[int]) -> NDArray[np.int64]:
    """(K,) camera of every pair from the M + 1 CSR offsets over the cameras."""
    cameras = np.empty(offsets[-1], np.int64)
    for camera, (start, stop) in enumerate(pairwise(offsets)):
        cameras[start:stop] = camera
    return cameras


def text_rows(texts: Sequence[str], kind: str) -> np.ndarray:
    """Encode texts as (rows, TEXT_BYTES) uint8, UTF-8 padded with zeros.

    Raises:
        CleverError: a text is longer than `TEXT_BYTES` bytes, or from a file name that is no UTF-8.
    """
    rows = np.zeros((len(texts), TEXT_BYTES), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        if fault := name_fault(text):
            raise CleverError(f"{kind} {text!r} {fault}; rename its file or folder")
        data = text.encode()
        if len(data) > TEXT_BYTES:
            raise CleverError(f"{kind} {text!r} is longer than {TEXT_BYTES} bytes; shorten it")
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return rows


def row_texts(rows: np.ndarray) -> list[str]:
    """The texts of (rows, TEXT_BYTES) uint8: the inverse of `text_rows`."""
    return [bytes(row).rstrip(b"\0").decode() for row in rows]
