"""Overlap of upright boxes: seen from above, and in space."""

import torch
from torch import Tensor

from .boxes import Boxes, turn

_PAIRS_AT_ONCE = 1 << 16
"""Pairs of boxes whose areas are computed at once: about 200 MB."""
_SQUARE = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))
"""Corners of a footprint by signs, counter-clockwise."""


def bev_iou(first: Boxes, second: Boxes) -> Tensor:
    """(N, M) float64 in [0, 1]: intersection over union of the footprints of N and M boxes.

    Compared with polygons of shapely, with sampled points and with closed forms.
    """
    shared = shared_area(first, second)
    area, other_area = _area(first)[:, None], _area(second)[None, :]
    return _ratio(shared, area + other_area - shared)


def iou_3d(first: Boxes, second: Boxes) -> Tensor:
    """(N, M) float64 in [0, 1]: intersection over union of the volumes of N and M boxes.

    Compared with polygons of shapely times heights and with sampled points.
    """
    rows, other_rows = first.rows.double(), second.rows.double()
    # What two boxes share is a prism: the shared footprint, as high as their heights overlap.
    half, other_half = rows[:, None, 5] / 2, other_rows[None, :, 5] / 2
    z, other_z = rows[:, None, 2], other_rows[None, :, 2]
    top = torch.minimum(z + half, other_z + other_half)
    bottom = torch.maximum(z - half, other_z - other_half)
    shared = shared_area(first, second) * (top - bottom).clamp_min(0)
    volume, other_volume = (side.prod(1) for side in (rows[:, 3:6], other_rows[:, 3:6]))
    return _ratio(shared, volume[:, None] + other_volume[None, :] - shared)


def shared_area(first: Boxes, second: Boxes) -> Tensor:
    """(N, M) float64, square metres: the area that the footprints of N and M boxes share.

    Only pairs whose circumscribed circles meet are looked at further.
    """
    rows, other_rows = first.rows.double(), second.rows.double()
    radius, other_radius = (part[:, 3:5].norm(dim=1) / 2 for part in (rows, other_rows))
    gap = (rows[:, None, :2] - other_rows[None, :, :2]).norm(dim=2)
    n, m = torch.nonzero(gap < radius[:, None] + other_radius[None, :], as_tuple=True)
    area = rows.new_zeros(len(rows), len(other_rows))
    for start in range(0, len(n), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        area[n[part], m[part]] = _pair_area(rows[n[part]], other_rows[m[part]])
    return area


def image_iou(first: Tensor, second: Tensor, over: str = "union") -> Tensor:
    """(N, M) float64: overlap of upright rectangles in an image.

    Args:
        first, second: (N, 4) and (M, 4), pixels: left, top, right, bottom.
        over: the shared area is divided by that of the ``union``, or of the ``first`` rectangle.
    """
    first, second = first.double(), second.double()
    corner = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    origin = torch.maximum(first[:, None, :2], second[None, :, :2])
    shared = (corner - origin).clamp_min(0).prod(2)
    area, other_area = ((part[:, 2:] - part[:, :2]).prod(1) for part in (first, second))
    if over == "first":
        return _ratio(shared, area[:, None].expand_as(shared))
    return _ratio(shared, area[:, None] + other_area[None, :] - shared)


def _pair_area(rows: Tensor, other_rows: Tensor) -> Tensor:
    """(P,) area shared by the footprints of pairs of boxes, each (P, 7) float64.

    Let F move every point of the plane to the nearest point of the second rectangle. F keeps areas
    inside that rectangle and flattens everything else to lines, so the area that the image of the
    first rectangle's boundary encloses (its signed shoelace sum) is the shared area. No vertex is
    sorted into a polygon, and the result is continuous: equal boxes and common edges need no care.
    """
    # The corners of the first in the frame of the second: (P, 4, 2).
    corners = rows.new_tensor(_SQUARE) * rows[:, None, 3:5] / 2
    offset = turn(rows[:, :2] - other_rows[:, :2], -other_rows[:, 6])
    corners = turn(corners, (rows[:, 6] - other_rows[:, 6])[:, None]) + offset[:, None, :]
    edges = corners.roll(-1, 1) - corners
    # An edge bends under F where it crosses the lines of the second's four sides: at most at four
    # places t in [0, 1]. An edge along a line (0 / 0, or infinity) does not bend there.
    half = other_rows[:, None, 3:5] / 2
    places = torch.cat([(half - corners) / edges, (-half - corners) / edges], 2)
    places = places.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1).sort(2).values
    ends = torch.zeros_like(places[..., :1])
    places = torch.cat([ends, places, ends + 1], 2)
    # The image of the boundary: (P, 4, 6, 2), straight between neighbours.
    path = corners[:, :, None, :] + places[..., None] * edges[:, :, None, :]
    path = torch.minimum(torch.maximum(path, -half[:, :, None, :]), half[:, :, None, :])
    x, y = path.unbind(-1)
    crosses = x[..., :-1] * y[..., 1:] - x[..., 1:] * y[..., :-1]
    return (crosses.sum((1, 2)) / 2).clamp_min(0)


def _area(boxes: Boxes) -> Tensor:
    return boxes.rows[:, 3].double() * boxes.rows[:, 4].double()


def _ratio(shared: Tensor, whole: Tensor) -> Tensor:
    """shared / whole in [0, 1]; 0 where there is no area."""
    return torch.where(whole > 0, shared / whole.clamp_min(1e-300), 0.0).clamp(0, 1)
