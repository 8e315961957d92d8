"""A student with a linear classifier on its point features: what fine-tuning makes and evaluation
reads."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from ..errors import CleverError
from .checkpoint import (
    load_module,
    load_student,
    read_meta,
    save_module,
    save_student,
    weights_digest,
)
from .points import PointBatch
from .segmentation import LinearProbe
from .student import Student
from .tta import mean_probabilities, tta_words

CLASSIFIER_FILE = "classifier.safetensors"
NO_LABEL = 255
"""Label of a point without a prediction."""


class Training(BaseModel):
    """How a segmenter was trained, kept with its weights.

    Attributes:
        dataset, version: what it was trained on.
        class_names: names of its classes.
        batch_norm: whether the classifier has one.
        head: ``linear probe`` or ``full fine-tuning``.
        initialisation: where the student's weights came from.
        frames: the training frames, as in ``train 00 (21 scans)``.
        scenes: names of their scenes.
        pretraining, pretraining_scenes: the dataset and the scenes that the student was pre-trained
            on; empty where that is unknown.
        details: fraction, epochs and the rest of the recipe.
        label_ids: id of every class in the dataset's own label files; empty where that is unknown.
        input_sweeps: sweeps before each frame that were part of its cloud.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: str | None
    class_names: tuple[str, ...]
    batch_norm: bool
    head: str
    initialisation: str
    frames: str
    scenes: tuple[str, ...]
    details: str
    pretraining: str = ""
    pretraining_scenes: tuple[str, ...] = ()
    label_ids: tuple[int, ...] = ()
    input_sweeps: int = 0

    def with_note(self, note: str) -> "Training":
        """The same with something to add to the details."""
        return Training.model_validate({**dict(self), "details": f"{self.details}, {note}"})

    def protocol(self, test_frames: str, mean: str, tta: bool = False) -> str:
        """One line to print with a result.

        Args:
            test_frames: names the frames measured on.
            mean: over which classes the mean is taken.
            tta: whether the prediction is the mean over `tta.COPIES`.
        """
        return f"{self._line(f' -> {test_frames}', tta)}, {mean}"

    def line(self, tta: bool = False) -> str:
        """One line to print with predictions that are compared with nothing."""
        return self._line("", tta)

    def _line(self, measured: str, tta: bool) -> str:
        return (
            f"{self.head}, {self.dataset} {self.frames}{measured}, {self.details}, "
            f"{self.initialisation}, {tta_words(tta)}, all points"
        )


class Segmenter(nn.Module):
    """Student and classifier; points in, logits of every point out."""

    def __init__(self, student: Student, classifier: LinearProbe) -> None:
        super().__init__()
        self.student, self.classifier = student, classifier

    def forward(self, points: PointBatch) -> Tensor:
        """Logits (N, classes) of every point; without random draws."""
        return self.classifier(self.student(points))

    def save(self, folder: Path, training: Training, with_student: bool = True) -> None:
        """Write both parts into `folder`; a frozen student need not be written again."""
        save_module(
            folder / CLASSIFIER_FILE,
            self.classifier,
            {"training": training.model_dump(mode="json")},
        )
        if with_student:
            origin = (
                f"{training.head}, {training.dataset} {training.frames}, {training.initialisation}"
            )
            save_student(folder, self.student, {"origin": origin})


class TrainedSegmenter(NamedTuple):
    """A segmenter and how it was trained: points in, labels out.

    Attributes:
        segmenter: the network, in evaluation mode.
        training: what it was trained on; `training.class_names` names the labels.
    """

    segmenter: Segmenter
    training: Training

    def __call__(
        self, points: NDArray[Any] | Tensor, tta: bool = False
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Label and confidence of every point of a cloud.

        All points of a voxel get its prediction. A row that is not finite (a beam without return)
        gets `NO_LABEL` and NaN.

        Args:
            points: (N, 4) x, y, z in metres around the sensor, intensity in [0, 1].
            tta: take the mean over the ten passes of `tta.COPIES`.

        Returns:
            (N,) uint8 in 0..K-1, positions in `training.class_names`, and (N,) float32, the
            probability of that class.

        Raises:
            CleverError: an array of another shape, intensities outside [0, 1], points too far
                apart, or a network whose output is not finite.
        """
        device = next(self.segmenter.parameters()).device
        cloud = torch.as_tensor(points, dtype=torch.float32, device=device)
        if cloud.ndim != 2 or cloud.shape[1] != 4:
            raise CleverError(f"points have the shape {tuple(cloud.shape)}, not (N, 4)")
        valid = cloud.isfinite().all(1)
        labels = torch.full((len(cloud),), NO_LABEL, dtype=torch.uint8, device=device)
        confidence = torch.full((len(cloud),), torch.nan, device=device)
        if valid.any():
            labels[valid], confidence[valid] = self._predict(cloud[valid], tta)
        return labels.cpu().numpy(), confidence.cpu().numpy()

    @torch.inference_mode()
    def _predict(self, cloud: Tensor, tta: bool) -> tuple[Tensor, Tensor]:
        """Label and confidence of finite points (N, 4), N at least 1."""
        low, high = (float(bound) for bound in cloud[:, 3].aminmax())
        if low < 0 or high > 1:
            raise CleverError(
                f"the points have intensities from {low:g} to {high:g}; bring them to 0 to 1 by "
                "the value of full intensity"
            )
        batch = PointBatch.from_clouds([cloud])
        # Without passes to average the labels come from the logits: their softmax could tie.
        scores = mean_probabilities(self.segmenter, batch) if tta else self.segmenter(batch).float()
        if not scores.isfinite().all():
            raise CleverError("the network's output is not finite; its weights are of no use")
        labels = scores.argmax(1)
        probabilities = scores if tta else scores.softmax(1)
        return labels.to(torch.uint8), probabilities.gather(1, labels[:, None])[:, 0]


def load_segmenter(folder: Path | str) -> TrainedSegmenter:
    """The segmenter of a fine-tuning run and how it was trained, on the CPU, in evaluation mode.

        labels, confidence = load_segmenter("runs/probe")(points)

    Raises:
        CleverError: there is none, or it is damaged.
    """
    folder = Path(folder)
    path = folder / CLASSIFIER_FILE
    if not path.is_file():
        lack = f"holds no {CLASSIFIER_FILE}" if folder.is_dir() else "is no folder"
        raise CleverError(f"{folder} {lack}; give the output folder of a `clever finetune` run")
    try:
        training = Training.model_validate(read_meta(path).get("training"))
    except ValidationError as error:
        raise CleverError(f"{path} was written by another version; fine-tune again") from error
    student = load_student(folder)
    classifier = LinearProbe(student.out_channels, len(training.class_names), training.batch_norm)
    load_module(path, classifier)
    return TrainedSegmenter(Segmenter(student, classifier).eval(), training)


def segmenter_digest(folder: Path | str) -> str:
    """SHA-256 of the weights of the segmenter in `folder`: student and classifier.

    Raises:
        CleverError: one of them is missing or damaged.
    """
    digests = [weights_digest(folder), weights_digest(folder, CLASSIFIER_FILE)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
