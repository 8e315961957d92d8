"""Point features on a map seen from above, and what a centre head should find there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...student.points import PointBatch
from ..detection.boxes import Boxes
from ..detection.coders import CentreCoder

_MIN_RADIUS = 2
_MIN_OVERLAP = 0.1
"""CenterPoint's: smallest radius of a peak in cells, and the overlap that decides larger ones."""


@dataclass(frozen=True, slots=True)
class CentreMap:
    """A grid of square cells over x and y of the LiDAR frame.

    Attributes:
        cell: edge of a cell, metres.
        origin: x and y of the lowest corner, metres.
        columns, rows: cells along x and along y.
    """

    cell: float
    origin: tuple[float, float]
    columns: int
    rows: int

    @property
    def coder(self) -> CentreCoder:
        """Codes of boxes in their cells."""
        return CentreCoder(self.cell, self.origin)

    def scatter(self, features: Tensor, points: PointBatch) -> Tensor:
        """(S, C, rows, columns): the largest value of every channel among a cell's points, 0 where
        there is none. Points off the map take no part.

        Args:
            features: (N, C) of the points.
        """
        places = (points.xyz[:, :2].double() - points.xyz.new_tensor(self.origin)) / self.cell
        column, row = places.floor().long().unbind(1)
        on_map = self._on_map(column, row)
        cells = ((points.scene * self.rows + row) * self.columns + column)[on_map]
        flat = features.new_zeros(points.size * self.rows * self.columns, features.shape[1])
        index = cells[:, None].expand(-1, features.shape[1])
        flat = flat.scatter_reduce(0, index, features[on_map], "amax", include_self=False)
        return flat.view(points.size, self.rows, self.columns, -1).permute(0, 3, 1, 2)

    def targets(
        self, boxes: Sequence[Boxes], classes: Sequence[Tensor], count: int
    ) -> "CentreTargets":
        """What a head with `count` classes should say of frames with these boxes; boxes whose
        centre is off the map have no target."""
        device = boxes[0].rows.device
        heat = torch.zeros(len(boxes), count, self.rows, self.columns, device=device)
        cells, codes = [], []
        for frame, (frame_boxes, frame_classes) in enumerate(zip(boxes, classes, strict=True)):
            column, row = self.coder.cells(frame_boxes).unbind(1)
            on_map = self._on_map(column, row)
            column, row = column[on_map], row[on_map]
            cells.append(torch.stack([torch.full_like(row, frame), row, column], 1))
            codes.append(self.coder.encode(frame_boxes[on_map]).float())
            radii = peak_radius(frame_boxes[on_map].sizes[:, :2] / self.cell)
            peaks = zip(frame_classes[on_map].tolist(), row, column, radii, strict=True)
            for category, *peak in peaks:
                heat[frame, category] = torch.maximum(heat[frame, category], self._peak(*peak))
        return CentreTargets(heat, torch.cat(cells), torch.cat(codes))

    def _on_map(self, column: Tensor, row: Tensor) -> Tensor:
        return (column >= 0) & (column < self.columns) & (row >= 0) & (row < self.rows)

    def _peak(self, row: Tensor, column: Tensor, radius: Tensor) -> Tensor:
        """(rows, columns) float32: a Gaussian of height 1, cut to a square of 2 radius + 1 cells,
        a sixth of which is its standard deviation."""
        down = (torch.arange(self.rows, device=row.device) - row)[:, None]
        along = (torch.arange(self.columns, device=row.device) - column)[None, :]
        deviation = (2 * radius + 1) / 6
        values = torch.exp(-(down**2 + along**2) / (2 * deviation**2)).float()
        return torch.where((down.abs() <= radius) & (along.abs() <= radius), values, 0.0)


@dataclass(frozen=True, slots=True)
class CentreTargets:
    """Targets of a batch of S frames with B boxes on the map.

    Attributes:
        heat: (S, K, rows, columns) float32: 1 in the cells of centres, less around them.
        cells: (B, 3) int64: frame, row, column of every box.
        codes: (B, 8) float32, by `CentreCoder`.
    """

    heat: Tensor
    cells: Tensor
    codes: Tensor


def peak_radius(sizes: Tensor) -> Tensor:
    """(N,) int64, cells: radius of the peak of boxes (N, 2), length and width in cells.

    CornerNet's bound on how far corners may move for an overlap of 0.1, with the quadratic
    formula as CenterNet and CenterPoint have it (the divisor 2 in place of 2a), at least 2.
    Compared with those equations written out; with no run of theirs.
    """
    total, area = sizes.double().sum(1), sizes.double().prod(1)
    overlap = _MIN_OVERLAP
    # Both corners move outwards or inwards alike; both inwards; both outwards.
    cases = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, area * (1 - overlap)),
        (4 * overlap, -2 * overlap * total, area * (overlap - 1)),
    )
    radii = [(b + (b * b - 4 * a * c).clamp_min(0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(radii).amin(0).floor().long().clamp_min(_MIN_RADIUS)
