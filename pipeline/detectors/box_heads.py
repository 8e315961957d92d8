"""Detectors on the point features of any student, behind one interface."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...student.points import PointBatch
from ..detection.coders import PointCoder
from ..detection.detections import Detections
from . import centre_head, point_head
from .box_batch import BoxBatch
from .centre_head import CentreHead
from .centre_map import CentreMap
from .point_head import PointHead


class BoxHead(nn.Module, ABC):
    """Features of points in, boxes out. Its losses are to be added up with equal weights."""

    @abstractmethod
    def losses(self, features: Tensor, points: PointBatch, batch: BoxBatch) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            features: (N, C) of the points.
            batch: boxes and classes of every scene, whose points are not looked at, and the keys
                that decide what is drawn of each (see `FrameDraw`).
        """

    @abstractmethod
    def detections(self, features: Tensor, points: PointBatch) -> list[Detections]:
        """Boxes of every scene of the batch, without gradients."""


class CentreBoxHead(BoxHead):
    """`CentreHead` on the largest features of every cell.

    Args:
        grid: the map.
        in_channels: of the features.
        classes: K.
        code_weight: of the loss of codes.
    """

    def __init__(
        self, grid: CentreMap, in_channels: int, classes: int, code_weight: float = 0.25
    ) -> None:
        super().__init__()
        self.grid, self.classes, self.code_weight = grid, classes, code_weight
        self.head = CentreHead(in_channels, classes)

    def losses(self, features: Tensor, points: PointBatch, batch: BoxBatch) -> dict[str, Tensor]:
        maps = self.head(self.grid.scatter(features, points))
        boxes = [frame.boxes for frame in batch.frames]
        classes = [frame.classes for frame in batch.frames]
        targets = self.grid.targets(boxes, classes, self.classes)
        return {
            "heat": centre_head.heat_loss(maps.heat, targets.heat),
            "codes": self.code_weight * centre_head.code_loss(maps.codes, targets),
        }

    @torch.no_grad()
    def detections(self, features: Tensor, points: PointBatch) -> list[Detections]:
        maps = self.head(self.grid.scatter(features, points))
        return centre_head.detections(maps, self.grid)


class PointBoxHead(BoxHead):
    """`PointHead`, stage one of PointRCNN, with suppression as after its stage two.

    Args:
        coder: with the mean size of every class.
        in_channels: of the features.
    """

    def __init__(self, coder: PointCoder, in_channels: int) -> None:
        super().__init__()
        self.coder = coder
        self.head = PointHead(in_channels, len(coder.sizes))

    def losses(self, features: Tensor, points: PointBatch, batch: BoxBatch) -> dict[str, Tensor]:
        return self.point_losses(self.head(features), points, batch)

    def point_losses(
        self, maps: point_head.PointMaps, points: PointBatch, batch: BoxBatch
    ) -> dict[str, Tensor]:
        """Losses of what the head says of every point."""
        clouds = points.xyz.split(points.counts)
        targets = point_head.joined(
            [
                point_head.point_targets(xyz, frame, self.coder)
                for xyz, frame in zip(clouds, batch.frames, strict=True)
            ]
        )
        return {
            "classes": point_head.class_loss(maps.logits, targets.classes),
            "codes": point_head.code_loss(maps.codes, targets),
        }

    @torch.no_grad()
    def detections(self, features: Tensor, points: PointBatch) -> list[Detections]:
        maps = self.head(features)
        parts = (part.split(points.counts) for part in (maps.logits, maps.codes, points.xyz))
        return [
            point_head.point_detections(point_head.PointMaps(logits, codes), xyz, self.coder)
            for logits, codes, xyz in zip(*parts, strict=True)
        ]
