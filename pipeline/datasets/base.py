"""What a dataset offers to the jobs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...errors import CleverError, FrameError
from ...words import quantity
from ..settings.shared.choices import ClassMean

IGNORE = 255
"""Training label of points that take no part in loss or metric."""


class LidarDataset(Protocol):
    """Camera and LiDAR keyframes in a fixed order; loading is lazy and may run in several threads
    or processes."""

    name: str
    """``nuscenes``, ``semantickitti``, ..."""
    cameras: tuple[str, ...]
    """Camera channel names, in the order of `Frame.cameras`."""
    class_names: tuple[str, ...]
    """Names of the training classes 0..K-1."""
    frame_ids: Sequence[str]
    """Id of every frame, known without opening its files."""
    scenes: Sequence[str]
    """Scene of every frame, parallel to `frame_ids`."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> Frame:
        """Points, poses and cameras of one keyframe; raises FrameError naming the file at fault."""
        ...

    def points(self, index: int) -> NDArray[np.float32]:
        """Points alone, (N, 4) float32 as in `Frame.points`: needs no images; raises FrameError."""
        ...

    def has_labels(self, index: int) -> bool:
        """Whether a label file is listed for this keyframe."""
        ...

    def labels(self, index: int) -> NDArray[np.uint8]:
        """(N,) uint8 training labels, `IGNORE` for none; raises FrameError when missing or of
        another length."""
        ...


def class_labels(dataset: LidarDataset, index: int) -> NDArray[np.uint8]:
    """`LidarDataset.labels`, each of them the number of a class or `IGNORE`.

    Raises:
        FrameError: a label is neither, or see `LidarDataset.labels`.
    """
    labels, classes = dataset.labels(index), len(dataset.class_names)
    foreign = labels[(labels != IGNORE) & ((labels < 0) | (labels >= classes))]
    if len(foreign):
        raise FrameError(
            dataset.frame_ids[index],
            f"{quantity(len(foreign), 'label')} of no class, e.g. {foreign[0]}: the "
            f"{quantity(classes, 'class', 'classes')} are 0 to {classes - 1}, no class is {IGNORE}",
        )
    return labels


def class_mean(dataset: LidarDataset) -> ClassMean:
    """How the benchmark of `dataset` takes the mean IoU: its class attribute `class_mean`, or over
    the classes that occur where it has none."""
    return getattr(dataset, "class_mean", "present")


def label_ids(
    dataset: LidarDataset | type[LidarDataset], class_names: Sequence[str]
) -> Sequence[int]:
    """Id of every class in the label files that its benchmark reads, 0 being no class: the
    attribute `label_ids` of `dataset`, or 1 to K where it has none."""
    ids = getattr(dataset, "label_ids", ())
    return ids if len(ids) == len(class_names) else range(1, len(class_names) + 1)


def label_sources(dataset: LidarDataset, index: int) -> Sequence[Path]:
    """Files on which the points and labels of a frame depend alone: the method `label_sources` of
    `dataset`; none where it has none, or the files are not known."""
    sources = getattr(dataset, "label_sources", None)
    return sources(index) if sources else ()


def image_tokens(dataset: LidarDataset, index: int) -> Sequence[str]:
    """Tokens of a frame's images by camera, by which files of others may be named: the method
    `image_tokens` of `dataset`.

    Raises:
        CleverError: the dataset has none.
        FrameError: the records of the frame are incomplete.
    """
    tokens = getattr(dataset, "image_tokens", None)
    if tokens is None:
        raise CleverError(f"the images of {dataset.name} have no tokens; name masks by {{image}}")
    return tokens(index)


def positions(dataset: LidarDataset) -> dict[str, int]:
    """Position of every frame in `dataset` by its id."""
    return {frame: position for position, frame in enumerate(dataset.frame_ids)}
