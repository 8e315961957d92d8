"""Which labelled frames a run trains on: a fraction by one of several samplers, or a list of
ids."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import CleverError
from ...words import quantity
from ..datasets import LidarDataset
from ..datasets.base import positions
from ..settings.shared.choices import FrameSampler
from ..training.seeds import stream

TRAIN_FRAMES = "train_frames.txt"
"""In a run's folder: ids of the frames that it was to train on, one a line, in the dataset's order;
`frames_file` of another run takes it."""


@dataclass(frozen=True, slots=True)
class FrameSample:
    """The frames that a run is to train on.

    Attributes:
        indices: positions in the dataset, ascending.
        rule: how they were taken and of how many, for the protocol line.
    """

    indices: list[int]
    rule: str


@dataclass(frozen=True, slots=True)
class LabelledPart:
    """The labelled frames that a fraction is taken of.

    Attributes:
        indices: positions in the dataset, ascending.
        scenes: scene of every frame of the dataset, by position.
    """

    indices: Sequence[int]
    scenes: Sequence[str]

    @property
    def scene_names(self) -> list[str]:
        """Scenes with a labelled frame, by name."""
        return sorted({self.scenes[index] for index in self.indices})

    @property
    def by_scene(self) -> list[int]:
        """Labelled frames by the name of their scene, then in the dataset's order: for drives whose
        files lie by sequence and number that is the sorted list of files."""
        return sorted(self.indices, key=lambda index: (self.scenes[index], index))

    def of_scenes(self, names: set[str]) -> list[int]:
        """Labelled frames of some scenes."""
        return [index for index in self.indices if self.scenes[index] in names]


def _frames(part: LabelledPart, fraction: float, seed: int) -> list[int]:
    order = torch.randperm(len(part.indices), generator=stream(seed, "fraction")).tolist()
    return [part.indices[number] for number in order[: _count(fraction, len(order))]]


def _scenes(part: LabelledPart, fraction: float, seed: int) -> list[int]:
    names = part.scene_names
    order = torch.randperm(len(names), generator=stream(seed, "scenes")).tolist()
    return part.of_scenes({names[number] for number in order[: _count(fraction, len(order))]})


def _every_nth(part: LabelledPart, fraction: float, _: int) -> list[int]:
    return part.by_scene[:: _step(fraction)]


def _every_nth_scene(part: LabelledPart, fraction: float, _: int) -> list[int]:
    return part.of_scenes(set(part.scene_names[:: _step(fraction)]))


SAMPLERS: dict[FrameSampler, Callable[[LabelledPart, float, int], list[int]]] = {
    "frames": _frames,
    "scenes": _scenes,
    "every-nth": _every_nth,
    "every-nth-scene": _every_nth_scene,
}
"""How a fraction is taken, by name: part, fraction and seed to frames.

- ``frames``: frames drawn uniformly without replacement (the paper, A4); a smaller fraction of one
  seed is part of a larger.
- ``scenes``: the same of whole scenes.
- ``every-nth``: frames 0, n, 2n, ... of the list by scene and time, n = 1 / fraction (ScaLR and
  SLidR on SemanticKITTI, OLIVINE); takes no seed.
- ``every-nth-scene``: scenes 0, n, 2n, ... by name, whole (SLidR and ALSO on nuScenes); takes no
  seed.
"""


def _count(fraction: float, total: int) -> int:
    return max(1, round(fraction * total))


def _step(fraction: float) -> int:
    step = round(1 / fraction)
    if abs(step * fraction - 1) > 1e-6:
        raise CleverError(
            f"`fraction={fraction:g}` is no 1/n, and every n-th cannot be taken; choose another, "
            "or `sampler=frames`"
        )
    return step


def sample_frames(
    part: LabelledPart, fraction: float, sampler: FrameSampler, seed: int
) -> list[int]:
    """The labelled frames that a run may see, in ascending order: at least one frame or scene.

    Args:
        fraction: share of the frames, or of the scenes, in (0, 1].
        sampler: see `SAMPLERS`.

    Raises:
        CleverError: the sampler takes every n-th and `fraction` is no 1/n.
    """
    return sorted(SAMPLERS[sampler](part, fraction, seed))


def read_frame_ids(path: Path) -> list[str]:
    """Ids of a text file, one a line; empty lines are passed over.

    Raises:
        CleverError: it cannot be read, is no UTF-8 text, holds no id, or one twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CleverError(f"{path} is no text file; it must hold frame ids, one a line") from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise CleverError(f"{path} holds no frame ids; it must hold some, one a line")
    (frame, count), *_ = Counter(ids).most_common(1)
    if count > 1:
        raise CleverError(f"{path} holds the frame {frame} {count} times; correct it")
    return ids


def listed_frames(
    path: Path, dataset: LidarDataset, labelled: Sequence[int], split: str
) -> list[int]:
    """The labelled frames that `path` names, in ascending order.

    Args:
        labelled: positions of the labelled frames.
        split: what the frames of `dataset` are called, for the message.

    Raises:
        CleverError: as `read_frame_ids`, or ids that are not among them.
    """
    place, ids, candidates = positions(dataset), read_frame_ids(path), set(labelled)
    missing = [name for name in ids if place.get(name) not in candidates]
    if missing:
        raise CleverError(
            f"{len(missing)} of the {quantity(len(ids), 'frame')} of {path} are not among the "
            f"{quantity(len(labelled), 'labelled frame')} of {dataset.name} {split}, e.g. "
            f"{missing[0]}; choose "
            "the right `train_split` or `train_sequences`, or correct the file"
        )
    return sorted(place[name] for name in ids)
