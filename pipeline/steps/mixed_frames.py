"""Frames of one or several stores as one dataset."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch.utils.data import Dataset

from ...cache import CachedFrame
from ...student.checkpoint import DATASETS_JOINED
from ...student.clouds.intensity import IntensityNorm
from ..training.batches import FrameDraw
from .cached_frames import PairedFrame, PairedFrames


class MixedFrames(Dataset[PairedFrame]):
    """The frames of several stores, one store behind the other.

    Attributes:
        parts: frames of each store, opened with as many teachers, in the same order.
        names: of the stores.
        ids: frame ids, with the store's name before them where there are several.
    """

    def __init__(self, parts: Sequence[PairedFrames], names: Sequence[str]) -> None:
        self.parts, self.names = tuple(parts), tuple(names)
        self._starts = [0, *accumulate(len(part) for part in self.parts)]
        self.ids = [
            self._name(number, frame)
            for number, part in enumerate(self.parts)
            for frame in part.ids
        ]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> PairedFrame:
        index, key = draw
        number = bisect_right(self._starts, index) - 1
        frame = self.parts[number][FrameDraw(index - self._starts[number], key)]
        return replace(frame, id=self._name(number, frame.id), store=number)

    @property
    def first(self) -> PairedFrames:
        """Of the first store."""
        return self.parts[0]

    @property
    def dataset(self) -> str:
        """Name of the dataset, or of all."""
        return DATASETS_JOINED.join(part.caches[0].name for part in self.parts)

    @property
    def missing(self) -> list[str]:
        """See `PairedFrames`."""
        return [
            self._name(number, frame)
            for number, part in enumerate(self.parts)
            for frame in part.missing
        ]

    @property
    def unfit(self) -> dict[str, str]:
        """See `PairedFrames`."""
        return {
            self._name(number, frame): reason
            for number, part in enumerate(self.parts)
            for frame, reason in part.unfit.items()
        }

    @property
    def scenes(self) -> list[str]:
        """Names of the scenes of all frames, sorted."""
        return sorted(
            {
                part.caches[0].scenes[part.caches[0].position(frame)]
                for part in self.parts
                for frame in part.ids
            }
        )

    def _name(self, number: int, frame: str) -> str:
        return f"{self.names[number]} {frame}" if len(self.parts) > 1 else frame


class WholeFrames:
    """Cached frames of `MixedFrames` by position, as stored but with the earlier sweeps that are
    part of their clouds, and intensities as a student takes them.

    Args:
        intensities: a norm for each store; empty: as stored.
    """

    def __init__(self, frames: MixedFrames, intensities: Sequence[IntensityNorm] = ()) -> None:
        self._places: list[tuple[PairedFrames, int, IntensityNorm | None]] = []
        for number, part in enumerate(frames.parts):
            cache, norm = part.caches[0], intensities[number] if intensities else None
            self._places += [(part, cache.position(frame), norm) for frame in part.ids]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int, /) -> CachedFrame:
        part, position, norm = self._places[index]
        frame = part.caches[0][position]
        points = frame.points
        if part.input_sweeps is not None:
            sweeps = part.input_sweeps.sweeps(frame.id)
            points = torch.cat([points, torch.from_numpy(sweeps.points)])
        if norm is not None:
            points = points.clone()
            points[:, 3] = norm.standardised(points[:, 3])
        return replace(frame, points=points)
