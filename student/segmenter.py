"""A student with a linear classifier on its point features: what fine-tuning makes and evaluation
reads."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from ..errors import CleverError
from .checkpoint import load_module, load_student, read_meta, save_module, save_student
from .points import PointBatch
from .segmentation import LinearProbe
from .student import Student
from .tta import tta_words

CLASSIFIER_FILE = "classifier.safetensors"


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
        return (
            f"{self.head}, {self.dataset} {self.frames} -> {test_frames}, {self.details}, "
            f"{self.initialisation}, {tta_words(tta)}, all points, {mean}"
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


def load_segmenter(folder: Path | str) -> tuple[Segmenter, Training]:
    """The segmenter of a fine-tuning run and how it was trained, on the CPU, in evaluation mode.

    Raises:
        CleverError: there is none, or it is damaged.
    """
    folder = Path(folder)
    path = folder / CLASSIFIER_FILE
    if not path.is_file():
        raise CleverError(
            f"{folder} holds no {CLASSIFIER_FILE}; give the output folder of a `clever finetune` "
            "run"
        )
    try:
        training = Training.model_validate(read_meta(path).get("training"))
    except ValidationError as error:
        raise CleverError(f"{path} was written by another version; fine-tune again") from error
    student = load_student(folder)
    classifier = LinearProbe(student.out_channels, len(training.class_names), training.batch_norm)
    load_module(path, classifier)
    return Segmenter(student, classifier).eval(), training
