"""Label point files, or the frames of a dataset, with a fine-tuned segmenter."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CleverError, FrameError
from ..files import atomic_write
from ..student.segmenter import NO_LABEL, TrainedSegmenter, load_segmenter, segmenter_digest
from ..words import quantity
from .datasets import LidarDataset, open_dataset
from .datasets.base import label_ids, positions
from .datasets.denser_frames import denser_cloud
from .datasets.readers.intensity import dark_sweeps
from .datasets.registry import dataset_class
from .datasets.submission import submission_of
from .detectors.checkpoint import HEAD
from .outputs.each_input import (
    Outputs,
    make_each,
    open_folder,
    output_of_each,
    output_of_frame,
    read_file,
    refuse_existing,
    refuse_single_file,
)
from .outputs.label_files import NO_ID, WRITERS, LabelledPoints, confidence_file, label_bytes
from .outputs.predictions import CLASSES_FILE, FREE, AnyOutputs, PredictedFile, Predictions
from .predict_boxes import predict_boxes
from .process.device import choose_device
from .results.run_defaults import input_sweeps_of, run_dataset
from .results.run_folder import notice, warn_unfinished
from .results.sources import Source, Sources
from .settings.predict import PredictSettings
from .settings.shared.dataset import HeldOutPart
from .settings.shared.point_files import PointFiles

TEST = "test"
"""Split whose labels a benchmark keeps to itself."""
SUBMISSION = "submission"
"""In the folder of a submission: what is handed in."""
Write = Callable[[Path, NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]], None]
"""Writes points (N, 4), labels and confidence to a path."""
DETECTION_TABLE = "detection.json"
"""What `clever detect` leaves beside its runs."""


@dataclass(frozen=True, slots=True)
class Labeller:
    """A trained segmenter under the settings of a job.

    Attributes:
        ids: id of every class in ``.label`` files.
        digest: of the weights.
    """

    trained: TrainedSegmenter
    settings: PredictSettings
    ids: Sequence[int]
    digest: str

    def labels(self, points: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Label and confidence of every point; raises as `TrainedSegmenter`."""
        return self.trained(points, self.settings.tta)

    def write(
        self,
        out: Path,
        xyz: NDArray[Any],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.float32],
    ) -> None:
        """Write the output of a cloud in the format of its ending."""
        names = self.trained.training.class_names
        cloud = LabelledPoints(xyz, labels, confidence, names, self.ids)
        WRITERS[out.suffix.lower().removeprefix(".")](out, cloud)

    def open_folder(self) -> Sources:
        """The folder of the outputs, with a file that says what their numbers mean; raises as
        `outputs.open_folder`."""
        sources = open_folder(self.settings.out, self.settings, FREE, [CLASSES_FILE])
        ending = self.settings.output_format or next(iter(WRITERS))
        self.write_classes(self.settings.out / CLASSES_FILE, ending)
        return sources

    def write_classes(self, path: Path, ending: str) -> None:
        """Write what the numbers of an output mean, in the format of its ending."""
        by_id, training = ending == "label", self.trained.training
        numbers = self.ids if by_id else range(len(training.class_names))
        content = {
            "protocol": training.line(self.settings.tta),
            "classes": dict(zip(map(str, numbers), training.class_names, strict=True)),
            "no prediction": NO_ID if by_id else NO_LABEL,
        }
        atomic_write(path, json.dumps(content, indent=2) + "\n")

    def of(self, dataset: LidarDataset) -> "Labeller":
        """The same with the ids of a dataset of the same classes."""
        names = self.trained.training.class_names
        ids = label_ids(dataset, names)
        if tuple(dataset.class_names) != names or tuple(ids) == tuple(self.ids):
            return self
        digest = f"{self.digest} ids {','.join(map(str, ids))}"
        return replace(self, ids=ids, digest=digest)

    def summary(
        self,
        outputs: AnyOutputs,
        unit: str,
        notes: Sequence[str] = (),
    ) -> Predictions:
        """What is told of the outputs."""
        device = next(self.trained.segmenter.parameters()).device.type
        line = self.trained.training.line(self.settings.tta)
        return Predictions(line, unit, device, self.settings.out, outputs, list(notes))


