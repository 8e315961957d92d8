"""Frames of a dataset as corruptions take them: with lasers, ground and vehicles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError, FrameError
from ..corruptions.ground_plane import ground_plane
from ..corruptions.lasers import lasers
from ..corruptions.registry import LASERS, stream
from ..corruptions.sweep import GROUND, Sweep, vehicle_classes
from ..datasets.base import LidarDataset
from ..datasets.released import released_format, released_frame
from ..settings.shared.choices import SensorName


def sensor_of(dataset: LidarDataset, sensor: SensorName | None) -> SensorName:
    """Whose published strengths are used: the one asked for, else the dataset's own.

    Raises:
        CleverError: nothing is published for this dataset, and none was asked for.
    """
    if sensor:
        return sensor
    if released := released_format(dataset):
        return released.sensor
    raise CleverError(
        f"corruptions are published for the sweeps of nuScenes and SemanticKITTI, not of "
        f"{dataset.name}; say which of them its LiDAR is like with `sensor`"
    )


def clean_sweep(
    dataset: LidarDataset,
    index: int,
    sensor: SensorName,
    seed: int,
    labels: NDArray[np.uint8] | None,
) -> tuple[Sweep, str]:
    """A frame, and how its lasers and its ground were told.

    Args:
        sensor: whose lasers a dataset has that does not record them.
        seed: of the search for the ground where there are no labels.
        labels: (N,) training labels, where there are any.

    Raises:
        FrameError: the frame cannot be read.
    """
    points = dataset.points(index)
    frame = dataset.frame_ids[index]
    released = released_format(dataset)
    if released is not None and released.ring is not None:
        rows = raw_rows(frame, released_frame(dataset, index).sweep, "<f4", released.columns)
        ring, laser_words = rows[:, released.ring].astype(np.int64), "lasers from the file"
    else:
        ring, laser_words = lasers(points[:, :3], LASERS[sensor])
    if labels is not None:
        names = [name in GROUND for name in dataset.class_names]
        on_ground = np.array([*names, *([False] * (256 - len(names)))])
        ground, ground_words = on_ground[labels], "ground from labels"
    else:
        ground = ground_plane(points, stream(seed, "ground", frame))
        ground_words = "ground from a plane"
    vehicle = vehicle_classes(labels, dataset.class_names, len(points))
    return Sweep(points, ring, ground, vehicle), f"{laser_words}, {ground_words}"


def raw_rows(frame: str, path: Any, dtype: str, columns: int) -> NDArray[Any]:
    """Rows (N, columns) of a flat file.

    Raises:
        FrameError: it cannot be read, or its length is no whole number of rows.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(
            frame, f"cannot read {path}: {error.strerror}; restore the file"
        ) from error
    width = np.dtype(dtype).itemsize * columns
    if not data or len(data) % width:
        raise FrameError(
            frame, f"{path} has {len(data)} bytes, no multiple of {width}; restore the file"
        )
    return np.frombuffer(data, dtype).reshape(-1, columns)
