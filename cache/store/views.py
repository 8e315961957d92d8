"""Views: the Zarr metadata and small arrays that readers see, made of what the seals and the commit
records say.

Each function gives files by path inside the store, in the order in which they are to be written.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..codec import Calibration
from . import layout
from .layers import TeacherInfo, fingerprint_hash, teacher_arrays
from .layout import BLOCK_ARRAYS
from .records import Commit, records_by_row, total_fidelity
from .tables import TABLE_ROWS, FrameTable, status_column


def base_views(
    base: dict[str, Any], ids: list[str], scenes: list[str], commits: Sequence[Commit]
) -> dict[str, bytes]:
    """Root, groups, frame table and metadata of points and pairs."""
    files: dict[str, bytes] = {}
    if ids:
        records = records_by_row(commits)
        files |= layout.array_files("frames/scene", layout.text_rows(scenes, "scene"), TABLE_ROWS)
        files |= layout.array_files("frames/id", layout.text_rows(ids, "frame id"), TABLE_ROWS)
        lengths = [
            length
            for record in records.values()
            for length in (record.points, *record.offsets[-1:])
        ]
        longest = max(lengths, default=1)
        for array in BLOCK_ARRAYS:
            files[f"{array.path}/zarr.json"] = array.metadata(
                len(ids), max(1, -(-longest // array.capacity))
            )
        files |= FrameTable.from_records(records, len(ids), len(base["cameras"])).files()
    for name in ("points", "pairs", "teachers"):
        files[f"{name}/zarr.json"] = layout.group_metadata({})
    files["frames/zarr.json"] = layout.group_metadata({"commits": len(commits)})
    files["zarr.json"] = layout.group_metadata(
        {"format": layout.FORMAT, "schema": layout.SCHEMA, "base": base}
    )
    return files


def teacher_views(
    info: TeacherInfo,
    calibration: Calibration | None,
    missing: list[str],
    cameras: int,
    rows: int,
    commits: Sequence[Commit],
) -> dict[str, bytes]:
    """Group, calibration, status and metadata of a teacher layer; `missing`: frames that the
    calibration lacks."""
    folder = f"teachers/{info.id}"
    files: dict[str, bytes] = {}
    if calibration:
        for name, values in (("step", calibration.step), ("centre", calibration.centre)):
            files |= layout.array_files(
                f"{folder}/{name}", values.numpy(), info.channels, compress=False
            )
    for array in teacher_arrays(info, cameras):
        files[f"{array.path}/zarr.json"] = array.metadata(rows)
    files |= layout.array_files(
        f"{folder}/status", status_column(records_by_row(commits), rows), TABLE_ROWS
    )
    state = {"commits": len(commits), "fidelity": asdict(total_fidelity(commits))}
    sha256 = fingerprint_hash(info.fingerprint)
    attributes = {**asdict(info), "sha256": sha256, "calibration_missing": missing, **state}
    return files | {f"{folder}/zarr.json": layout.group_metadata(attributes)}
