"""What every student is: points to voxels, a network over voxels, and its features back at every point."""

import torch
from torch import Tensor, nn

from ..errors import CleverError
from .points import PointBatch
from .voxelize import Voxels, voxelize

IN_CHANNELS = 4
"""Input of every backbone: x, y, z in metres and intensity in [0, 1] of the point that stands for the voxel."""


class Backbone(nn.Module):
    """A network over voxels.

    Attributes:
        out_channels: features a voxel.
        halvings: times that it doubles the voxel size.
    """

    out_channels: int
    halvings: int

    def forward(self, features: Tensor, voxels: Voxels, generator: torch.Generator | None = None) -> Tensor:
        """(V, IN_CHANNELS) float32 to (V, out_channels), V at least 1; only a `generator` makes anything random."""
        raise NotImplementedError


class Student(nn.Module):
    """Points in, a feature for every point out.

    Attributes:
        name: its name in the registry.
        voxel_size: edge of a voxel in metres.
        out_channels: features a point.
    """

    def __init__(self, name: str, backbone: Backbone, voxel_size: float) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.voxel_size = voxel_size
        self.out_channels = backbone.out_channels

    def forward(self, points: PointBatch, generator: torch.Generator | None = None) -> Tensor:
        """Features (N, out_channels).

        Without a generator nothing is random. With one (training) a random point stands for each voxel, and the
        backbone draws what it draws in training.

        Raises:
            CleverError: points that are not finite or too far apart (see `voxelize`), or, in training, a batch that
                is a single voxel at the coarsest level, which has no batch statistics.
        """
        features, inverse = self.voxel_features(points, generator)
        # Not features[inverse]: on several CPU threads its gradient adds up in no fixed order.
        return features.index_select(0, inverse)

    def voxel_features(self, points: PointBatch, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Features (V, out_channels) of the occupied voxels and (N,) int64, the voxel of every point.

        Points of a voxel share its feature: what comes after costs less on voxels. Raises as `forward`.
        """
        if not len(points):
            return points.xyz.new_zeros(0, self.out_channels), points.scene
        voxels = voxelize(points, self.voxel_size, generator)
        if self.training and max(voxels.shape) <= 2**self.backbone.halvings and len(points.scene.unique()) == 1:
            raise CleverError(
                f"the batch, {max(voxels.shape)} voxels wide, fits into a single voxel of the coarsest level; "
                "leave this scan out or use smaller voxels"
            )
        features = torch.cat([points.xyz, points.intensity[:, None]], 1)[voxels.representative]
        return self.backbone(features, voxels, generator), voxels.inverse
