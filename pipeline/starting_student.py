"""The student that a job starts from: a checkpoint's, or one with fresh weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import CleverError
from ..student.checkpoint import WEIGHTS, load_student, read_meta
from ..student.registry import build_student
from ..student.student import Student
from .training.seeds import seeded

STUDENT, VOXEL_SIZE = "minkunet34", 0.05
"""Of fresh weights, unless told otherwise; metres."""


@dataclass(frozen=True, slots=True)
class StartingStudent:
    """A student and where it is from.

    Attributes:
        student: on the CPU.
        checkpoint: folder that it was read from; none: fresh weights.
        origin: where its weights come from, in words.
    """

    student: Student
    checkpoint: Literal["none"] | Path
    origin: str


def starting_student(
    checkpoint: Literal["none"] | Path, name: str | None, voxel_size: float | None, seed: int
) -> StartingStudent:
    """The student in `checkpoint`, or, for "none", one with fresh weights of `seed`.

    Args:
        name, voxel_size: of fresh weights (default: `STUDENT`, `VOXEL_SIZE`); a checkpoint knows
            its own, so there they are None or the same.

    Raises:
        CleverError: no checkpoint, or one of another student or voxel size than asked for.
    """
    if checkpoint == "none":
        with seeded(seed, "student"):
            student = build_student(name or STUDENT, voxel_size or VOXEL_SIZE)
        return StartingStudent(student, checkpoint, "random initialisation")
    student = load_student(checkpoint)
    if name not in (None, student.name) or voxel_size not in (None, student.voxel_size):
        raise CleverError(
            f"{checkpoint} is a {student.name} with voxels of {student.voxel_size} m; leave "
            "`student` and `voxel_size` out"
        )
    origin = read_meta(checkpoint / WEIGHTS)["meta"].get("origin")
    words = f"from {checkpoint} ({origin})" if origin else f"from {checkpoint}"
    return StartingStudent(student, checkpoint, words)
