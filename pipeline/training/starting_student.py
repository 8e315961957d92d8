"""The student that a job starts from: a checkpoint's, or one with fresh weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import CleverError
from ...student.checkpoint import WEIGHTS, load_student, read_meta
from ...student.choices import PTv3Form
from ...student.registry import build_student
from ...student.student import Student
from ..results.run_folder import notice
from .seeds import seeded

STUDENT, VOXEL_SIZE = "minkunet34", 0.05
"""Of fresh weights, unless told otherwise; metres."""


@dataclass(frozen=True, slots=True)
class StartingStudent:
    """A student and where it is from.

    Attributes:
        student: on the CPU.
        checkpoint: folder that it was read from; none: fresh weights.
        origin: where its weights come from, in words.
        dataset, scenes: what it was pre-trained on, where the checkpoint says so.
        input_sweeps: sweeps before each frame that were part of its cloud in pre-training.
    """

    student: Student
    checkpoint: Literal["none"] | Path
    origin: str
    dataset: str = ""
    scenes: tuple[str, ...] = ()
    input_sweeps: int = 0


def starting_student(
    checkpoint: Literal["none"] | Path,
    name: str | None,
    voxel_size: float | None,
    seed: int,
    ptv3_form: PTv3Form | None = None,
) -> StartingStudent:
    """The student in `checkpoint`, or, for "none", one with fresh weights of `seed`.

    Args:
        name, voxel_size, ptv3_form: of fresh weights (default: `STUDENT`, `VOXEL_SIZE`, v3m1); a
            checkpoint knows its own, so there they are None or the same.

    Raises:
        CleverError: no checkpoint, or one of another student, voxel size or form than asked for.
    """
    if checkpoint == "none":
        with seeded(seed, "student"):
            student = build_student(name or STUDENT, voxel_size or VOXEL_SIZE, None, ptv3_form)
        return StartingStudent(student, checkpoint, "random initialisation")
    student = load_student(checkpoint)
    if name not in (None, student.name) or voxel_size not in (None, student.voxel_size):
        raise CleverError(
            f"{checkpoint} is a {student.name} with voxels of {student.voxel_size} m; leave "
            "`student` and `voxel_size` out"
        )
    if ptv3_form not in (None, student.ptv3_form):
        own = f"the {student.ptv3_form} form of PTv3" if student.ptv3_form else "no PTv3"
        raise CleverError(f"{checkpoint} is {own}; leave `ptv3_form` out")
    meta = read_meta(checkpoint / WEIGHTS)["meta"]
    origin = meta.get("origin")
    # Words travel with results and shared weights, so a folder's place on this machine does not.
    place = checkpoint.name if checkpoint.is_absolute() else checkpoint
    words = f"from {place} ({origin})" if origin else f"from {place}"
    return StartingStudent(
        student,
        checkpoint,
        words,
        meta.get("dataset", ""),
        tuple(meta.get("scenes", ())),
        meta.get("input_sweeps", 0),
    )


def choose_intensity(student: Student, dataset: str, announce: bool = True) -> None:
    """Let a student that standardises intensities do it by this dataset's statistics, where it
    knows them; a line says what it does."""
    names = ", ".join(norm.dataset for norm in student.intensities)
    norm = student.choose_intensity(dataset)
    if norm and announce:
        others = "" if norm.dataset == dataset else f": it knows those of {names} alone"
        notice(f"the student standardises intensities by the statistics of {norm.dataset}{others}")
