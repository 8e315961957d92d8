"""A trained detector in a folder: the student's weights and the head's."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import CleverError
from ...student.checkpoint import (
    WEIGHTS,
    load_module,
    load_student,
    read_meta,
    save_module,
    save_student,
)
from ..detection.area import Area
from ..settings.shared.choices import DetectorName
from .box_step import BoxStep
from .registry import DETECTORS, HeadPlan

HEAD = "detector.safetensors"


class DetectorMeta(BaseModel):
    """What a head is, kept with its weights.

    Attributes:
        dataset: whose classes these are.
        sizes: mean length, width, height of every class, metres.
        area: lowest and highest x, y, z, metres.
        cell: edge of a cell of a map seen from above, metres.
        points: how many of a frame it sees; None: all.
        details: how it was trained, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: DetectorName
    dataset: str
    class_names: tuple[str, ...]
    sizes: tuple[tuple[float, float, float], ...]
    area: tuple[tuple[float, float, float], tuple[float, float, float]]
    cell: float
    points: int | None
    details: str

    def plan(self, in_channels: int) -> HeadPlan:
        """What its head is made for."""
        return HeadPlan(in_channels, self.sizes, Area(*self.area), self.cell)


def save_detector(folder: Path, step: BoxStep, meta: DetectorMeta) -> None:
    """Write head and student, a frozen one once; raises CleverError where that fails."""
    save_module(folder / HEAD, step.head, {"detector": meta.model_dump(mode="json")})
    if not (step.frozen and (folder / WEIGHTS).exists()):
        save_student(folder, step.student, {"origin": meta.details})


def load_detector(folder: Path) -> tuple[BoxStep, DetectorMeta]:
    """The detector in `folder`, on the CPU and in evaluation mode.

    Raises:
        CleverError: there is none, or it is damaged or of another version.
    """
    path = folder / HEAD
    try:
        meta = DetectorMeta.model_validate(read_meta(path).get("detector"))
    except ValidationError as error:
        raise CleverError(f"{path} holds no detector; give a run of `clever detect`") from error
    student = load_student(folder)
    head = DETECTORS[meta.detector](meta.plan(student.out_channels))
    load_module(path, head)
    return BoxStep(student, head, frozen=True).eval(), meta
