"""What readers of regions and of earlier sweeps share: frames by id, and values of a row."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from numpy.typing import NDArray

from ...errors import CleverError
from .contents import Contents
from .files.local import read_row
from .layout import SHARD_ROWS, BlockArray
from .records.commits import records_by_row
from .records.models import FrameRecord


class LayerReader:
    """A layer beside points and teachers, opened for reading; `frame in reader` says whether it
    holds one.

    Args:
        path: local folder, or a URL that fsspec understands.
        store: what is there.
        layer: id of the layer.
    """

    verb: ClassVar[str]
    """What fills such a layer."""

    def __init__(self, path: str | Path, store: Contents, layer: str) -> None:
        self.path, self._id = str(path), layer
        records = records_by_row(store.commits(layer)).values()
        self._records = {record.id: record for record in records if not record.reason}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, frame: str) -> bool:
        return frame in self._records

    def _record(self, frame: str) -> FrameRecord:
        """Of a frame that the layer holds; raises CleverError for another."""
        if frame not in self._records:
            raise CleverError(
                f"{self.path}: {self._id} has no frame {frame}; run `{self.verb}` again"
            )
        return self._records[frame]

    def _read(self, array: BlockArray, row: int, count: int) -> NDArray[Any]:
        """The first `count` values of a row; raises CleverError where its shard is missing or
        damaged."""
        if "://" in self.path:
            try:
                values: Any = zarr.open_array(f"{self.path}/{array.path}", mode="r")[row]
            except Exception as error:  # a remote file system raises whatever its library does
                reason = " ".join(str(error).split()) or type(error).__name__
                raise CleverError(
                    f"{self.path} cannot be read ({reason}); check the place and its access"
                ) from error
            return np.asarray(values, array.dtype)[:count]
        data = np.empty((-(-count // array.block) * array.block, *array.entry), array.dtype)
        for column in range(-(-count // array.capacity)):
            part = data[column * array.capacity : (column + 1) * array.capacity]
            path = f"{self.path}/{array.key(row // SHARD_ROWS, column)}"
            read_row(path, array, row % SHARD_ROWS, part)
        return data[:count]
