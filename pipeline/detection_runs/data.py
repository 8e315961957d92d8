"""Frames with boxes to train and to measure on, and what training gathers from its share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import CleverError, FrameError
from ..datasets import open_dataset
from ..datasets.boxes import BoxDataset
from ..datasets.readers.intensity import dark_sweeps
from ..detection.box_frame import BoxFrame, box_frame
from ..detection.object_bank import ObjectBank
from ..process.progress import Track
from ..results.run_folder import notice
from ..settings.detect import DetectorRunSettings, DetectorSettings
from ..steps.labelled import BadFrame
from ..steps.samplers import FrameSample, LabelledPart, sample_frames
from .benchmark import DetectionBenchmark, Sizes
from .benchmarks import benchmark_of


@dataclass(frozen=True, slots=True)
class DetectionData:
    """What all runs of a table read.

    Attributes:
        held_out: positions in `val` of the frames to measure on.
    """

    benchmark: DetectionBenchmark[Any]
    train: BoxDataset
    val: BoxDataset
    held_out: Sequence[int]

    @classmethod
    def open(cls, settings: DetectorSettings, dataset: str) -> "DetectionData":
        """Open both parts of a dataset.

        Raises:
            CleverError: no such dataset or split, no benchmark for it, or frames in both parts.
        """
        benchmark = benchmark_of(dataset)
        train, val = (
            benchmark.frames(open_dataset(part, dataset))
            for part in (settings.train_part, settings.val_part)
        )
        held_out = range(len(val))[: settings.limit]
        shared = set(train.frame_ids) & {val.frame_ids[index] for index in held_out}
        if shared:
            raise CleverError(
                f"{len(shared)} frames are in the training and in the validation part, e.g. "
                f"{min(shared)}; choose another `train_split` or `val_split`"
            )
        for part, indices in ((train, range(len(train))), (val, held_out)):
            if doubtful := dark_sweeps(part, indices):
                notice(doubtful)
        return cls(benchmark, train, val, held_out)

    def sample(self, settings: DetectorRunSettings) -> FrameSample:
        """The training frames of a run, by fraction and draw; raises as `sample_frames`."""
        total = len(self.train)
        part = LabelledPart(range(total), self.train.scenes)
        indices = sample_frames(part, settings.fraction, settings.sampler, settings.draw)
        rule = f"{100 * settings.fraction:g} % by {settings.sampler} ({len(indices)} of {total})"
        return FrameSample(indices, rule)


@dataclass(frozen=True, slots=True)
class TrainingFrames:
    """What is known of training frames once each was read.

    Attributes:
        indices: of those that can be used.
        bank: their objects; empty where none is asked for.
        sizes: mean size of every class.
    """

    indices: list[int]
    bad: list[BadFrame]
    bank: ObjectBank
    sizes: Sizes


def gather(data: DetectionData, indices: Sequence[int], bank: bool) -> TrainingFrames:
    """Read training frames once.

    Args:
        bank: whether objects are gathered.

    Raises:
        CleverError: none can be used.
    """
    reading = _Reading(data, bank)
    objects = ObjectBank.of(reading.frames(indices))
    if not reading.good:
        raise CleverError(
            f"none of the {len(indices)} training frames can be used; the first: "
            f"{reading.bad[0].id}: {reading.bad[0].reason}"
        )
    sizes = [np.concatenate(rows) for rows in reading.sizes]
    return TrainingFrames(reading.good, reading.bad, objects, data.benchmark.sizes(sizes))


class _Reading:
    """Reads frames one after another and notes what they hold."""

    def __init__(self, data: DetectionData, bank: bool) -> None:
        self.data, self.bank = data, bank
        self.good: list[int] = []
        self.bad: list[BadFrame] = []
        self.sizes: list[list[NDArray[np.float64]]] = [
            [np.zeros((0, 3))] for _ in data.benchmark.class_names
        ]

    def frames(self, indices: Sequence[int]) -> Iterator[BoxFrame]:
        """Frames with the boxes that may be sampled, of those that can be used."""
        with Track("read boxes", len(indices)) as track:
            for index in indices:
                try:
                    frame = self._frame(index)
                except FrameError as error:
                    self._skip(index, error.reason)
                else:
                    self.good.append(index)
                    if self.bank:
                        yield frame
                track.advance()

    def _frame(self, index: int) -> BoxFrame:
        benchmark, frames = self.data.benchmark, self.data.train
        points, labels = torch.from_numpy(frames.points(index)), frames.boxes(index)
        if not benchmark.area.contains(points[:, :3]).any():
            raise FrameError(frames.frame_ids[index], "none of its points lies where boxes are")
        frame = box_frame(points, labels, benchmark.class_names)
        for category, sizes in enumerate(self.sizes):
            sizes.append(frame.boxes[frame.classes == category].sizes.double().numpy())
        banked = labels[benchmark.banked(frames, index)]
        return box_frame(points, banked, benchmark.class_names)

    def _skip(self, index: int, reason: str) -> None:
        self.bad.append(BadFrame(id=self.data.train.frame_ids[index], reason=reason))
        notice(f"skipped frame {self.bad[-1].id}: {reason}")
