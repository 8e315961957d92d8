"""Labelled frames whose clouds go on with earlier sweeps, as the input of a student."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...errors import CleverError, FrameError
from .base import IGNORE, LidarDataset
from .earlier_sweeps import earlier_sweeps


def denser_cloud(
    own: NDArray[np.float32], dataset: LidarDataset, index: int, count: int
) -> NDArray[np.float32]:
    """The points `own` of a frame, (N, 4) as `LidarDataset.points`, and behind them those of at
    most `count` sweeps before it, latest first, in the frame's own LiDAR frame.

    Raises:
        CleverError: the dataset has no sweeps.
        FrameError: one of them cannot be read.
    """
    if not count:
        return own
    sweeps = earlier_sweeps(dataset, index, count)
    return np.concatenate([own, *(sweep.points for sweep in sweeps)])


class DenserFrames:
    """A dataset with `denser_cloud` as its points; those of earlier sweeps have no labels, so that
    losses and metrics are those of the frame's own points. All else is the dataset's.

    Args:
        count: sweeps before each frame, fewer at the beginning of a scene.

    Raises:
        CleverError: the dataset has none.
    """

    def __init__(self, dataset: LidarDataset, count: int) -> None:
        if not hasattr(dataset, "earlier_sweeps"):
            raise CleverError(
                f"{dataset.name} has no sweeps between its frames; give `input_sweeps=0`"
            )
        self.dataset, self.count = dataset, count
        self.name, self.cameras = dataset.name, dataset.cameras
        self.class_names = dataset.class_names
        self.frame_ids, self.scenes = dataset.frame_ids, dataset.scenes
        self._sizes: dict[int, int] = {}  # points of the clouds read so far: labels need no more
        with suppress(FrameError):  # tables are read once, before workers share them
            earlier_sweeps(dataset, 0, count)

    def __getattr__(self, member: str) -> Any:
        if member == "dataset" or member.startswith("__"):  # asked for while it is unpickled
            raise AttributeError(member)
        return getattr(self.dataset, member)

    def __len__(self) -> int:
        return len(self.dataset)

    def frame(self, index: int) -> Frame:
        return self.dataset.frame(index)

    def points(self, index: int) -> NDArray[np.float32]:
        cloud = denser_cloud(self.dataset.points(index), self.dataset, index, self.count)
        self._sizes[index] = len(cloud)
        return cloud

    def has_labels(self, index: int) -> bool:
        return self.dataset.has_labels(index)

    def labels(self, index: int) -> NDArray[np.uint8]:
        own = self.dataset.labels(index)
        size = self._sizes.get(index) or len(self.points(index))
        labels = np.full(size, IGNORE, np.uint8)
        labels[: len(own)] = own
        return labels

    def label_sources(self, index: int) -> Sequence[Path]:
        """None: a frame depends on more files than its own."""
        return ()


def with_input_sweeps(dataset: LidarDataset, count: int) -> LidarDataset:
    """The dataset, its clouds with `count` earlier sweeps; as it is for 0."""
    return DenserFrames(dataset, count) if count else dataset
