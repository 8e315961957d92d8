"""Stage two of PointRCNN (Shi et al. 2019) as OpenPCDet trains it: the points of a region say
whether it is right and how its box has to move."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..detection.boxes import Boxes, turn
from ..detection.coders import RegionCoder
from .perceptron import perceptron
from .region_points import ball_neighbours, farthest_points, gathered, pooled_points
from .regions import FOREGROUND, RegionTargets

_RIGHT, _WRONG = 0.6, 0.45
"""Overlap above which a region is right, and below which it is wrong."""
_BETA = 1 / 9
"""Where smooth L1 of codes turns linear."""
_DEPTH = 70.0
"""Metres by which distances from the LiDAR are divided."""


class RegionMaps(NamedTuple):
    """What the head says of R regions: logits (R,) and codes (R, 7), by `RegionCoder`."""

    logits: Tensor
    codes: Tensor


@dataclass(frozen=True, slots=True)
class RegionSizes:
    """How large the head is.

    Attributes:
        points: pooled in a region.
        width: channels of the first two layers.
        layers: of set abstraction: centres, radius in metres, neighbours, channels; then one over
            all centres with `last` channels.
        hidden: channels of the two perceptrons.
    """

    points: int = 512
    width: int = 128
    layers: tuple[tuple[int, float, int, tuple[int, ...]], ...] = (
        (128, 0.2, 16, (128, 128, 128)),
        (32, 0.4, 16, (128, 128, 256)),
    )
    last: tuple[int, ...] = (256, 256, 512)
    hidden: int = 256


class RegionHead(nn.Module):
    """A small PointNet++ on the points of every region, in the region's own frame.

    Coordinates, score of stage one and distance are lifted to `width` channels and merged with the
    student's features, which are brought to as many by one linear layer (OpenPCDet's network has as
    many already). These have no batch norm; set abstraction has it, which OpenPCDet's settings ask
    to leave out and its layers have all the same.

    Args:
        in_channels: of the student's features.
    """

    def __init__(self, in_channels: int, sizes: RegionSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or RegionSizes()
        width = sizes.width
        self.lift = _dense(5, (width, width))
        self.narrow = nn.Linear(in_channels, width)
        self.merge = _dense(2 * width, (width,))
        self.layers, channels = nn.ModuleList(), width
        for _, _, _, widths in sizes.layers:
            self.layers.append(_abstraction(3 + channels, widths))
            channels = widths[-1]
        self.last = _abstraction(3 + channels, sizes.last)
        self.logits = perceptron(sizes.last[-1], sizes.hidden, 1)
        self.codes = perceptron(sizes.last[-1], sizes.hidden, 7)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias) if module.bias is not None else None
        final = self.codes[-1]
        assert isinstance(final, nn.Linear)
        nn.init.normal_(final.weight, 0, 0.001)

    def pooled(self, regions: Boxes, xyz: Tensor, scores: Tensor, features: Tensor) -> Tensor:
        """(R, points, 5 + C) without gradients: places in the frames of R regions of one frame,
        score, distance / 70 - 0.5, features; zeros for a region without points.

        Args:
            xyz, scores, features: (N, 3), (N,) in [0, 1] and (N, C) of the frame's points.
        """
        with torch.no_grad():
            if not len(xyz):
                return features.new_zeros(len(regions), self.sizes.points, 5 + features.shape[1])
            places, filled = pooled_points(regions, xyz, self.sizes.points)
            offset = xyz[places] - regions.centres[:, None, :]
            flat = turn(offset[..., :2], -regions.yaws[:, None])
            distance = xyz.norm(dim=1) / _DEPTH - 0.5
            parts = [flat, offset[..., 2:], scores[places][..., None]]
            pooled = torch.cat([*parts, distance[places][..., None], features[places]], 2)
            return pooled * filled[:, None, None]

    def forward(self, pooled: Tensor) -> RegionMaps:
        """Of the points of R regions, (R, points, 5 + C) by `pooled`."""
        xyz = pooled[..., :3]
        merged = torch.cat([self.lift(pooled[..., :5]), self.narrow(pooled[..., 5:])], 2)
        values = self.merge(merged)
        for layer, (count, radius, neighbours, _) in zip(
            self.layers, self.sizes.layers, strict=True
        ):
            centres = gathered(xyz, farthest_points(xyz, min(count, xyz.shape[1])))
            places = ball_neighbours(xyz, centres, radius, neighbours)
            offset = gathered(xyz, places) - centres[:, :, None, :]
            values = _largest(layer, torch.cat([offset, gathered(values, places)], 3))
            xyz = centres
        values = _largest(self.last, torch.cat([xyz, values], 2))
        return RegionMaps(self.logits(values)[:, 0], self.codes(values))


def score_loss(logits: Tensor, overlaps: Tensor) -> Tensor:
    """Mean cross-entropy of logits (R,) of regions that are right or wrong by their overlap (R,);
    those between take no part, 0 where there is none."""
    decided = (overlaps > _RIGHT) | (overlaps < _WRONG)
    target = (overlaps[decided] > _RIGHT).to(logits)
    loss = functional.binary_cross_entropy_with_logits(logits[decided], target, reduction="sum")
    return loss / decided.sum().clamp_min(1)


def refinement_losses(codes: Tensor, targets: RegionTargets) -> tuple[Tensor, Tensor]:
    """Smooth L1 of codes (R, 7), the seven summed, and of the eight corners' distances, their mean;
    both are means over foreground regions, 0 without any.

    A box and the same one turned round have the same corners: the nearer of the two counts.
    """
    foreground = targets.overlaps > FOREGROUND
    count = foreground.sum().clamp_min(1)
    regions, boxes = targets.regions[foreground], targets.boxes[foreground]
    coder, own = RegionCoder(), codes[foreground]
    expected = coder.encode(boxes, regions).to(own)
    by_code = functional.smooth_l1_loss(own, expected, beta=_BETA, reduction="sum")
    corners = coder.decode(own, regions).corners()
    turned = Boxes(torch.cat([boxes.rows[:, :6], boxes.rows[:, 6:] + torch.pi], 1))
    gaps = torch.minimum(
        (corners - boxes.corners()).norm(dim=2), (corners - turned.corners()).norm(dim=2)
    )
    by_corner = functional.smooth_l1_loss(gaps, torch.zeros_like(gaps), reduction="none").mean(1)
    return by_code / count, by_corner.sum() / count


def _largest(layer: nn.Module, values: Tensor) -> Tensor:
    """(..., C'): the largest of what a layer makes of sets (..., N, C)."""
    return layer(values.flatten(0, -2)).unflatten(0, values.shape[:-1]).amax(-2)


def _abstraction(in_channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(in_channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers)


def _dense(in_channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(in_channels, width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers)
