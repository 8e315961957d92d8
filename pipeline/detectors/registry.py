"""The detectors by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..detection.area import Area
from ..detection.coders import PointCoder
from ..settings.shared.choices import DetectorName
from .box_heads import BoxHead, CentreBoxHead, PointBoxHead
from .centre_map import CentreMap
from .point_rcnn import PointRCNNHead


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What a head is made for.

    Attributes:
        in_channels: of the student's features.
        sizes: mean length, width, height of every class, metres.
        area: where boxes are looked for.
        cell: edge of a cell of a map seen from above, metres.
    """

    in_channels: int
    sizes: tuple[tuple[float, float, float], ...]
    area: Area
    cell: float


def _point_head(plan: HeadPlan) -> BoxHead:
    return PointBoxHead(PointCoder(plan.sizes), plan.in_channels)


def _point_rcnn(plan: HeadPlan) -> BoxHead:
    return PointRCNNHead(PointCoder(plan.sizes), plan.in_channels)


def _centre_head(plan: HeadPlan) -> BoxHead:
    (x, y, _), (far_x, far_y, _) = plan.area.low, plan.area.high
    columns, rows = (math.ceil(round(length / plan.cell, 6)) for length in (far_x - x, far_y - y))
    grid = CentreMap(plan.cell, (x, y), columns, rows)
    return CentreBoxHead(grid, plan.in_channels, len(plan.sizes))


DETECTORS: dict[DetectorName, Callable[[HeadPlan], BoxHead]] = {
    "point-head": _point_head,
    "point-rcnn": _point_rcnn,
    "centre": _centre_head,
}
"""What makes each of them."""
