"""Frames to train on and frames to measure on."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from ...student.clouds.extents import extent_fault
from ...student.segmenter import Training
from ...student.student import Student
from ...words import quantity
from ..datasets import LidarDataset, open_dataset
from ..datasets.base import class_labels
from ..datasets.denser_frames import with_input_sweeps
from ..datasets.readers.intensity import dark_sweeps
from ..evaluate import common_scenes
from ..process.team import Team
from ..results.run_folder import notice
from ..settings.finetune import FinetuneSettings
from ..steps.labelled import BadFrame, labelled_indices, labels_fault, scenes_of, usable
from ..steps.samplers import FrameSample, LabelledPart, listed_frames, sample_frames
from ..training.starting_student import StartingStudent
from ..training.stepping import frames_at_once


@dataclass(frozen=True, slots=True)
class TaskFrames:
    """What a run trains on and what it is measured on.

    Attributes:
        train, val: the datasets of both parts.
        sample: frames of `train`.
        held_out: labelled frames of `val`.
    """

    train: LidarDataset
    val: LidarDataset
    sample: FrameSample
    held_out: list[int]

    @classmethod
    def of(cls, settings: FinetuneSettings, train: LidarDataset, val: LidarDataset) -> "TaskFrames":
        """Frames to train on and to measure on; raises as `_training_frames`."""
        held_out = labelled_indices(val, settings.val_split)
        names = {val.frame_ids[index] for index in held_out}
        return cls(train, val, _training_frames(settings, train, names), held_out)


def open_parts(settings: FinetuneSettings, dataset: str) -> tuple[LidarDataset, LidarDataset]:
    """The dataset of either part, with earlier sweeps in its clouds where asked to.

    Raises:
        CleverError: no such dataset or part.
    """
    train, val = (
        with_input_sweeps(open_dataset(part, dataset), settings.input_sweeps)
        for part in (settings.train_part, settings.val_part)
    )
    return train, val


def _training_frames(
    settings: FinetuneSettings, dataset: LidarDataset, held_out: set[str]
) -> FrameSample:
    """Frames to train on.

    Raises:
        CleverError: none is labelled, one is also measured on, or see `listed_frames` and
            `sample_frames`.
    """
    labelled = labelled_indices(dataset, settings.train_split)
    shared = [index for index in labelled if dataset.frame_ids[index] in held_out]
    if shared:
        raise CleverError(
            f"{quantity(len(shared), 'frame')} in both the training and the validation part, e.g. "
            f"{dataset.frame_ids[shared[0]]}; choose other `train_sequences` or `val_sequences` "
            "(or splits)"
        )
    if settings.frames_file:
        indices = listed_frames(settings.frames_file, dataset, labelled, settings.train_split)
        rule = f"frames of {settings.frames_file.name}"
    else:
        part = LabelledPart(labelled, dataset.scenes)
        indices = sample_frames(part, settings.fraction, settings.sampler, settings.seed)
        rule = f"{100 * settings.fraction:g} % by {settings.sampler}"
        if settings.fraction < 1 and len(indices) == len(labelled) > 1:
            notice(
                f"`sampler={settings.sampler}` takes all "
                f"{quantity(len(indices), 'labelled frame')}, not "
                f"{100 * settings.fraction:g} %: they are of {len(part.scene_names)} scene; "
                "`sampler=frames` or `sampler=every-nth` takes some"
            )
    return FrameSample(indices, f"{rule} ({len(indices)} of {len(labelled)} labelled)")


def usable_frames(
    parts: TaskFrames, fault: Callable[[NDArray[np.float32]], str]
) -> tuple[list[int], list[BadFrame]]:
    """Training frames that can be read, and those that are reported and left out.

    Raises:
        CleverError: none can be read.
    """
    indices = parts.sample.indices
    good, bad = usable(parts.train, indices, "check labels", fault)
    for frame in bad:
        notice(f"skipped frame {frame.id}: {frame.reason}")
    if not good:
        raise CleverError(
            f"none of the {quantity(len(indices), 'training frame')} can be used; the first: "
            f"{bad[0].reason}"
        )
    return good, bad


def extent_check(
    settings: FinetuneSettings, student: Student, team: Team
) -> Callable[[NDArray[np.float32]], str]:
    """Says of a frame's bounds why it cannot be trained on; a frozen student takes small ones."""
    alone = settings.mode == "full" and frames_at_once(settings, team) == 1
    halvings = student.backbone.halvings if alone else None
    return partial(extent_fault, voxel_size=student.voxel_size, halvings=halvings)


def warn_of_frames(settings: FinetuneSettings, parts: TaskFrames) -> None:
    """Say what is doubtful in the frames of the training part and of the validation part."""
    for dataset, frames in (
        (parts.train, parts.sample.indices),
        (parts.val, parts.held_out),
    ):
        if intensity_fault := dark_sweeps(dataset, frames):
            notice(intensity_fault)
    if label_fault := labels_fault(parts.val, parts.held_out):
        notice(f"{settings.val_split}: {label_fault}")


def warn_of_sweeps(settings: FinetuneSettings, start: StartingStudent) -> None:
    """Say that a student was pre-trained on denser clouds than it is given here."""
    if start.input_sweeps > settings.input_sweeps:
        words = quantity(start.input_sweeps, "earlier sweep")
        notice(
            f"{start.checkpoint} was pre-trained with {words} in every cloud and is given "
            f"{settings.input_sweeps} here; give `input_sweeps={start.input_sweeps}` where the "
            "dataset has them"
        )


def warn_of_common_scenes(training: Training, parts: TaskFrames) -> None:
    """Say that the student has seen scenes in pre-training that it will be measured on."""
    val, held_out = parts.val, parts.held_out
    scenes = common_scenes(training, val, held_out).get("pre-training")
    if scenes:
        notice(
            f"warning: {len(scenes)} of the "
            f"{quantity(len(scenes_of(val, held_out)), 'scene')} to measure on "
            f"were seen in pre-training, e.g. {min(scenes)}; a fair figure needs a student that "
            "was pre-trained on others"
        )


def readable_count(parts: TaskFrames, skipped: Sequence[BadFrame]) -> int:
    """How many of the frames that a measurement skipped can be read now."""
    dataset, names, count = parts.val, {frame.id for frame in skipped}, 0
    for index in parts.held_out:
        if dataset.frame_ids[index] in names:
            with suppress(CleverError):
                dataset.points(index)
                class_labels(dataset, index)
                count += 1
    return count
