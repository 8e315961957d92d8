"""What a store will take, from the sizes of grids and a few frames' points; no teacher is run."""

from collections.abc import Sequence

import numpy as np

from ...cache.choices import Codec, stored_dtype
from ...cache.frame import Frame
from ...cache.projection import Correspondences
from ...cache.store.files.shards import index_bytes
from ...cache.store.layers import Layer
from ...cache.store.layout import HIT_BLOCK, PAIR_BLOCK, SHARD_ROWS
from ...cache.store.store import Store
from ...cache.store.writer import PointShard
from ...cache.teacher import GridShape
from ...errors import CleverError, FrameError
from ..datasets import LidarDataset
from ..settings.cache_teacher import CacheTeacherSettings
from .frames import FrameReader, hit_tokens

Pairs = Sequence[tuple[Frame, Correspondences]]
CLASS_TOKEN_BYTES = 4
"""Of a channel of a class token, which is stored as float32."""


def point_sample(store: Store, dataset: LidarDataset, ids: Sequence[str]) -> Pairs:
    """Write points and pairs of some frames, at most a shard, and return them.

    Raises:
        CleverError: none can be read.
    """
    names = list(ids[:SHARD_ROWS])
    store.extend(names, [""] * len(names))
    reader, shard = FrameReader(store, dataset), PointShard(store, 0)
    frames: list[tuple[Frame, Correspondences]] = []
    for row in store.rows_of(names):
        try:
            frames.append(reader.read(row))
            shard.add(row, *frames[-1])
        except FrameError as error:
            shard.fail(row, error.reason)
    shard.commit()
    if not frames:
        raise CleverError(
            f"frame {names[0]} and the rest of the sample cannot be read; run without `plan` for "
            "reasons"
        )
    return frames


def layer_sizes(
    settings: CacheTeacherSettings, shapes: Sequence[GridShape], frames: Pairs
) -> dict[str, dict[str, float]]:
    """`kind_bytes` by layer, class tokens included; layers of one teacher by their names too."""
    names = [shape.alias for shape in shapes]
    if len(shapes) > 1:
        names = [f"{shape.alias} {shape.layer}" for shape in shapes]
    sizes = {}
    for name, shape in zip(names, shapes, strict=True):
        token = len(frames[0][0].cameras) * shape.channels * CLASS_TOKEN_BYTES * shape.class_token
        kinds = kind_bytes(shape.grid, shape.channels, settings.codec, frames)
        sizes[name] = {kind: size + token for kind, size in kinds.items()}
    return sizes


def kind_bytes(
    grid: tuple[int, int], channels: int, codec: Codec, frames: Pairs
) -> dict[str, float]:
    """Mean bytes of a frame's features in each kind of tokens, whole blocks, uncompressed."""
    token = channels * np.dtype(stored_dtype(codec)).itemsize
    sizes = []
    for frame, pairs in frames:
        cells = len(frame.cameras) * grid[0] * grid[1]
        hit, count = int(hit_tokens(frame, pairs, grid).sum()), int(pairs.offsets[-1])
        blocks = -(-hit // HIT_BLOCK) * HIT_BLOCK, -(-count // PAIR_BLOCK) * PAIR_BLOCK
        sizes.append((cells * token, blocks[0] * token + cells, blocks[1] * token))
    means = np.mean(sizes, 0) if sizes else np.zeros(3)
    return dict(zip(("grid", "hit", "points"), means.tolist(), strict=True))


def frame_bytes(store: Store, layer: Layer) -> float:
    """Mean bytes of a stored frame in a layer."""
    commits = store.commits(layer.id)
    index = {array.path: index_bytes(array.inner_chunks) for array in layer.arrays}
    data = sum(
        stamp.bytes - next(size for path, size in index.items() if key.startswith(f"{path}/"))
        for commit in commits
        for key, stamp in commit.files.items()
    )
    stored = sum(not record.reason for commit in commits for record in commit.frames)
    return data / max(stored, 1) + sum(index.values()) / SHARD_ROWS
