"""Which labelled frames can be used: every sweep and label file is read once and remembered.

What a file of a frame said is remembered by the sizes and times of its files, in the user's own
cache folder (``$XDG_CACHE_HOME/clever/labels``, or ``~/.cache/clever/labels``): the next run on the
same frames begins at once. Removing the folder costs another reading, nothing else.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ... import __version__
from ...cache.ordered_map import ordered_map
from ...cache.store.point_statistics import bounds_of
from ...errors import CleverError, FrameError
from ...files import atomic_write
from ..datasets import IGNORE, LidarDataset
from ..datasets.base import class_labels, label_sources
from ..datasets.readers.sweep_checks import sweep_fault
from ..process.device import cores
from ..process.progress import Track


class LabelledExtent(BaseModel):
    """What the points and labels of one frame say.

    Attributes:
        reason: why the frame cannot be trained on; empty where it can.
        bounds: lowest and highest x, y, z, metres; None where the points cannot be read.
    """

    model_config = ConfigDict(frozen=True)

    reason: str = ""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None

    def array(self) -> NDArray[np.float32]:
        """`bounds` as (2, 3) float32, NaN where there are none."""
        return np.array(self.bounds or np.full((2, 3), np.nan), np.float32)


@dataclass(slots=True)
class Memory:
    """Remembered extents of a dataset's frames, by the digest of their files' sizes and times."""

    path: Path
    extents: dict[str, LabelledExtent] = field(default_factory=dict)
    grown: bool = False


_EXTENTS = TypeAdapter(dict[str, LabelledExtent])


def check_labels(
    dataset: LidarDataset, indices: Sequence[int], label: str
) -> Generator[tuple[int, LabelledExtent]]:
    """Read points and labels of every frame that is not remembered, several at once, with progress.

    Args:
        label: of the progress bar.

    Yields:
        Position and extent of each of `indices`, in their order.
    """
    with _memory(dataset) as memory, Track(label, len(indices)) as track:

        def extent(index: int) -> tuple[int, str, LabelledExtent]:
            stamp = _stamp(dataset, index)
            earlier = memory.extents.get(stamp) if stamp else None
            return index, stamp, earlier or _read(dataset, index)

        for index, stamp, labelled_extent in ordered_map(extent, indices, cores()):
            if stamp and stamp not in memory.extents:
                memory.extents[stamp], memory.grown = labelled_extent, True
            track.advance()
            yield index, labelled_extent


def _read(dataset: LidarDataset, index: int) -> LabelledExtent:
    try:
        points = dataset.points(index)
        if reason := sweep_fault(points[:, :3]):
            return LabelledExtent(reason=reason)
        if (class_labels(dataset, index) == IGNORE).all():
            return LabelledExtent(reason="no point has a training label")
    except FrameError as error:
        return LabelledExtent(reason=error.reason)
    low, high = bounds_of(points).tolist()
    return LabelledExtent(bounds=(tuple(low), tuple(high)))


def _stamp(dataset: LidarDataset, index: int) -> str:
    """Digest of the sizes and times of a frame's files; empty where they are not known or lacking,
    and the frame is read each time."""
    try:
        stats = [(str(path.absolute()), path.stat()) for path in label_sources(dataset, index)]
    except OSError:
        return ""
    if not stats:
        return ""
    facts = [dataset.frame_ids[index]]
    facts += [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


@contextmanager
def _memory(dataset: LidarDataset) -> Iterator[Memory]:
    """The memory of a dataset, written back at the end, also after Ctrl-C; a damaged one is made
    anew, and one that cannot be written is done without."""
    memory = Memory(_folder() / f"{dataset.name}-{_code(dataset)}.json")
    try:
        memory.extents = _EXTENTS.validate_json(memory.path.read_bytes())
    except (OSError, ValidationError):
        memory.extents = {}
    try:
        yield memory
    finally:
        if memory.grown:
            with suppress(CleverError):  # a read-only home: the frames are read again next time
                atomic_write(memory.path, _EXTENTS.dump_json(memory.extents))


def _folder() -> Path:
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in containers: nothing can be kept
        home = os.devnull
    return Path(home) / "clever" / "labels"


def _code(dataset: LidarDataset) -> str:
    """Digest of what reads the files: the version, the class, its classes and its table."""
    table = getattr(dataset, "table", None)
    facts = [__version__, type(dataset).__qualname__, *dataset.class_names]
    facts.append("" if table is None else hashlib.sha256(np.asarray(table).tobytes()).hexdigest())
    facts.append(json.dumps(getattr(dataset, "intensity_scale", None)))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
