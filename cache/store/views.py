"""Views: the Zarr metadata and small arrays that readers see, made of what the seals and the commit
records say.

Each function gives files by path inside the store, in the order in which they are to be written.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .files.zarr_files import array_files, block_metadata, group_metadata
from .layers import REGIONS, SWEEPS, RegionLayer, SweepLayer, TeacherLayer, place
from .layout import BLOCK_ARRAYS, text_rows
from .records.commits import layer_moments, records_by_row, total_fidelity
from .records.models import (
    FORMAT,
    SCHEMA,
    Commit,
    Content,
    FrameRecord,
    PointContent,
    RegionContent,
    SweepContent,
    TeacherContent,
    as_json,
)
from .tables import TABLE_ROWS, FrameTable, status_column


def layer_views(
    content: Content, commits: Sequence[Commit], cameras: int, rows: int
) -> dict[str, bytes]:
    """Views of a layer from the content of its seal and its commit records, by path inside the
    store.

    Args:
        cameras, rows: of the store.
    """
    if isinstance(content, PointContent):
        return point_views(content, commits)
    if isinstance(content, RegionContent):
        return region_views(content, commits, cameras, rows)
    if isinstance(content, SweepContent):
        return sweep_views(content, commits, cameras, rows)
    return teacher_views(content, commits, cameras, rows)


def point_views(content: PointContent, commits: Sequence[Commit]) -> dict[str, bytes]:
    """Root, groups, frame table and metadata of points and pairs."""
    files: dict[str, bytes] = {}
    rows = len(content.ids)
    if rows:
        records = records_by_row(commits)
        for name, texts, kind in (
            ("scene", content.scenes, "scene"),
            ("id", content.ids, "frame id"),
        ):
            values = text_rows(texts, kind)
            files |= array_files(f"frames/{name}", values, TABLE_ROWS, ("frame", "byte"))
        lengths = [
            length
            for record in records.values()
            for length in (record.points, *record.offsets[-1:])
        ]
        longest = max(lengths, default=1)
        for array in BLOCK_ARRAYS:
            columns = max(1, -(-longest // array.capacity))
            files[f"{array.path}/zarr.json"] = block_metadata(array, rows, columns)
        files |= FrameTable.from_records(records, rows, len(content.base.cameras)).files()
    for name in ("points", "pairs", "teachers"):
        files[f"{name}/zarr.json"] = group_metadata({})
    files["frames/zarr.json"] = group_metadata({"commits": len(commits)})
    files["zarr.json"] = group_metadata(
        {"format": FORMAT, "schema": SCHEMA, "base": as_json(content.base)}
    )
    return files


def teacher_views(
    content: TeacherContent, commits: Sequence[Commit], cameras: int, rows: int
) -> dict[str, bytes]:
    """Group, calibration, status and metadata of a teacher layer."""
    info, calibration = content.info, content.calibration
    home = place(info.id)
    files: dict[str, bytes] = {}
    if calibration:
        for name, values in (("step", calibration.step), ("centre", calibration.centre)):
            column = np.array(values, np.float32)
            files |= array_files(
                f"{home.group}/{name}", column, info.channels, ("channel",), compress=False
            )
    moments = layer_moments(content, commits)
    if moments:
        for name, values in (("deviation", moments.deviation), ("mean", moments.mean)):
            column = values.astype(np.float32)
            files |= array_files(
                f"{home.group}/{name}", column, info.channels, ("channel",), compress=False
            )
    for array in TeacherLayer(info, cameras).arrays:
        files[f"{array.path}/zarr.json"] = block_metadata(array, rows)
    status = status_column(records_by_row(commits), rows)
    files |= array_files(home.status, status, TABLE_ROWS, ("frame",))
    attributes = {
        **as_json(info),
        "sha256": info.fingerprint.sha256,
        "calibration_missing": list(calibration.missing) if calibration else [],
        "commits": len(commits),
        "fidelity": as_json(total_fidelity(commits)),
        **({"tokens_counted": moments.count} if moments else {}),
    }
    return files | {f"{home.group}/zarr.json": group_metadata(attributes)}


def region_views(
    content: RegionContent, commits: Sequence[Commit], cameras: int, rows: int
) -> dict[str, bytes]:
    """Groups, status and metadata of a layer of regions."""
    info = content.info
    home, array = place(info.id), RegionLayer(info, cameras).map
    status = status_column(records_by_row(commits), rows)
    attributes = {**as_json(info), "commits": len(commits)}
    return {
        f"{REGIONS}/zarr.json": group_metadata({}),
        f"{array.path}/zarr.json": block_metadata(array, rows),
        **array_files(home.status, status, TABLE_ROWS, ("frame",)),
        f"{home.group}/zarr.json": group_metadata(attributes),
    }


def sweep_views(
    content: SweepContent, commits: Sequence[Commit], cameras: int, rows: int
) -> dict[str, bytes]:
    """Groups, tables and metadata of a layer of earlier sweeps."""
    info = content.info
    home, layer = place(info.id), SweepLayer(info, cameras)
    records = records_by_row(commits)
    offset, seconds = sweep_table(records, rows, info.count)
    files = {f"{SWEEPS}/zarr.json": group_metadata({})}
    for array in layer.arrays:
        stored = [record for record in records.values() if not record.reason]
        longest = max((layer.most_entries(array, record) for record in stored), default=1)
        columns = max(1, -(-longest // array.capacity))
        files[f"{array.path}/zarr.json"] = block_metadata(array, rows, columns)
    files |= array_files(f"{home.group}/offset", offset, TABLE_ROWS, ("frame", "bound"))
    files |= array_files(f"{home.group}/seconds", seconds, TABLE_ROWS, ("frame", "sweep"))
    files |= array_files(home.status, status_column(records, rows), TABLE_ROWS, ("frame",))
    attributes = {**as_json(info), "commits": len(commits)}
    return files | {f"{home.group}/zarr.json": group_metadata(attributes)}


def sweep_table(
    records: dict[int, FrameRecord], rows: int, count: int
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(rows, count + 1) CSR offsets of the points over the sweeps, and (rows, count) seconds; those
    that a frame lacks are empty, their time NaN."""
    offset = np.zeros((rows, count + 1), np.uint32)
    seconds = np.full((rows, count), np.nan)
    for row, record in records.items():
        if record.sweeps:
            offset[row] = record.sweeps[-1]
            offset[row, : len(record.sweeps)] = record.sweeps
            seconds[row, : len(record.seconds)] = record.seconds
    return offset, seconds
