"""Corrupted frames as files, laid out as nuScenes-C and SemanticKITTI-C are."""

from pathlib import Path

import numpy as np

from ...errors import CleverError
from ...files import atomic_write
from ..corruptions.sweep import Corrupted
from ..datasets.base import LidarDataset
from ..datasets.released import ReleasedFormat, released_format, released_frame
from .clean_sweeps import raw_rows
from .frames import CorruptedFrames


def writable_format(dataset: LidarDataset) -> ReleasedFormat:
    """The format in which the frames of a dataset are written.

    Raises:
        CleverError: it has none, or the frames would overwrite each other.
    """
    released = released_format(dataset)
    if released is None:
        raise CleverError(
            f"there is no format of corrupted sets for {dataset.name}; choose nuscenes or "
            "semantickitti as `dataset`"
        )
    if released.sensor == "semantickitti" and len(set(dataset.scenes)) > 1:
        raise CleverError(
            "SemanticKITTI-C holds one sequence, without its name; choose one with `sequences`"
        )
    return released


def write_frame(frames: CorruptedFrames, index: int, folder: Path) -> bool:
    """Write a corrupted sweep and its labels below ``<corruption>/<severity>`` in `folder`; what is
    there already stays.

    Columns and intensities are those of the clean file, bit by bit where nothing changed. Raw
    labels keep their ids; inserted points get the set's own. A dataset without labels gets none.

    Returns:
        whether anything was written.

    Raises:
        FrameError: the frame cannot be read.
    """
    dataset, name = frames.dataset, frames.dose.name
    released, files = writable_format(dataset), released_frame(dataset, index)
    place = folder / name / frames.dose.severity
    sweep_file, label_file = place / files.corrupted_sweep, place / files.corrupted_labels
    if sweep_file.exists() and (label_file.exists() or files.labels is None):
        return False
    frame = dataset.frame_ids[index]
    labels = dataset.labels(index) if files.labels else None
    result = frames.corrupted(index, labels)
    rows = raw_rows(frame, files.sweep, "<f4", released.columns)
    if files.labels:
        raw = raw_rows(frame, files.labels, released.label_dtype, 1)[:, 0][result.pulse]
        if result.inserted.any():
            raw[result.inserted] = released.inserted[name]
        atomic_write(label_file, raw.tobytes())
    full = dataset.intensity_scale  # type: ignore[attr-defined]
    atomic_write(sweep_file, corrupted_rows(rows, dataset.points(index), result, full).tobytes())
    return True


def corrupted_rows(
    rows: np.ndarray, clean: np.ndarray, result: Corrupted, full: float
) -> np.ndarray:
    """Rows (M, C) of a corrupted sweep's file.

    Args:
        rows: (N, C) of the clean file.
        clean: (N, 4) its points as the dataset reads them.
        full: the file's value of full intensity.
    """
    changed = rows[result.pulse]  # a copy
    before = clean[result.pulse]
    scaled = result.points * np.array([1, 1, 1, full], np.float32)
    differs = result.points != before
    changed[:, :4][differs] = scaled[differs]
    return changed
