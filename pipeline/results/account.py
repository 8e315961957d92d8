"""What an ablation cost: the teacher once and the students, beside the teacher in every step."""

from pydantic import BaseModel, ConfigDict

from ...words import quantity


class TeacherCost(BaseModel):
    """What stage one spent on a teacher's layer of a cache.

    Attributes:
        layer: id of the layer.
        cache: name of the store, without its place.
        frames: frames of the layer.
        seconds: wall time of stage one, over all its runs; None where the store does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    cache: str
    frames: int
    seconds: float | None


class OnlineCost(BaseModel):
    """What a teacher costs in the loop, measured on this machine.

    Attributes:
        layer: id of the layer whose teacher it is.
        frames: frames that were measured.
        seconds: wall time of reading, resizing and the network for them.
        frames_seen: frames that all cells of the layer took in pre-training, passes counted.
        machine: where, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    frames: int
    seconds: float
    frames_seen: int
    machine: str

    @property
    def total(self) -> float:
        """Seconds of the teacher in the loop of all cells: the measured rate times the frames."""
        return self.frames_seen * self.seconds / self.frames


class Account(BaseModel):
    """What the cells of a grid cost.

    Attributes:
        cells: pre-trained cells of the grid that are finished.
        pretraining_seconds: of their training, added up.
        measurement_seconds: of all downstream trainings, added up.
        frames_seen: frames that pre-training took, passes counted.
        teachers: what stage one spent, once a layer.
        online: the teacher in the loop, where it was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: int
    pretraining_seconds: float
    measurement_seconds: float
    frames_seen: int
    teachers: list[TeacherCost]
    online: list[OnlineCost] = []

    @property
    def teacher_seconds(self) -> float | None:
        """Of stage one; None where a store does not say."""
        durations = [teacher.seconds for teacher in self.teachers if teacher.seconds is not None]
        return sum(durations) if durations and len(durations) == len(self.teachers) else None

    @property
    def online_seconds(self) -> float | None:
        """Of the teachers in the loop; None where they were not measured."""
        return sum(cost.total for cost in self.online) if self.online else None

    def lines(self) -> list[str]:
        """The account in words, a line each."""
        once = self.teacher_seconds
        teachers = " and ".join(
            f"{cost.layer} ({quantity(cost.frames, 'frame')})" for cost in self.teachers
        )
        lines = [
            f"teacher, once: {'not recorded' if once is None else duration(once)}, {teachers}",
            f"students: {duration(self.pretraining_seconds)} of pre-training in {self.cells} "
            f"cell{'s' * (self.cells != 1)}, {self.frames_seen:,} frames seen; "
            f"{duration(self.measurement_seconds)} downstream",
        ]
        for cost in self.online:
            lines.append(
                f"teacher in the loop: {duration(cost.total)} = {cost.frames_seen:,} frames x "
                f"{cost.seconds / cost.frames:.3f} s, measured on "
                f"{quantity(cost.frames, 'frame')} of "
                f"{cost.layer} ({cost.machine})"
            )
        return lines


def duration(seconds: float) -> str:
    """``52 s``, ``12.3 min`` or ``4.1 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
