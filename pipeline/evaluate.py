"""Semantic segmentation on a labelled split: one confusion matrix over all points, mIoU and IoU by
class."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..errors import CleverError, FrameError
from ..extras import lacking_extra
from ..files import atomic_write
from ..student.checkpoint import DATASETS_JOINED
from ..student.points import PointBatch
from ..student.segmenter import Segmenter, Training, load_segmenter, segmenter_digest
from ..student.tta import mean_probabilities
from ..words import quantity
from .datasets import IGNORE, LidarDataset, open_dataset
from .datasets.base import class_labels, class_mean
from .datasets.denser_frames import with_input_sweeps
from .datasets.readers.intensity import dark_sweeps
from .process.device import choose_device
from .process.progress import Track
from .results.run_defaults import input_sweeps_of, mean_of, run_dataset
from .results.run_folder import Run, notice
from .results.tables import csv_text
from .settings.evaluate import EvaluateSettings
from .settings.shared.choices import ClassMean
from .steps.labelled import BadFrame, describe, labelled_indices, scenes_of

CONFUSION_TABLE, CONFUSION_PICTURE = "confusion.csv", "confusion.png"
"""Files beside the result of an evaluation."""
RULES: dict[ClassMean, str] = {
    "present": "mean over the classes that occur in labels or predictions",
    "all": "mean over all classes, absent ones count 0",
}


class UnmeasuredError(CleverError):
    """No frame could be measured, or none of their points has a label."""


class SegmentationResult(BaseModel):
    """What an evaluation found; shares lie in [0, 1].

    Attributes:
        protocol: what was trained and measured on what, in one line.
        mean: over which classes the mean is taken, see `RULES`.
        miou: mean of `iou` over the classes that are not None, or over all, where None counts 0.
        iou: by class; None for a class that occurs neither in labels nor in predictions.
        confusion: points by label (row) and prediction (column).
        points: labelled points, which alone count.
        frames: frames measured.
        unlabelled: frames of the split without a label file.
        bad: frames that could not be measured.
        weights: digest of the segmenter that was measured; empty where it lies in no folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    mean: ClassMean
    miou: float
    iou: dict[str, float | None]
    confusion: list[list[int]]
    points: int
    frames: int
    unlabelled: int
    bad: list[BadFrame]
    weights: str = ""

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the classes that occur in labels or predictions."""
        return tuple(name for name, value in self.iou.items() if value is not None)

    def with_weights_of(self, folder: Path) -> "SegmentationResult":
        """The same with the digest of the segmenter in `folder`, which was measured."""
        return self.model_copy(update={"weights": segmenter_digest(folder)})

    def __str__(self) -> str:
        width = max(map(len, ["class", *self.iou]))
        classes = [
            f"  {name:{width}}  {'-' if value is None else f'{100 * value:.1f}':>5}"
            f"  {_point_words(sum(row))}"
            for (name, value), row in zip(self.iou.items(), self.confusion, strict=True)
        ]
        rule = f"{RULES[self.mean]}, {len(self.present)} of {len(self.iou)}"
        lines = [
            self.protocol,
            f"  {'class':{width}}  IoU %",
            *classes,
            f"mIoU {100 * self.miou:.2f} % ({rule}; one confusion matrix over all labelled points)",
        ]
        lines.append(
            f"{quantity(self.points, 'labelled point')} of {quantity(self.frames, 'frame')}, "
            f"{self.unlabelled} without "
            "labels"
        )
        return "\n".join(
            lines + [f"skipped frame {frame.id}: {frame.reason}" for frame in self.bad]
        )


def _point_words(labelled: int) -> str:
    return quantity(labelled, "labelled point") if labelled else "no labelled point"


def intersection_over_union(confusion: Tensor) -> Tensor:
    """IoU by class, (K,) float64, of a confusion matrix (K, K) of counts; NaN for a class that does
    not occur."""
    counts = confusion.double()
    hits = counts.diag()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def class_difference(results: Mapping[str, SegmentationResult]) -> str:
    """A line on results whose means are over other classes, with the means over those that occur in
    all of them; empty where the classes are the same or the means are over all.

    Args:
        results: by what the line calls them.
    """
    sets = [set(result.present) for result in results.values()]
    order = next(iter(results.values())).iou
    common = [name for name in order if all(name in names for names in sets)]
    others = sorted(set[str]().union(*sets) - set(common))
    if not others or not common or any(result.mean == "all" for result in results.values()):
        return ""
    means = ", ".join(
        f"{name} {100 * sum(result.iou[one] or 0 for one in common) / len(common):.1f} %"
        for name, result in results.items()
    )
    return (
        f"not all of them have {', '.join(others)} in labels or predictions; over the "
        f"{quantity(len(common), 'class', 'classes')} that all have: {means}"
    )


def mean_iou(iou: Tensor, mean: ClassMean) -> float:
    """Mean of the IoU by class, (K,) float64 with NaN for an absent class, which `all` counts as 0
    (semantic-kitti-api, Pointcept) and `present` leaves out (nuscenes-devkit)."""
    return float(iou.nanmean() if mean == "present" else iou.nan_to_num(0).mean())


def measure(
    predict: Callable[[PointBatch], Tensor],
    dataset: LidarDataset,
    indices: Sequence[int],
    device: torch.device,
    protocol: Callable[[Sequence[int]], str],
    mean: ClassMean,
) -> SegmentationResult:
    """Predict every point of the frames at `indices`, one frame at a time, and compare with the
    labels.

    Args:
        predict: logits (N, K) of a cloud, or their softmax, in evaluation mode.
        protocol: what is printed with the result, from the indices of the frames that were
            measured.
        mean: over which classes.

    Raises:
        UnmeasuredError: no frame could be measured, or none of their points has a label.
    """
    classes = len(dataset.class_names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    bad: list[BadFrame] = []
    measured: list[int] = []
    with Track("evaluate", len(indices)) as track, torch.inference_mode():
        for index in indices:
            try:
                confusion += _confusion(*_predictions(predict, dataset, index, device), classes)
                measured.append(index)
            except CleverError as error:
                reason = error.reason if isinstance(error, FrameError) else str(error)
                bad.append(BadFrame(id=dataset.frame_ids[index], reason=reason))
                notice(f"skipped frame {bad[-1].id}: {bad[-1].reason}")
            track.advance()
    if not confusion.any():
        raise UnmeasuredError(
            f"none of {quantity(len(indices), 'frame')} could be measured; the first: {_why(bad)}"
        )
    iou = intersection_over_union(confusion)
    return SegmentationResult(
        protocol=protocol(measured),
        mean=mean,
        miou=mean_iou(iou, mean),
        iou={
            name: None if value != value else value
            for name, value in zip(dataset.class_names, iou.tolist(), strict=True)
        },
        confusion=confusion.tolist(),
        points=int(confusion.sum()),
        frames=len(measured),
        unlabelled=sum(not dataset.has_labels(index) for index in range(len(dataset))),
        bad=bad,
    )


def evaluate(settings: EvaluateSettings) -> SegmentationResult:
    """Measure a fine-tuned checkpoint on a labelled split and write the result beside it.

    Raises:
        CleverError: no checkpoint, other classes than it was trained for, no labelled frame that
            can be read.
    """
    segmenter, training = load_segmenter(settings.checkpoint)
    name, version = run_dataset(settings.dataset, settings.version, training)
    sweeps = input_sweeps_of(settings.input_sweeps, training)
    dataset = with_input_sweeps(open_dataset(settings.decided(version=version), name), sweeps)
    where = _where(settings, training)
    if sweeps != training.input_sweeps:
        training = training.with_note(
            f"measured with {quantity(sweeps, 'earlier sweep')} in the input"
        )
    out = settings.out or settings.checkpoint / f"evaluate-{dataset.name}-{where}"
    if tuple(dataset.class_names) != training.class_names:
        classes = f"{settings.checkpoint} was trained for the classes of {training.dataset}"
        if name == training.dataset:
            raise CleverError(f"{classes} with other options; give the `dataset_option` of its run")
        raise CleverError(f"{classes}, not of {name}")
    indices = labelled_indices(dataset, settings.split)[: settings.limit]
    mean = settings.mean or mean_of(settings.checkpoint) or class_mean(dataset)
    run = Run.open(out, settings.decided(dataset=name, version=version, mean=mean, out=out))
    if doubtful := dark_sweeps(dataset, indices):
        notice(doubtful)
    device = choose_device(settings.device)
    part = "sequences" if settings.sequences else settings.split
    result = measure_segmenter(
        segmenter, training, dataset, indices, part, device, mean, settings.tta
    )
    result = result.with_weights_of(settings.checkpoint)
    write_confusion(out, result)
    run.write_result(result)
    notice(f"written to {out}")
    return result


def write_confusion(folder: Path, result: SegmentationResult) -> None:
    """Write the confusion matrix to ``confusion.csv`` and ``confusion.png`` in `folder`; a line
    says so where there is no package to draw with.

    The table's first row names the predictions, its first column the labels.
    """
    names = list(result.iou)
    table = [["label \\ prediction", *names]]
    table += [[name, *map(str, row)] for name, row in zip(names, result.confusion, strict=True)]
    atomic_write(folder / CONFUSION_TABLE, csv_text(table))
    try:
        from .pictures.confusion import draw_confusion
    except ModuleNotFoundError as error:
        if (lack := lacking_extra(error)) is None:
            raise
        notice(f"no {CONFUSION_PICTURE}: {lack}")
    else:
        draw_confusion(result.confusion, names, result.protocol, folder / CONFUSION_PICTURE)


def measure_segmenter(
    segmenter: Segmenter,
    training: Training,
    dataset: LidarDataset,
    indices: Sequence[int],
    split: str,
    device: torch.device,
    mean: ClassMean,
    tta: bool = False,
) -> SegmentationResult:
    """`measure` a segmenter under its own protocol, which says how many of the frames were measured
    and where scenes of its training are among them; with `tta` its mean over ten passes."""

    def protocol(measured: Sequence[int]) -> str:
        words = describe(dataset, measured, split, len(indices))
        notes = [
            f", {len(shared)} of its scenes seen in {stage}"
            for stage, shared in common_scenes(training, dataset, measured).items()
        ]
        return training.protocol(f"{words[:-1]}{''.join(notes)})", RULES[mean], tta)

    network = segmenter.to(device).eval()
    predict = partial(mean_probabilities, network) if tta else network
    return measure(predict, dataset, indices, device, protocol, mean)


def common_scenes(
    training: Training, dataset: LidarDataset, indices: Sequence[int]
) -> dict[str, set[str]]:
    """Scenes of some frames that the segmenter has seen before, in ``training`` (with labels) or
    ``pre-training``; nothing where it has seen none."""
    scenes = set(scenes_of(dataset, indices))
    parts = {
        "training": scenes & set(training.scenes) if dataset.name == training.dataset else set(),
        "pre-training": scenes & set(training.pretraining_scenes)
        if dataset.name in training.pretraining.split(DATASETS_JOINED)
        else set(),
    }
    return {stage: shared for stage, shared in parts.items() if shared}


def _predictions(
    predict: Callable[[PointBatch], Tensor], dataset: LidarDataset, index: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Predicted and true class of every point, (N,) int64 each."""
    labels = torch.from_numpy(class_labels(dataset, index)).long()
    points = PointBatch.from_clouds([torch.from_numpy(dataset.points(index))])
    return predict(points.to(device)).argmax(1), labels.to(device)


def _confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Points by label (row) and prediction (column), (K, K) int64 on the CPU, without those that
    have no label."""
    labelled = labels != IGNORE
    cells = labels[labelled] * classes + predictions[labelled]
    return torch.bincount(cells, minlength=classes**2).view(classes, classes).cpu()


def _where(settings: EvaluateSettings, training: Training) -> str:
    """Name of what is measured and how, so that a trial of few frames leaves the folder of the
    whole free."""
    parts = list(settings.sequences) if settings.sequences else [settings.split]
    parts += ["first", str(settings.limit)] if settings.limit else []
    if settings.input_sweeps not in (None, training.input_sweeps):
        parts += ["sweeps", str(settings.input_sweeps)]
    parts += ["mean", settings.mean] if settings.mean else []
    return "-".join([*parts, "tta"] if settings.tta else parts)


def _why(bad: list[BadFrame]) -> str:
    return f"frame {bad[0].id}: {bad[0].reason}" if bad else "no point has a label"
