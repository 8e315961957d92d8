"""A quick look at the times of a dataset, before a long job."""

from collections.abc import Sequence

import numpy as np

from ....cache.frame import Frame
from ....cache.time_steps import step_fault
from ....errors import CleverError
from ..base import LidarDataset

PAIRS = 4
"""Frames that are looked at with the one after them, spread evenly."""


def frame_step(dataset: LidarDataset, first: Frame, second: Frame) -> float | None:
    """Seconds between two frames; None where frames of the dataset have no times, but are counted
    or all at 0."""
    untimed = not (first.timestamp or second.timestamp or hasattr(dataset, "time_setting"))
    if untimed or getattr(dataset, "counted_times", False):
        return None
    return (second.timestamp - first.timestamp) / 1e6


def time_doubt(dataset: LidarDataset, indices: Sequence[int]) -> str:
    """What is doubtful about the times of some frames, by a sample of `PAIRS` of them, in one
    line; empty where nothing is. Frames that cannot be read are left to those who need them."""
    if getattr(dataset, "counted_times", False):  # nothing has to be read
        return ""
    followed = [
        place
        for place in range(len(indices) - 1)
        if dataset.scenes[indices[place]] == dataset.scenes[indices[place + 1]]
    ]
    sample = np.unique(np.linspace(0, len(followed) - 1, PAIRS).round().astype(int))
    steps: list[float | None] = []
    for number in sample.tolist() if followed else ():
        first, second = (indices[followed[number] + further] for further in (0, 1))
        try:
            steps.append(frame_step(dataset, dataset.frame(first), dataset.frame(second)))
        except CleverError:
            continue
    fault = step_fault([step for step in steps if step is not None])
    if not fault:
        return ""
    setting = getattr(dataset, "time_setting", "")
    remedy = f"correct {setting}" if setting else "correct them if anything depends on times"
    return f"{dataset.name}: {fault}; {remedy}"
