"""Frames with boxes as one batch."""

from dataclasses import dataclass

from ..detection.box_frame import BoxFrame
from ..training.batches import Batch


@dataclass(frozen=True, slots=True)
class BoxBatch(Batch):
    """Point clouds with boxes of one step or a part of it.

    Attributes:
        frames: one a scene.
    """

    frames: tuple[BoxFrame, ...]


def collate_boxes(frames: list[tuple[str, int, BoxFrame]]) -> BoxBatch:
    """One batch of several frames: (id, key, points and boxes) of each."""
    ids, keys, parts = zip(*frames, strict=True)
    return BoxBatch(list(ids), list(keys), tuple(parts))
