"""A trained detector: its weights in a folder, the student's and the head's, and its use."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ...errors import CleverError
from ...student.checkpoint import (
    WEIGHTS,
    load_module,
    load_student,
    read_meta,
    save_module,
    save_student,
    weights_digest,
)
from ...student.draws import key
from ...student.points import PointBatch
from ..detection.area import Area, drawn_points
from ..detection.detections import Detections
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


class TrainedDetector(NamedTuple):
    """A detector and what it was trained for: points in, boxes out.

    Attributes:
        step: head and student, in evaluation mode.
        meta: `meta.class_names` names the classes of the boxes.
    """

    step: BoxStep
    meta: DetectorMeta

    def __call__(self, points: NDArray[Any] | Tensor) -> Detections:
        """Boxes of a cloud, on the host: none where no point lies in `DetectorMeta.area`.

        The same cloud always has the same boxes. Rows that are not finite (beams without return)
        take no part.

        Args:
            points: (N, 4) x, y, z in metres in a LiDAR frame whose axes are those of the training
                frames, intensity in [0, 1].

        Raises:
            CleverError: an array of another shape, intensities outside [0, 1], or features that
                are not finite.
        """
        cloud = torch.as_tensor(points, dtype=torch.float32)
        if cloud.ndim != 2 or cloud.shape[1] != 4:
            raise CleverError(f"points have the shape {tuple(cloud.shape)}, not (N, 4)")
        cloud = Area(*self.meta.area).points(cloud[cloud.isfinite().all(1)])
        cloud = drawn_points(cloud, self.meta.points, key("points of a cloud"))
        if not len(cloud):
            return Detections.none()
        low, high = (float(bound) for bound in cloud[:, 3].aminmax())
        if low < 0 or high > 1:
            raise CleverError(
                f"the points have intensities from {low:g} to {high:g}; bring them to 0 to 1 by "
                "the value of full intensity"
            )
        batch = PointBatch.from_clouds([cloud]).to(next(self.step.parameters()).device)
        with torch.no_grad():
            features = self.step.student(batch)
        if not features.isfinite().all():
            raise CleverError("the student's features are not finite; its weights are of no use")
        (result,) = self.step.head.detections(features, batch)
        return result.cpu()


def load_detector(folder: Path | str) -> TrainedDetector:
    """The detector of a run of `clever detect`, on the CPU and in evaluation mode.

        boxes = clever.load_detector("detections/.../runs/...")(points)

    Raises:
        CleverError: there is none, or it is damaged or of another version.
    """
    path = Path(folder) / HEAD
    try:
        meta = DetectorMeta.model_validate(read_meta(path).get("detector"))
    except ValidationError as error:
        raise CleverError(f"{path} holds no detector; give a run of `clever detect`") from error
    student = load_student(folder)
    head = DETECTORS[meta.detector](meta.plan(student.out_channels))
    load_module(path, head)
    return TrainedDetector(BoxStep(student, head, frozen=True).eval(), meta)


def detector_digest(folder: Path) -> str:
    """SHA-256 of the weights of the detector in `folder`: student and head; raises CleverError
    where one of them is missing or damaged."""
    digests = [weights_digest(folder), weights_digest(folder, HEAD)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