def predict(settings: PredictSettings) -> Predictions:
    """Label every point of the files, or of the dataset's frames where none are given; with a run
    of `clever detect`, find their boxes.

    A folder holds the outputs of one set of settings. There an output whose points and weights have
    not changed stays, so that the same command goes on where it was stopped; an input that cannot
    be used is reported and left out.

    Raises:
        CleverError: settings that contradict each other, no checkpoint, an output that exists or
            belongs to other settings, a dataset without a format of submissions, or no usable
            input.
    """
    _check(settings)
    warn_unfinished(settings.checkpoint)
    if (settings.checkpoint / HEAD).exists():
        return predict_boxes(settings)
    if (settings.checkpoint / DETECTION_TABLE).exists():
        raise CleverError(
            f"{settings.checkpoint} is a table of detectors; give one of its runs, "
            f"{settings.checkpoint}/runs/NAME"
        )
    if settings.output_format not in (None, *WRITERS):
        raise CleverError(
            f"{settings.checkpoint} labels points, which are written as {', '.join(WRITERS)}; "
            f"`output_format={settings.output_format}` is one of boxes"
        )
    segmenter, training = load_segmenter(settings.checkpoint)
    device = choose_device(settings.device)
    labeller = Labeller(
        TrainedSegmenter(segmenter.to(device), training),
        settings,
        training.label_ids or _ids(training.dataset, training.class_names),
        segmenter_digest(settings.checkpoint),
    )
    return _label_files(labeller) if settings.points else _label_frames(labeller)


def _check(settings: PredictSettings) -> None:
    """Refuse settings that mean nothing beside the others."""
    if settings.points:
        others, reason = HeldOutPart, "`points` names files"
        own = {"dataset", "input_sweeps", "limit", "submission"}
        free = {"data_root"}
    else:
        others, reason, own, free = PointFiles, "a dataset's frames are labelled", set(), {"points"}
        if settings.data_root is None:
            raise CleverError(
                "nothing to label: name files in `points`, or a dataset with `data_root`"
            )
        if settings.submission and settings.output_format:
            raise CleverError("a submission has its own format; leave `output_format` out")
    for name in (own | others.model_fields.keys()) - free:
        if getattr(settings, name) != PredictSettings.model_fields[name].default:
            raise CleverError(f"{reason}; leave `{name}` out")


def _ids(dataset: str, class_names: Sequence[str]) -> Sequence[int]:
    """Ids in ``.label`` files of the classes of a training dataset; 1 to K where it is not
    installed here."""
    try:
        return label_ids(dataset_class(dataset), class_names)
    except CleverError:
        return range(1, len(class_names) + 1)


def _label_files(labeller: Labeller) -> Predictions:
    """Label bare files."""
    settings = labeller.settings
    if sweeps := labeller.trained.training.input_sweeps:
        notice(
            f"{settings.checkpoint} was trained with {quantity(sweeps, 'earlier sweep')} in every "
            "cloud; files are labelled without"
        )
    targets = output_of_each(settings.points, settings.out, tuple(WRITERS), settings.output_format)
    single = settings.out in targets.values()
    sources = None if single else labeller.open_folder()
    classes = settings.out.with_name(f"{settings.out.name}.{CLASSES_FILE}")
    if single:
        labels_alone = settings.out.suffix.lower() == ".label"
        confidence = [confidence_file(settings.out)] if labels_alone else []
        refuse_existing(settings.out, [classes, *confidence])

    def make(path: Path) -> PredictedFile | None:
        out = targets[path]
        if sources is not None and sources.current(out, path, labeller.digest):
            return None
        read_from = Source.of(path, labeller.digest)
        file = read_file(path, settings, "they get no label")
        try:
            labels, confidence = labeller.labels(file.points)
        except CleverError as error:
            raise CleverError(f"{path}: {error}") from error
        labeller.write(out, file.cloud.xyz, labels, confidence)
        if sources is None:
            labeller.write_classes(classes, out.suffix.lower().removeprefix("."))
        else:
            sources.note(out, read_from)
        return PredictedFile(str(path), out, len(labels), _gaps(labels), file.words)

    outputs = make_each("predict", "files", list(targets), make)
    notes = [f"what its numbers mean: {classes}"] if single else []
    return labeller.summary(outputs, "files", notes)


