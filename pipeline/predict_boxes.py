"""Find boxes in point files, or in the frames of a dataset, with a detector of `clever detect`."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CleverError, FrameError
from ..files import atomic_write
from .datasets import LidarDataset, open_dataset
from .datasets.base import positions
from .datasets.readers.intensity import dark_sweeps
from .datasets.readers.kitti_objects import write_objects
from .detection.boxes import Boxes
from .detection.detections import Detections
from .detection.kitti_boxes import kitti_objects
from .detection_runs.benchmarks import benchmark_of
from .detection_runs.camera_view import camera_view
from .detectors.checkpoint import TrainedDetector, detector_digest, load_detector
from .outputs.each_input import (
    make_each,
    open_folder,
    output_of_each,
    output_of_frame,
    read_file,
    refuse_existing,
    refuse_single_file,
)
from .outputs.predictions import CLASSES_FILE, FREE, AnyOutputs, PredictedFile, Predictions
from .process.device import choose_device
from .results.run_folder import notice
from .results.sources import Source, Sources
from .settings.predict import PredictSettings

JSON, KITTI = "json", "kitti"
ENDINGS = {JSON: "json", KITTI: "txt"}
"""Endings of the files by format."""
MEANINGS = {
    JSON: {
        "name": "class",
        "score": "of the class, above 0.1, at most 1",
        "box": "x, y, z of the centre, length, width, height in metres, yaw in radians, "
        "counter-clockwise from x as seen from above; in the frame of the points",
    },
    KITTI: {
        "line": "as KITTI's programs read results: type, truncated, occluded (both -1), alpha, "
        "left, top, right, bottom in pixels, height, width, length, x, y, z of the bottom's centre "
        "in rectified camera 0, metres, rotation about y in radians, score; without a rectangle "
        "in the image all four pixels are 0",
    },
}
"""What stands in a file of each format."""
Write = Callable[[Path, int, Detections], None]
"""Writes the boxes of the frame at a position of the dataset to a path."""


@dataclass(frozen=True, slots=True)
class Finder:
    """A trained detector under the settings of a job.

    Attributes:
        digest: of the weights.
    """

    detector: TrainedDetector
    settings: PredictSettings
    digest: str

    @property
    def output_format(self) -> str:
        """`JSON` or `KITTI`."""
        return self.settings.output_format or JSON

    def open_folder(self) -> Sources:
        """The folder of the outputs, with a file that says what they mean; raises as
        `outputs.open_folder`."""
        sources = open_folder(self.settings.out, self.settings, FREE, [CLASSES_FILE])
        self.write_meaning(self.settings.out / CLASSES_FILE)
        return sources

    def write_meaning(self, path: Path) -> None:
        """Write what stands in the outputs."""
        meta = self.detector.meta
        content = {
            "protocol": self.protocol,
            "classes": meta.class_names,
            **MEANINGS[self.output_format],
        }
        atomic_write(path, json.dumps(content, indent=2) + "\n")

    def write_json(self, path: Path, result: Detections) -> None:
        """A list of boxes, one a line."""
        records = result.records(self.detector.meta.class_names)
        lines = ",\n".join(map(json.dumps, records))
        atomic_write(path, f"[\n{lines}\n]\n")

    @property
    def protocol(self) -> str:
        """What was trained, and where it looks."""
        meta = self.detector.meta
        spans = (
            f"{axis} {low:g} to {high:g}" for axis, low, high in zip("xyz", *meta.area, strict=True)
        )
        return f"{meta.details}; boxes with their centres in {', '.join(spans)} m of the LiDAR"

    def summary(self, outputs: AnyOutputs, unit: str, *notes: str) -> Predictions:
        """What is told of the outputs."""
        device = next(self.detector.step.parameters()).device.type
        return Predictions(self.protocol, unit, device, self.settings.out, outputs, list(notes))


def predict_boxes(settings: PredictSettings) -> Predictions:
    """Find boxes in the files, or in the dataset's frames where none are given; no labels are read.

    A folder is filled as `predict` fills one.

    Raises:
        CleverError: settings that mean nothing for boxes, a damaged checkpoint, an output that
            exists or belongs to other settings, or no usable input.
    """
    _check(settings)
    step, meta = load_detector(settings.checkpoint)
    detector = TrainedDetector(step.to(choose_device(settings.device)), meta)
    finder = Finder(detector, settings, detector_digest(settings.checkpoint))
    return _search_files(finder) if settings.points else _search_frames(finder)


def _check(settings: PredictSettings) -> None:
    """Refuse what means nothing for boxes."""
    for name in ("tta", "submission", "input_sweeps"):
        if getattr(settings, name):
            raise CleverError(f"{settings.checkpoint} finds boxes; leave `{name}` out")
    if settings.output_format not in (None, *ENDINGS):
        raise CleverError(
            f"{settings.checkpoint} finds boxes, which are written as {' or '.join(ENDINGS)}; "
            f"`output_format={settings.output_format}` is one of labels"
        )
    if settings.points and settings.output_format == KITTI:
        raise CleverError(
            "KITTI's results need a camera, and files have none; choose `output_format=json`"
        )


def _search_files(finder: Finder) -> Predictions:
    """Find boxes in bare files."""
    settings = finder.settings
    targets = output_of_each(settings.points, settings.out, (JSON,), settings.output_format)
    single = settings.out in targets.values()
    sources = None if single else finder.open_folder()
    meaning = settings.out.with_name(f"{settings.out.name}.{CLASSES_FILE}")
    if single:
        refuse_existing(settings.out, [meaning])

    def make(path: Path) -> PredictedFile | None:
        out = targets[path]
        if sources is not None and sources.current(out, path, finder.digest):
            return None
        read_from = Source.of(path, finder.digest)
        file = read_file(path, settings, "they take no part")
        try:
            result = finder.detector(file.points)
        except CleverError as error:
            raise CleverError(f"{path}: {error}") from error
        finder.write_json(out, _moved(result, settings.origin))
        if sources is None:
            finder.write_meaning(meaning)
        else:
            sources.note(out, read_from)
        return PredictedFile(str(path), out, len(file.points), _count(result), file.words)

    outputs = make_each("predict", "files", list(targets), make)
    notes = [f"what stands in it: {meaning}"] if single else []
    return finder.summary(outputs, "files", *notes)


def _search_frames(finder: Finder) -> Predictions:
    """Find boxes in frames of a dataset."""
    settings, meta = finder.settings, finder.detector.meta
    refuse_single_file(settings.out, (JSON,))
    if settings.dataset is None:
        notice(f"`dataset={meta.dataset}`, that of the run")
    dataset = open_dataset(settings, settings.dataset or meta.dataset)
    if dataset.name != meta.dataset:
        notice(
            f"the detector learnt from {meta.dataset}; what it finds in {dataset.name} has the "
            f"classes and the reach of {meta.dataset}"
        )
    benchmark = benchmark_of(meta.dataset)
    numbers = dict(list(positions(dataset).items())[: settings.limit])
    if doubtful := dark_sweeps(dataset, list(numbers.values())):
        notice(doubtful)
    sources, counts = finder.open_folder(), Counter[str]()
    write = _kitti_writer(finder, dataset) if finder.output_format == KITTI else _writer(finder)

    def make(frame: str) -> PredictedFile | None:
        out = settings.out / output_of_frame(frame, ENDINGS[finder.output_format])
        points = benchmark.seen(dataset, numbers[frame])
        source = Source.of_points(frame, points, finder.digest)
        if sources.holds(out, source):
            return None
        try:
            result = finder.detector(points)
        except CleverError as error:
            raise FrameError(frame, str(error)) from error
        write(out, numbers[frame], result)
        sources.note(out, source)
        counts.update(result.names(meta.class_names))
        return PredictedFile(frame, out, len(points), _count(result))

    outputs = make_each("predict", "frames", list(numbers), make)
    words = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "no boxes"
    return finder.summary(outputs, "frames", *([f"in these: {words}"] if outputs.files else []))


def _writer(finder: Finder) -> Write:
    return lambda path, _, result: finder.write_json(path, result)


def _kitti_writer(finder: Finder, dataset: LidarDataset) -> Write:
    """Writes KITTI's results."""

    def write(path: Path, index: int, result: Detections) -> None:
        view, names = camera_view(dataset, index), result.names(finder.detector.meta.class_names)
        objects = kitti_objects(result.boxes, names, result.scores, view.calibration, view.size)
        write_objects(path, objects)

    return write


def _moved(result: Detections, origin: tuple[float, float, float] | None) -> Detections:
    """The same from the sensor's frame into that of the file, where the sensor stands at
    `origin`."""
    if origin is None:
        return result
    shift = torch.tensor([*origin, 0, 0, 0, 0], dtype=torch.float64)
    return Detections(Boxes(result.boxes.rows.double() + shift), result.scores, result.classes)


def _count(result: Detections) -> str:
    count = len(result.scores)
    return f"{count} box{'es' * (count != 1)}"
