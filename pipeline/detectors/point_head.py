"""A point head: every point says what it lies in and where that box is. Stage one of PointRCNN (Shi
et al. 2019) as OpenPCDet trains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..detection.box_frame import BoxFrame
from ..detection.boxes import Boxes
from ..detection.coders import PointCoder
from ..detection.detections import Detections
from ..detection.suppression import suppressed
from .perceptron import perceptron

BACKGROUND, SHELL = -1, -2
"""Classes of points in no box, and of points so near to one that nothing is asked of them."""
_SHELL_WIDTH = 0.2
"""By how much a box with its shell is longer, wider and higher, metres."""
_ALPHA, _BETA = 0.25, 1 / 9
"""Of the focal loss, the share of positives; of smooth L1, where it turns linear."""


class PointMaps(NamedTuple):
    """What the head says of N points: logits (N, K) and codes (N, 8)."""

    logits: Tensor
    codes: Tensor


@dataclass(frozen=True, slots=True)
class PointTargets:
    """Targets of N points.

    Attributes:
        classes: (N,) int64 from 0, `BACKGROUND` or `SHELL`.
        codes: (F, 8) float32 of the points of a class, in their order, by `PointCoder`.
    """

    classes: Tensor
    codes: Tensor


class PointHead(nn.Module):
    """Two perceptrons on point features, each with two hidden layers: logits and box codes.

    Args:
        in_channels: of the features.
        classes: K.
        width: channels inside.
    """

    def __init__(self, in_channels: int, classes: int, width: int = 256) -> None:
        super().__init__()
        self.logits = perceptron(in_channels, width, classes)
        self.codes = perceptron(in_channels, width, 8)

    def forward(self, features: Tensor) -> PointMaps:
        """Of features (N, in_channels)."""
        return PointMaps(self.logits(features), self.codes(features))


def point_targets(xyz: Tensor, frame: BoxFrame, coder: PointCoder) -> PointTargets:
    """What the head should say of the points (N, 3) of a frame. A point in several boxes is of the
    first."""
    offset, sizes = frame.boxes.local(xyz).abs(), frame.boxes.sizes[:, None, :]
    inside = (offset <= sizes / 2).all(2)
    near = (offset <= (sizes + _SHELL_WIDTH) / 2).all(2).any(0)
    foreground = inside.any(0)
    classes = torch.where(near, SHELL, BACKGROUND)
    # A row of no box, so that there is one to look for the largest in.
    owner = torch.cat([inside, torch.zeros_like(near)[None]])[:, foreground].int().argmax(0)
    classes[foreground] = frame.classes[owner]
    codes = coder.encode(frame.boxes[owner], xyz[foreground], frame.classes[owner])
    return PointTargets(classes, codes.float())


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017) of logits (N, K), summed and divided by the number of points of
    a class (by 1 where there is none); points of a shell take no part."""
    outside_shells = classes != SHELL
    logits, classes = logits[outside_shells], classes[outside_shells]
    target = functional.one_hot(classes.clamp_min(0), logits.shape[1]).to(logits)
    target = target * (classes >= 0)[:, None]
    # Chance of the wrong answer, squared, weighs the cross-entropy of every class.
    wrong = torch.where(target > 0, 1 - logits.sigmoid(), logits.sigmoid())
    weight = torch.where(target > 0, _ALPHA, 1 - _ALPHA) * wrong**2
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * loss).sum() / (classes >= 0).sum().clamp_min(1)


def code_loss(codes: Tensor, targets: PointTargets) -> Tensor:
    """Smooth L1 of the codes (N, 8) of points of a class, the eight numbers summed, mean over
    these points; 0 without any."""
    difference = functional.smooth_l1_loss(
        codes[targets.classes >= 0], targets.codes, beta=_BETA, reduction="sum"
    )
    return difference / max(len(targets.codes), 1)


def point_detections(
    maps: PointMaps,
    xyz: Tensor,
    coder: PointCoder,
    *,
    least_score: float = 0.1,
    overlap: float = 0.1,
    candidates: int = 4096,
    survivors: int = 500,
) -> Detections:
    """Boxes of one frame: one a point, of its likeliest class, then suppression regardless of
    class.

    The defaults are those after stage two; 9,000, 0.85 and 100 make stage one's proposals.

    Args:
        xyz: (N, 3) of the points.
        least_score: boxes of lower scores are left out.
        overlap, candidates, survivors: see `suppressed`.
    """
    scores, classes = maps.logits.float().sigmoid().max(1)
    likely = scores >= least_score
    scores, classes = scores[likely], classes[likely]
    boxes: Boxes = coder.decode(maps.codes.float()[likely], xyz[likely], classes)
    index = suppressed(boxes, scores, overlap, candidates, survivors)
    return Detections(boxes[index], scores[index], classes[index])


def joined(targets: Sequence[PointTargets]) -> PointTargets:
    """Targets of a batch from those of its frames."""
    return PointTargets(
        torch.cat([one.classes for one in targets]), torch.cat([one.codes for one in targets])
    )
