"""Maps of regions, read by frame."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .contents import Contents
from .files.remote import any_path
from .layer_reader import LayerReader


class CachedRegions(LayerReader):
    """A layer of regions opened for reading; `frame in regions` says whether it holds one.

    Args:
        path: local folder, or a URL that fsspec understands.
        name: id of the layer or the beginning of one, ``regions/`` may be left out; None where
            there is a single layer.

    Attributes:
        info: the layer.

    Raises:
        CleverError: no store there, an unknown or ambiguous layer.
    """

    verb: ClassVar[str] = "clever cache-regions"

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        store = Contents(any_path(path))
        self.info = store.find_regions(name)
        self._array = store.region_layer(self.info.id).map
        super().__init__(path, store, self.info.id)

    def maps(self, frame: str) -> NDArray[np.uint16]:
        """(M, h, w) uint16 regions of a frame's images, `layers.NO_REGION` where there is none.

        Raises:
            CleverError: the layer does not hold the frame, or its shard is missing or damaged.
        """
        return self._read(self._array, self._record(frame).row, self._array.block)