def _label_frames(labeller: Labeller) -> Predictions:
    """Label frames of a dataset."""
    settings, training = labeller.settings, labeller.trained.training
    refuse_single_file(settings.out, tuple(WRITERS))
    name, version = run_dataset(settings.dataset, settings.version, training)
    dataset = open_dataset(settings.decided(version=version), name)
    numbers = dict(list(positions(dataset).items())[: settings.limit])
    if doubtful := dark_sweeps(dataset, list(numbers.values())):
        notice(doubtful)
    if settings.submission:
        return _submit(labeller, dataset, numbers)
    labeller = labeller.of(dataset)
    sources = labeller.open_folder()

    def write(
        out: Path,
        points: NDArray[np.float32],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.float32],
    ) -> None:
        labeller.write(out, points[:, :3], labels, confidence)

    ending = settings.output_format or next(iter(WRITERS))
    targets = {frame: settings.out / output_of_frame(frame, ending) for frame in numbers}
    outputs = _label_each(labeller, dataset, numbers, targets, sources, write)
    return labeller.summary(outputs, "frames")


def _submit(labeller: Labeller, dataset: LidarDataset, numbers: Mapping[str, int]) -> Predictions:
    """Label frames as the benchmark of their dataset wants it."""
    training, settings = labeller.trained.training, labeller.settings
    if tuple(dataset.class_names) != training.class_names:
        raise CleverError(
            f"{settings.checkpoint} was trained for the classes of {training.dataset}, not of "
            f"{dataset.name}; its benchmark cannot be handed these"
        )
    submission, ids = submission_of(dataset), label_ids(dataset, dataset.class_names)
    sources, root = open_folder(settings.out, settings, FREE), settings.out / SUBMISSION
    for path, text in submission.extra.items():
        atomic_write(root / path, text)

    def write(
        out: Path,
        _: NDArray[np.float32],
        labels: NDArray[np.uint8],
        __: NDArray[np.float32],
    ) -> None:
        atomic_write(out, label_bytes(labels, ids, submission.dtype))

    targets = {frame: root / submission.files[number] for frame, number in numbers.items()}
    outputs = _label_each(labeller, dataset, numbers, targets, sources, write)
    lacking = sum(not (root / file).exists() for file in submission.files)
    part = ", ".join(settings.sequences) if settings.sequences else f"split {settings.split}"
    notes = [f"hand in the contents of {root}, {part}"]
    if not settings.sequences and settings.split != TEST:
        notes[0] += f"; a benchmark itself measures `split={TEST}`"
    notes += [submission.note] if submission.note else []
    if lacking:
        notes.append(
            f"{lacking} of {quantity(len(dataset), 'frame')} lacking; a benchmark refuses that"
        )
    return labeller.summary(outputs, "frames", notes)


def _label_each(
    labeller: Labeller,
    dataset: LidarDataset,
    numbers: Mapping[str, int],
    targets: Mapping[str, Path],
    sources: Sources,
    write: Write,
) -> Outputs[str, PredictedFile]:
    """Label the frames at `numbers`, positions by id, and write each to its target: its own
    points, whatever sweeps go into the network with them."""
    sweeps = input_sweeps_of(labeller.settings.input_sweeps, labeller.trained.training)

    def make(frame: str) -> PredictedFile | None:
        out, own = targets[frame], dataset.points(numbers[frame])
        points = denser_cloud(own, dataset, numbers[frame], sweeps)
        source = Source.of_points(frame, points, labeller.digest)
        if sources.holds(out, source):
            return None
        try:
            labels, confidence = labeller.labels(points)
        except CleverError as error:
            raise FrameError(frame, str(error)) from error
        labels, confidence = labels[: len(own)], confidence[: len(own)]
        write(out, own, labels, confidence)
        sources.note(out, source)
        return PredictedFile(frame, out, len(labels), _gaps(labels))

    return make_each("predict", "frames", list(numbers), make)


def _gaps(labels: NDArray[np.uint8]) -> str:
    """How many points have no label, in words; empty where all have one."""
    count = int((labels == NO_LABEL).sum())
    return f"{count} without a label" if count else ""
