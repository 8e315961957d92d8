"""Regions of interest: proposals of stage one among which stage two of PointRCNN learns."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..detection.box_frame import BoxFrame
from ..detection.boxes import Boxes
from ..detection.detections import Detections
from ..detection.overlap import iou_3d
from ..training.seeds import stream

FOREGROUND = 0.55
"""Overlap in space from which a region is refined."""
_EASY = 0.1
"""Overlap below which background is easy."""
_HARD_SHARE = 0.8
"""Share of hard background in all background, where there is both."""


@dataclass(frozen=True, slots=True)
class RegionTargets:
    """Regions of one frame and what they belong to.

    Attributes:
        regions: R boxes.
        overlaps: (R,) float32: with the object of the same class that overlaps most; 0 for none.
        boxes: those R objects; where there is none, the region itself.
    """

    regions: Boxes
    overlaps: Tensor
    boxes: Boxes


def region_targets(proposals: Detections, frame: BoxFrame, count: int, key: int) -> RegionTargets:
    """Regions drawn from the proposals of a frame, as in OpenPCDet: up to half of them foreground,
    each once; of the background four fifths hard and the rest easy, with repetition. Without
    background all are foreground, with repetition.

    Args:
        count: how many are drawn; none without proposals.
        key: decides the draw (see `FrameDraw`).
    """
    overlaps, owner = _best(proposals, frame)
    places = _draw(overlaps.cpu(), count, key).to(overlaps.device)
    regions, overlaps = proposals.boxes[places], overlaps[places]
    rows = regions.rows.clone()
    matched = overlaps > 0
    rows[matched] = frame.boxes.rows[owner[places][matched]].to(rows)
    return RegionTargets(regions, overlaps, Boxes(rows))


def _best(proposals: Detections, frame: BoxFrame) -> tuple[Tensor, Tensor]:
    """Largest overlap (P,) of every proposal with an object of its class, and which one (P,)."""
    count = len(proposals.scores)
    if not len(frame.boxes):
        return proposals.scores.new_zeros(count), proposals.classes.new_zeros(count)
    overlaps = iou_3d(proposals.boxes, frame.boxes)
    same = proposals.classes[:, None] == frame.classes[None, :]
    best = torch.where(same, overlaps, 0.0).max(1)
    return best.values.to(proposals.scores), best.indices


def _draw(overlaps: Tensor, count: int, key: int) -> Tensor:
    """Places (count,) of regions among proposals of overlaps (P,)."""
    generator = stream(key, "regions")
    foreground = torch.nonzero(overlaps >= FOREGROUND).flatten()
    easy = torch.nonzero(overlaps < _EASY).flatten()
    hard = torch.nonzero((overlaps >= _EASY) & (overlaps < FOREGROUND)).flatten()

    def repeated(members: Tensor, number: int) -> Tensor:
        return members[torch.randint(len(members), (number,), generator=generator)]

    if not len(easy) and not len(hard):
        return repeated(foreground, count) if len(foreground) else foreground
    order = torch.randperm(len(foreground), generator=generator)
    first = foreground[order[: count // 2]]
    remainder = count - len(first)
    if not len(easy) or not len(hard):
        return torch.cat([first, repeated(hard if len(hard) else easy, remainder)])
    difficult = min(int(remainder * _HARD_SHARE), len(hard))
    return torch.cat([first, repeated(hard, difficult), repeated(easy, remainder - difficult)])
