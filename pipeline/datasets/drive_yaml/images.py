"""Which image of a camera belongs to which frame of a drive of one's own."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..readers.file_patterns import FilePattern, NamedFile
from ..readers.timing import nearest
from .schema import CameraPart
from .tracks import Fault, known, recording_times

_EVER = 2**62
"""Nanoseconds; no recording is as long."""


class TimedImage(NamedTuple):
    """An image file, and when it was taken in nanoseconds; None where that is unknown."""

    path: Path
    time: int | None


class SceneImages:
    """The images of one camera in one scene.

    Args:
        camera: where they lie.
        root: the drive's folder.
        scene: a point file of the scene.
        largest_gap: seconds between points and the nearest image; None where images are told by
            name.
    """

    def __init__(
        self, camera: CameraPart, root: Path, scene: NamedFile, largest_gap: float | None
    ) -> None:
        self._pattern, self._root = FilePattern(camera.images), root
        self._gap = largest_gap
        has_listing = camera.times is not None or not self._pattern.exact()
        parts = {name: text for name, text in scene.parts.items() if name == "scene"}
        self._files = self._pattern.files(root, parts) if has_listing else []
        self._times: list[int | Fault] | None = None
        if camera.times:
            self._times = recording_times(camera.times, root, self._files)
        self._names = sorted(self._pattern.names())
        self._places: dict[tuple[str, ...], list[int]] = {}
        for place, file in enumerate(self._files):
            self._places.setdefault(self._key(file), []).append(place)
        self._ordered = self._by_time()

    def of_frame(self, frame: NamedFile, time: int | None) -> TimedImage:
        """The image of a frame.

        Args:
            frame: the point file.
            time: of the points, nanoseconds; needed where images are told by time.

        Raises:
            ValueError: there is none, there are several, or the time of one is not to be known.
        """
        if self._gap is not None:
            assert time is not None
            return self._nearest(time, self._gap)
        path = self._pattern.path(self._root, frame.parts)
        if self._pattern.exact() and self._times is None:
            return TimedImage(path, None)
        places = self._places.get(self._key(frame), [])
        if not places:
            raise ValueError(f"no image {path}; restore it, or leave the frame out")
        if len(places) > 1:
            first, second = (self._files[place].path for place in places[:2])
            raise ValueError(f"{first} and {second} are both images of it; remove one")
        time = None if self._times is None else known(self._times[places[0]])
        return TimedImage(self._files[places[0]].path, time)

    def _key(self, file: NamedFile) -> tuple[str, ...]:
        """What an image has in common with its frame."""
        return tuple(file.parts.get(name, "") for name in self._names)

    def _by_time(self) -> list[tuple[int, Path]] | Fault:
        """Times and files in order of time; where one time is not to be known, neither is the
        nearest."""
        try:
            times = [known(time) for time in self._times or ()]
        except ValueError as error:
            return Fault(str(error))
        return sorted(zip(times, (file.path for file in self._files), strict=False))

    def _nearest(self, time: int, largest_gap: float) -> TimedImage:
        ordered = known(self._ordered)
        times = np.array([each for each, _ in ordered], np.int64)
        place = nearest(times, time, round(largest_gap * 1e9))
        if place is not None:
            return TimedImage(ordered[place][1], ordered[place][0])
        place = nearest(times, time, _EVER)
        if place is None:
            raise ValueError(f"no image {self._root / self._pattern.text}; restore it")
        raise ValueError(
            f"no image within {largest_gap:g} s of the points: the nearest, {ordered[place][1]}, "
            f"was taken {abs(ordered[place][0] - time) / 1e9:.3f} s away"
        )
