"""Frames with what goes through the student beside them: the frames before and after, and what they
share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...student.draws import key
from ...student.losses.regions import NO_REGION
from ...student.points import PointBatch
from ...student.sampling.frame_matches import match_points
from ..training.batches import Batch, FrameDraw
from .cached_frames import DistillationBatch, PairedFrame, PairedFrames

PassName = Literal["dense", "previous", "next"]
"""A further pass of the student in the same step: the frame with earlier sweeps, the frame before,
or the one after."""


@dataclass(frozen=True, slots=True)
class PassFrame:
    """A frame and what goes through the student beside it.

    Attributes:
        frame: as alone.
        others: of each further pass.
        matches: (R, 2) int64, points of the frame and of the last pass that lie at one place; None
            where nobody asks.
    """

    frame: PairedFrame
    others: tuple[PairedFrame, ...]
    matches: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PassBatch(Batch):
    """Frames of one step or a part of it, with all passes.

    Attributes:
        main: the frames themselves.
        others: the batch of every further pass, frame by frame.
        matches: (R, 2) int64, see `PassFrame`; indices into the points of both batches.
    """

    main: DistillationBatch
    others: tuple[DistillationBatch, ...]
    matches: Tensor | None = None

    @property
    def points(self) -> PointBatch:
        """Of the frames themselves."""
        return self.main.points

    @property
    def view_pairs(self) -> tuple[int, ...]:
        """Of the frames themselves."""
        return self.main.view_pairs

    @classmethod
    def collate(cls, frames: Sequence[PassFrame]) -> "PassBatch":
        """Concatenate the frames of each pass."""
        main = DistillationBatch.collate([frame.frame for frame in frames])
        others = tuple(
            DistillationBatch.collate(list(parts))
            for parts in zip(*(frame.others for frame in frames), strict=True)
        )
        matches = None
        if frames[0].matches is not None:
            start, shifted = torch.zeros(2, dtype=torch.int64), []
            for frame in frames:
                assert frame.matches is not None
                shifted.append(frame.matches + start)
                start = start + torch.tensor(
                    [len(frame.frame.points), len(frame.others[-1].points)]
                )
            matches = torch.cat(shifted)
        return cls(main.ids, main.keys, main, others, matches)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Which points of a frame and the next lie at one place.

    Attributes:
        radius: metres.
    """

    radius: float

    def __call__(self, frame: PairedFrame, other: PairedFrame) -> Tensor:
        """(R, 2) int64, see `match_points`; all points match themselves where both are one
        frame."""
        motion = np.linalg.solve(frame.pose.numpy(), other.pose.numpy())  # float64
        matches = match_points(
            frame.points[:, :3].numpy(),
            other.points[:, :3].numpy(),
            motion,
            self.radius,
            key("ground", frame.key) % 2**32,
        )
        return torch.from_numpy(matches)


class PassFrames(Dataset[PassFrame]):
    """Frames with those before and after them in their scene; the first and last of a scene are
    their own neighbours, with other draws.

    Args:
        frames: the frames.
        passes: what further goes through the student.
        cameras: cameras drawn for each frame and shared by its passes; None: all.
        overlap: gives the matches of a frame and its last pass; None: nobody asks.
    """

    def __init__(
        self,
        frames: PairedFrames,
        passes: Sequence[PassName],
        cameras: int | None = None,
        overlap: Callable[[PairedFrame, PairedFrame], Tensor] | None = None,
    ) -> None:
        self.frames, self.passes, self.cameras = frames, tuple(passes), cameras
        self.overlap = overlap
        scenes = [frames.caches[0].scenes[frames.caches[0].position(name)] for name in frames.ids]
        last = len(scenes) - 1
        self._neighbours: dict[PassName, list[int]] = {
            "dense": list(range(len(scenes))),
            "previous": [
                number - 1 if number and scenes[number - 1] == scene else number
                for number, scene in enumerate(scenes)
            ],
            "next": [
                number + 1 if number < last and scenes[number + 1] == scene else number
                for number, scene in enumerate(scenes)
            ],
        }

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> PassFrame:
        index, draw_key = draw
        frame = self.frames[index, draw_key]
        others = [self._other(name, index, key(name, draw_key)) for name in self.passes]
        if self.cameras is not None:
            camera_draw = partial(draw_cameras, count=self.cameras, seed=draw_key)
            frame, others = camera_draw(frame), [camera_draw(other) for other in others]
        matches = self.overlap(frame, others[-1]) if self.overlap else None
        return PassFrame(frame, tuple(others), matches)

    def _other(self, name: PassName, index: int, draw_key: int) -> PairedFrame:
        """The frame of a further pass."""
        place = self._neighbours[name][index]
        return (
            self.frames.dense(place, draw_key) if name == "dense" else self.frames[place, draw_key]
        )


def draw_cameras(frame: PairedFrame, count: int, seed: int) -> PairedFrame:
    """The pairs of `count` cameras, the same for the same seed; all points and images stay."""
    views = len(frame.image_size)
    generator = torch.Generator().manual_seed(key("cameras", seed))
    drawn = torch.randperm(views, generator=generator)[:count]
    pairs = torch.isin(frame.pair_view, drawn)
    unseen = torch.ones(views, dtype=torch.bool)
    unseen[drawn] = False
    maps = frame.maps
    if maps is not None:
        maps = maps.clone()
        maps[unseen] = NO_REGION
    return replace(frame.with_pairs(pairs), maps=maps)
