"""A centre head: peaks of a map seen from above are boxes (CenterPoint, Yin et al. 2021)."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..detection.detections import Detections
from .centre_map import CentreMap, CentreTargets

_RARE = -2.19
"""Bias of the heat at the start: the logit of 0.1."""


class CentreMaps(NamedTuple):
    """What the head says of a batch: heat (S, K, rows, columns) as logits, and codes
    (S, 8, rows, columns)."""

    heat: Tensor
    codes: Tensor


class CentreHead(nn.Module):
    """Convolutions over scattered point features; heat of K classes and one box code a cell.

    CenterPoint's head without its backbone of the map: `depth` convolutions of 3 x 3, then a
    branch of two for heat and one for codes. All classes share one head (CenterPoint has one for
    groups of classes) and there is no velocity.

    Args:
        in_channels: of the map.
        classes: K.
        width: channels inside.
        depth: shared convolutions, which decide how far a cell sees.
    """

    def __init__(self, in_channels: int, classes: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        widths = [in_channels, *[width] * depth]
        self.trunk = nn.Sequential(*(_block(a, b) for a, b in itertools.pairwise(widths)))
        self.heat = nn.Sequential(_block(width, width), nn.Conv2d(width, classes, 1))
        self.codes = nn.Sequential(_block(width, width), nn.Conv2d(width, 8, 1))
        bias = self.heat[-1].bias
        assert isinstance(bias, Tensor)
        nn.init.constant_(bias, _RARE)

    def forward(self, map: Tensor) -> CentreMaps:
        """Maps of features (S, C, rows, columns)."""
        shared = self.trunk(map)
        return CentreMaps(self.heat(shared), self.codes(shared))


def heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CornerNet's focal loss of heat (S, K, rows, columns), per centre.

    -(1 - p)^2 log p in the cells of centres, -(1 - heat)^4 p^2 log(1 - p) in the others, summed
    and divided by the number of centres (by 1 where there is none).
    """
    centre = heat == 1
    chance = logits.sigmoid()
    hit = (1 - chance) ** 2 * functional.logsigmoid(logits)
    miss = (1 - heat) ** 4 * chance**2 * functional.logsigmoid(-logits)
    return -torch.where(centre, hit, miss).sum() / centre.sum().clamp_min(1)


def code_loss(codes: Tensor, targets: CentreTargets) -> Tensor:
    """Mean over boxes of the L1 distance between their codes and those of their cells, the eight
    numbers summed; 0 without boxes."""
    frame, row, column = targets.cells.unbind(1)
    difference = (codes[frame, :, row, column] - targets.codes).abs()
    return difference.sum() / max(len(targets.codes), 1)


def detections(
    maps: CentreMaps, grid: CentreMap, most: int = 100, least_score: float = 0.1
) -> list[Detections]:
    """Boxes of every frame: cells whose heat no neighbour of their class exceeds.

    Args:
        most: boxes of a frame.
        least_score: boxes of lower scores are left out.
    """
    heat = maps.heat.float().sigmoid()
    peaks = torch.where(functional.max_pool2d(heat, 3, 1, 1) == heat, heat, 0.0)
    results = []
    for frame_peaks, codes in zip(peaks, maps.codes.float(), strict=True):
        scores, places = frame_peaks.flatten().sort(descending=True, stable=True)
        places = places[:most][scores[:most] >= least_score]
        classes, cell = places // (grid.rows * grid.columns), places % (grid.rows * grid.columns)
        row, column = cell // grid.columns, cell % grid.columns
        boxes = grid.coder.decode(codes[:, row, column].T, torch.stack([column, row], 1))
        results.append(Detections(boxes, scores[: len(places)], classes))
    return results


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
