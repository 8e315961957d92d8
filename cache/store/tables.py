"""The frame table: one row a frame, derived from the commit records and kept as plain Zarr
arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from ...errors import CleverError
from . import layout
from .files.zarr_files import array_files
from .records.models import FrameRecord

TABLE_ROWS = 4096
"""Rows in one chunk of a table column."""
COLUMNS = {
    "timestamp": ("frame",),
    "pose": ("frame", "row", "column"),
    "points": ("frame",),
    "pairs": ("frame", "offset"),
    "image_size": ("frame", "camera", "axis"),
    "split": ("frame", "byte"),
    "status": ("frame",),
    "bounds": ("frame", "bound", "xyz"),
}
"""Dimensions of every column."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Columns of ``frames/``, R rows and M cameras.

    Attributes:
        timestamp: (R,) int64, microseconds.
        pose: (R, 4, 4) float64, global <- lidar.
        points: (R,) uint32, number of points.
        pairs: (R, M + 1) uint32, CSR offsets of the pairs over the cameras.
        image_size: (R, M, 2) uint16, width and height in pixels.
        split: (R, B) uint8, UTF-8 padded with zeros: the dataset's split of a frame, see
            `layout.row_texts`; empty where it is unknown or the frame is not stored.
        bounds: (R, 2, 3) float32, lowest and highest x, y, z of the points in metres; NaN where the
            record does not say.
        status: (R,) uint8: `layout.OK`, `layout.FAILED` or `layout.PENDING`.
    """

    timestamp: NDArray[np.int64]
    pose: NDArray[np.float64]
    points: NDArray[np.uint32]
    pairs: NDArray[np.uint32]
    image_size: NDArray[np.uint16]
    split: NDArray[np.uint8]
    status: NDArray[np.uint8]
    bounds: NDArray[np.float32]

    @classmethod
    def from_records(
        cls, records: Mapping[int, FrameRecord], rows: int, cameras: int
    ) -> "FrameTable":
        """Table of `rows` rows from the commit records of points and pairs."""
        table = cls(
            np.zeros(rows, np.int64),
            np.zeros((rows, 4, 4)),
            np.zeros(rows, np.uint32),
            np.zeros((rows, cameras + 1), np.uint32),
            np.zeros((rows, cameras, 2), np.uint16),
            layout.text_rows(
                [records[row].split if row in records else "" for row in range(rows)], "split"
            ),
            status_column(records, rows),
            _unknown_bounds(rows),
        )
        for row, record in records.items():
            if not record.reason:
                table.timestamp[row], table.points[row] = record.timestamp, record.points
                table.pose[row] = np.reshape(record.pose, (4, 4))
                table.pairs[row], table.image_size[row] = record.offsets, record.image_size
                if record.bounds:
                    table.bounds[row] = np.reshape(record.bounds, (2, 3))
        return table

    @classmethod
    def read(cls, frames: zarr.Group) -> "FrameTable":
        """Read the table of a local or remote store.

        Raises:
            CleverError: a column is missing.
        """
        gaps = [name for name in COLUMNS if name not in frames]
        if gaps:
            raise CleverError(
                f"{frames.store_path} has no column {', '.join(gaps)}; run `clever cache repair`, "
                "which writes it anew"
            )
        return cls(**{name: np.asarray(frames[name][...]) for name in COLUMNS})  # type: ignore

    def files(self) -> dict[str, bytes]:
        """Files of every column by their path inside the store."""
        columns = [
            array_files(f"frames/{name}", getattr(self, name), TABLE_ROWS, dims)
            for name, dims in COLUMNS.items()
        ]
        return {path: data for column in columns for path, data in column.items()}


def _unknown_bounds(rows: int) -> NDArray[np.float32]:
    return np.full((rows, 2, 3), np.nan, np.float32)


def status_column(records: Mapping[int, FrameRecord], rows: int) -> NDArray[np.uint8]:
    """(rows,) uint8 status of every row from the commit records of a layer."""
    status = np.full(rows, layout.PENDING, np.uint8)
    for row, record in records.items():
        status[row] = layout.FAILED if record.reason else layout.OK
    return status
