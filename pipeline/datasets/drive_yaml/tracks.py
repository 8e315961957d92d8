"""Times and poses of a drive of one's own: text files with a line a frame, names with times in
them, trajectories."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ....cache.calibration_checks import quaternion_fault, rigid_fault
from ..readers.file_patterns import FilePattern, NamedFile
from ..readers.text_rows import number_row, square, text_lines
from ..readers.timing import PoseTrack
from .schema import Poses, Rows, Times, TimeUnit

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DATE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,9})?")
_LATEST = 2**62
T = TypeVar("T")


class Fault(str):
    """In place of a value: why it is not to be known."""

    __slots__ = ()


class Line(NamedTuple):
    """A line of a text file, and where it stands."""

    text: str
    place: str


def known(value: T | Fault) -> T:
    """`value`; raises ValueError with its fault where it has one."""
    if isinstance(value, Fault):
        raise ValueError(str(value))
    return value


def nanoseconds(text: str, unit: TimeUnit) -> int:
    """A time as whole nanoseconds, exactly; raises ValueError where it is none."""
    if unit == "date":
        if not _DATE.fullmatch(text.strip()):
            raise ValueError(f"holds {text.strip()!r}, no date and time")
        return int(np.datetime64(text.strip().replace(" ", "T"), "ns").astype(np.int64))
    try:
        value = Decimal(text.strip()) * _NANOSECONDS[unit]
    except InvalidOperation:
        raise ValueError(f"holds {text.strip()!r}, no number") from None
    if not value.is_finite() or abs(value) > _LATEST:
        raise ValueError(f"holds {text.strip()!r}, no time in {unit}")
    return int(value.to_integral_value())


def frame_lines(path: Path, rows: Rows, frames: Sequence[str]) -> list[Line | Fault]:
    """The line of each frame, by its place among `frames` or by the number that it is called."""
    try:
        lines = text_lines(path)
    except OSError as error:
        return [Fault(f"cannot read {path}: {error.strerror}; restore it")] * len(frames)
    if rows == "order" and len(lines) != len(frames):
        fault = Fault(
            f"{path} has {len(lines)} lines for {len(frames)} files; restore it, or write `rows: "
            "number` in drive.yaml if its lines count from frame 0"
        )
        return [fault] * len(frames)
    return [
        _line(path, lines, frame if rows == "number" else f"{place}")
        for place, frame in enumerate(frames)
    ]


def _line(path: Path, lines: Sequence[str], number: str) -> Line | Fault:
    if not number.isdecimal():
        return Fault(f"{path} has a line a frame number, but {number!r} is no number")
    if int(number) >= len(lines):
        return Fault(f"{path} has {len(lines)} lines, none for this frame; restore it")
    return Line(lines[int(number)], f"{path} line {int(number) + 1}")


def recording_times(times: Times, root: Path, files: Sequence[NamedFile]) -> list[int | Fault]:
    """When files of one scene were recorded, in nanoseconds."""
    if times.files is None:
        lines = [Line(file.parts["time"], f"the name of {file.path}") for file in files]
    else:
        path = FilePattern(times.files).path(root, files[0].parts) if files else root
        lines = frame_lines(path, times.rows, [file.frame for file in files])
    return [_time(line, times.unit) for line in lines]


def _time(line: Line | Fault, unit: TimeUnit) -> int | Fault:
    if isinstance(line, Fault):
        return line
    try:
        return nanoseconds(line.text, unit)
    except ValueError as error:
        return Fault(f"{line.place} {error}; correct it")


class ScenePoses:
    """Where the body of one scene was.

    Args:
        poses: what the file is.
        path: the file.
        frames: names of the scene's frames, in order.
        times: of the frames, nanoseconds; None where they are unknown.
    """

    def __init__(
        self,
        poses: Poses,
        path: Path,
        frames: Sequence[str],
        times: Sequence[int | Fault] | None,
    ) -> None:
        self.path = path
        self._of_frame: list[NDArray[np.float64] | Fault] | None = None
        self._track: PoseTrack | Fault
        if poses.format == "kitti":
            self._of_frame = [_matrix(line) for line in frame_lines(path, poses.rows, frames)]
            self._track = _frame_track(path, self._of_frame, times)
        else:
            self._track = _trajectory(path, scalar_first=poses.format == "tum-wxyz")

    def of_frame(self, place: int, time: int | None) -> NDArray[np.float64]:
        """(4, 4) float64 world <- body of a frame; raises ValueError where it is not to be
        known."""
        if self._of_frame is not None:
            return known(self._of_frame[place])
        assert time is not None
        return self.at(time)

    def at(self, time: int) -> NDArray[np.float64]:
        """(4, 4) float64 world <- body at a time in nanoseconds; raises ValueError outside the
        poses."""
        try:
            return known(self._track).at(time)
        except ValueError as error:
            where = "" if isinstance(self._track, Fault) else f"{self.path}: "
            raise ValueError(f"{where}{error}") from None


def _frame_track(
    path: Path,
    poses: Sequence[NDArray[np.float64] | Fault],
    times: Sequence[int | Fault] | None,
) -> PoseTrack | Fault:
    """Poses of frames over their times; frames with a fault are passed over, since they raise
    themselves."""
    if times is None:
        return Fault(f"the poses of {path} have no times; give points.times in drive.yaml")
    sound = [
        (time, pose)
        for time, pose in zip(times, poses, strict=True)
        if not isinstance(time, Fault) and not isinstance(pose, Fault)
    ]
    return _track(path, [time for time, _ in sound], [pose for _, pose in sound])


def _track(
    path: Path, times: Sequence[int], poses: Sequence[NDArray[np.float64]]
) -> PoseTrack | Fault:
    try:
        return PoseTrack(times, np.reshape(poses, (-1, 4, 4)))
    except ValueError as error:
        return Fault(f"{path}: {error}; restore it")


def _matrix(line: Line | Fault) -> NDArray[np.float64] | Fault:
    if isinstance(line, Fault):
        return line
    try:
        pose = square(number_row(line.text, 12).reshape(3, 4))
        fault = rigid_fault(pose)
    except ValueError as error:
        fault, pose = str(error), np.eye(4)
    return Fault(f"{line.place} {fault}; correct it") if fault else pose


def _trajectory(path: Path, scalar_first: bool) -> PoseTrack | Fault:
    """Poses of a file with a line ``time x y z`` and a quaternion each; lines that begin with # are
    comments."""
    times: list[int] = []
    poses: list[NDArray[np.float64]] = []
    try:
        lines = text_lines(path)
    except OSError as error:
        return Fault(f"cannot read {path}: {error.strerror}; restore it")
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            values = number_row(line, 8)
            if fault := quaternion_fault(values[4:]):
                raise ValueError(f"has a quaternion that {fault}")
            times.append(nanoseconds(line.split()[0], "s"))
        except ValueError as error:
            return Fault(f"{path} line {number} {error}; correct it")
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(values[4:], scalar_first=scalar_first).as_matrix()
        pose[:3, 3] = values[1:4]
        poses.append(pose)
    return _track(path, times, poses)
