"""Boxes as numbers that a network can learn, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import Boxes, turn, wrapped

KITTI_SIZES = ((3.9, 1.6, 1.56), (0.8, 0.6, 1.73), (1.76, 0.6, 1.73))
"""Mean length, width, height of Car, Pedestrian and Cyclist, metres."""


@dataclass(frozen=True, slots=True)
class PointCoder:
    """Eight numbers of a box as seen from a point in it: stage one of PointRCNN as OpenPCDet
    trains it (residuals; the bins of the paper of 2019 are not used there).

    With the class's mean size (l, w, h) and d the diagonal of l and w: (x - p_x) / d,
    (y - p_y) / d, (z - p_z) / h, log of the three sizes over the mean ones, cos and sin of the yaw.

    Compared with the formula written out; with no run of OpenPCDet.

    Attributes:
        sizes: mean length, width, height of every class, metres.
    """

    sizes: tuple[tuple[float, float, float], ...] = KITTI_SIZES
    width: int = 8

    def encode(self, boxes: Boxes, points: Tensor, classes: Tensor) -> Tensor:
        """Codes (N, 8).

        Args:
            points: (N, 3), metres, the frame of the boxes.
            classes: (N,) int64 from 0.
        """
        mean, step = self._scales(boxes.rows, classes)
        return torch.cat(
            [
                (boxes.centres - points) / step,
                (boxes.sizes / mean).log(),
                boxes.yaws.cos()[:, None],
                boxes.yaws.sin()[:, None],
            ],
            1,
        )

    def decode(self, codes: Tensor, points: Tensor, classes: Tensor) -> Boxes:
        """Boxes of codes (N, 8); the yaw is in (-pi, pi]."""
        mean, step = self._scales(codes, classes)
        yaws = torch.atan2(codes[:, 7:8], codes[:, 6:7])
        return Boxes(torch.cat([codes[:, :3] * step + points, codes[:, 3:6].exp() * mean, yaws], 1))

    def _scales(self, like: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean sizes (N, 3), and the steps (N, 3) that offsets are counted in."""
        mean = like.new_tensor(self.sizes)[classes]
        diagonal = mean[:, :2].norm(dim=1, keepdim=True)
        return mean, torch.cat([diagonal, diagonal, mean[:, 2:]], 1)


@dataclass(frozen=True, slots=True)
class RegionCoder:
    """Seven numbers of a box as seen from another one, a region of interest: stage two of
    PointRCNN as OpenPCDet trains it.

    In the region's own frame: x / d, y / d, z / h with the region's diagonal d and height h, log
    of the three sizes over the region's, and the yaw beyond the region's, where that of a region
    which looks the opposite way counts from its back: always in [-pi/2, pi/2).

    Compared with the formula written out; with no run of OpenPCDet.
    """

    width: int = 7

    def encode(self, boxes: Boxes, regions: Boxes) -> Tensor:
        """Codes (N, 7) of boxes by N regions."""
        yaws = torch.remainder(boxes.yaws - regions.yaws + torch.pi / 2, torch.pi) - torch.pi / 2
        offset = boxes.centres - regions.centres
        offset = torch.cat([turn(offset[:, :2], -regions.yaws), offset[:, 2:]], 1)
        sizes = (boxes.sizes / regions.sizes).log()
        return torch.cat([offset / self._step(regions), sizes, yaws[:, None]], 1)

    def decode(self, codes: Tensor, regions: Boxes) -> Boxes:
        """Boxes of codes (N, 7); yaws in [-pi, pi)."""
        offset = codes[:, :3] * self._step(regions)
        offset = torch.cat([turn(offset[:, :2], regions.yaws), offset[:, 2:]], 1)
        sizes = codes[:, 3:6].exp() * regions.sizes
        yaws = wrapped(codes[:, 6] + regions.yaws)
        return Boxes(torch.cat([regions.centres + offset, sizes, yaws[:, None]], 1))

    @staticmethod
    def _step(regions: Boxes) -> Tensor:
        diagonal = regions.sizes[:, :2].norm(dim=1, keepdim=True)
        return torch.cat([diagonal, diagonal, regions.sizes[:, 2:]], 1)


@dataclass(frozen=True, slots=True)
class CentreCoder:
    """Eight numbers of a box whose centre lies in a cell of a map seen from above: CenterPoint's.

    Place of the centre in its cell in [0, 1), x then y; z; log of the three sizes; sin and cos of
    the yaw.

    Attributes:
        cell: edge of a cell, metres.
        origin: x and y of the corner of cell (0, 0), metres.
    """

    cell: float
    origin: tuple[float, float]
    width: int = 8

    def cells(self, boxes: Boxes) -> Tensor:
        """(N, 2) int64: column along x and row along y; may lie off the map."""
        return self._places(boxes).floor().long()

    def encode(self, boxes: Boxes) -> Tensor:
        """Codes (N, 8) of boxes in the cells of their centres."""
        places = self._places(boxes)
        yaws = boxes.yaws[:, None]
        return torch.cat(
            [
                places - places.floor(),
                boxes.rows[:, 2:3],
                boxes.sizes.log(),
                yaws.sin(),
                yaws.cos(),
            ],
            1,
        )

    def decode(self, codes: Tensor, cells: Tensor) -> Boxes:
        """Boxes of codes (N, 8) at cells (N, 2); yaws in (-pi, pi]."""
        xy = (cells + codes[:, :2]) * self.cell + codes.new_tensor(self.origin)
        yaws = torch.atan2(codes[:, 6:7], codes[:, 7:8])
        return Boxes(torch.cat([xy, codes[:, 2:3], codes[:, 3:6].exp(), yaws], 1))

    def _places(self, boxes: Boxes) -> Tensor:
        return (boxes.rows[:, :2] - boxes.rows.new_tensor(self.origin)) / self.cell
