"""Maps of regions, read by frame."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ...errors import CleverError
from .contents import Contents
from .files.local import read_row
from .files.remote import any_path
from .layout import SHARD_ROWS
from .records.commits import records_by_row


class CachedRegions:
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

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        store = Contents(any_path(path))
        self.path = str(path)
        self._local = "://" not in self.path
        self.info = store.find_regions(name)
        self._array = store.region_layer(self.info.id).map
        records = records_by_row(store.commits(self.info.id))
        self._rows = {record.id: row for row, record in records.items() if not record.reason}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, frame: str) -> bool:
        return frame in self._rows

    def maps(self, frame: str) -> NDArray[np.uint16]:
        """(M, h, w) uint16 regions of a frame's images, `layers.NO_REGION` where there is none.

        Raises:
            CleverError: the layer does not hold the frame, or its shard is missing or damaged.
        """
        if frame not in self._rows:
            raise CleverError(
                f"{self.path}: {self.info.id} has no frame {frame}; run `clever cache-regions` "
                "again"
            )
        row, array = self._rows[frame], self._array
        if not self._local:
            return self._remote(row)
        out = np.empty((array.block, *array.entry), array.dtype)
        read_row(f"{self.path}/{array.key(row // SHARD_ROWS, 0)}", array, row % SHARD_ROWS, out)
        return out

    def _remote(self, row: int) -> NDArray[np.uint16]:
        try:
            values: Any = zarr.open_array(f"{self.path}/{self._array.path}", mode="r")[row]
        except Exception as error:  # a remote file system raises whatever its library does
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CleverError(
                f"{self.path} cannot be read ({reason}); check the place and its access"
            ) from error
        return np.asarray(values, np.uint16)
