"""Earlier sweeps, read by frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from . import layout
from .contents import Contents
from .files.remote import any_path
from .layer_reader import LayerReader


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The sweeps before a frame.

    Attributes:
        points: (N, 4) float32 of all of them, latest first: x, y, z in metres in the LiDAR frame of
            the frame itself, intensity in [0, 1].
        seconds: (N,) float32, when each point's sweep was taken, from the frame's own time on:
            below 0.
        pair_point, pair_camera: (K,) int64, and `pair_uv` (K, 2) float32, as of `CachedFrame`;
            empty where the layer holds no pairs.
    """

    points: NDArray[np.float32]
    seconds: NDArray[np.float32]
    pair_point: NDArray[np.int64]
    pair_camera: NDArray[np.int64]
    pair_uv: NDArray[np.float32]


class CachedSweeps(LayerReader):
    """A layer of earlier sweeps opened for reading; `frame in sweeps` says whether it holds one.

    Args:
        path: local folder, or a URL that fsspec understands.
        count: sweeps before each frame that are wanted at least.
        pairs: whether their pairs are needed.

    Attributes:
        info: the layer.

    Raises:
        CleverError: no store there, or no such layer.
    """

    verb: ClassVar[str] = "clever cache-teacher"

    def __init__(self, path: str | Path, count: int = 1, pairs: bool = False) -> None:
        store = Contents(any_path(path))
        self.count = count
        fits = [
            info for info in store.sweeps() if info.count >= count and (info.pairs or not pairs)
        ]
        if not fits:
            raise CleverError(
                f"{path} holds no {count} earlier sweeps{' with pairs' if pairs else ''}; "
                "cache-teacher adds them, and cache verify names those that are there and damaged"
            )
        self.info = min(fits, key=lambda info: (info.count, info.pairs))
        self._layer = store.sweep_layer(self.info.id)
        super().__init__(path, store, self.info.id)

    def sweeps(self, frame: str) -> Sweeps:
        """The latest `count` sweeps before a frame, fewer at the beginning of a scene.

        Raises:
            CleverError: the layer does not hold the frame, or its shard is missing or damaged.
        """
        record, layer = self._record(frame), self._layer
        end = record.sweeps[min(self.count, len(record.seconds))]
        points = self._read(layer.points, record.row, record.points)[:end]
        lengths = np.diff(record.sweeps)[: self.count]
        seconds = np.repeat(np.array(record.seconds[: self.count], np.float32), lengths)
        empty = np.empty(0, np.int64)
        if not self.info.pairs:
            return Sweeps(points, seconds, empty, empty, np.empty((0, 2), np.float32))
        point = self._read(layer.pair_point, record.row, record.pairs).astype(np.int64)
        camera = layout.pair_cameras(record.offsets)
        uv = layout.normalised_uv(self._read(layer.pair_uv, record.row, record.pairs))
        within = point < end
        return Sweeps(points, seconds, point[within], camera[within], uv[within])
