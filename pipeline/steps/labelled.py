"""Labelled frames: which of them can be used, how they come in batches, and how they are
described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from ...cache.ordered_map import ordered_map
from ...errors import CleverError, FrameError
from ...student.points import PointBatch
from ...words import quantity
from ..datasets import LidarDataset
from ..datasets.base import class_labels
from ..process.device import cores
from ..process.progress import Track
from ..training.batches import Batch, FrameDraw
from .label_checks import check_labels


class BadFrame(BaseModel):
    """A frame that could not be used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LabelledBatch(Batch):
    """Labelled point clouds of one step or a part of it.

    Attributes:
        points: the clouds.
        labels: (N,) int64 training labels, `IGNORE` for none.
    """

    points: PointBatch
    labels: Tensor


class LabelledFrames(Dataset[tuple[str, int, Tensor, Tensor]]):
    """Some frames of a dataset as (id, key, (N, 4) points, (N,) int64 labels)."""

    def __init__(self, dataset: LidarDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> tuple[str, int, Tensor, Tensor]:
        number, key = draw
        index = self.indices[number]
        points, labels = self.dataset.points(index), class_labels(self.dataset, index)
        return (
            self.dataset.frame_ids[index],
            key,
            torch.from_numpy(points),
            torch.from_numpy(labels).long(),
        )


def collate_labelled(frames: list[tuple[str, int, Tensor, Tensor]]) -> LabelledBatch:
    """One batch of several labelled frames."""
    ids, keys, points, labels = zip(*frames, strict=True)
    return LabelledBatch(list(ids), list(keys), PointBatch.from_clouds(points), torch.cat(labels))


def labelled_indices(dataset: LidarDataset, what: str) -> list[int]:
    """Positions of the frames that have a label file.

    Raises:
        CleverError: there is none.
    """
    indices = [index for index in range(len(dataset)) if dataset.has_labels(index)]
    if not indices:
        raise CleverError(
            f"none of the {quantity(len(dataset), 'frame')} of {dataset.name} {what} has "
            "labels; choose others"
        )
    return indices


def labels_fault(dataset: LidarDataset, indices: Sequence[int]) -> str:
    """Why some of the frames to measure on cannot be; empty where the labels of all can be read.

    Raises:
        CleverError: those of none can be read.
    """

    def fault_of(index: int) -> FrameError | None:
        try:
            class_labels(dataset, index)
        except FrameError as error:
            return error

    faults: list[FrameError] = []
    with Track("check validation labels", len(indices)) as track:
        for fault in ordered_map(fault_of, indices, cores()):
            faults += [fault] if fault else []
            track.advance()
    if not faults:
        return ""
    count = f"{len(faults)} of {quantity(len(indices), 'frame')}"
    line = f"the labels of {count} to measure on cannot be read; the first: {faults[0]}"
    if len(faults) == len(indices):
        raise CleverError(line)
    return line


def usable(
    dataset: LidarDataset,
    indices: Sequence[int],
    label: str,
    fault: Callable[[NDArray[np.float32]], str] | None = None,
) -> tuple[list[int], list[BadFrame]]:
    """Split frames into those whose points and labels can be trained on and those that are
    reported.

    Args:
        label: of the progress bar.
        fault: why a frame of bounds (2, 3), metres, cannot be trained on; empty where it can.
    """
    good: list[int] = []
    bad: list[BadFrame] = []
    for index, extent in check_labels(dataset, indices, label):
        reason = extent.reason or (fault(extent.array()) if fault else "")
        if reason:
            bad.append(BadFrame(id=dataset.frame_ids[index], reason=reason))
        else:
            good.append(index)
    return good, bad


def scenes_of(dataset: LidarDataset, indices: Sequence[int]) -> list[str]:
    """Scenes of the frames at `indices`, by name."""
    return sorted({dataset.scenes[index] for index in indices})


def describe(
    dataset: LidarDataset, indices: Sequence[int], split: str, expected: int | None = None
) -> str:
    """``val 08 (4 of 5 scans)``: split, scenes (counted where they are many) and frames, of the
    `expected` ones where some are lacking."""
    scenes = scenes_of(dataset, indices)
    named = " ".join(scenes) if len(scenes) <= 10 else quantity(len(scenes), "scene")
    lacking = expected is not None and expected != len(indices)
    share = f"{len(indices)} of " if lacking else ""
    total = len(indices) if expected is None else expected
    return f"{split} {named} ({share}{quantity(total, 'scan')})"
