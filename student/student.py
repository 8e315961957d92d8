"""What every student is: points to voxels, a network over voxels, and its features back at every
point."""

import torch
from torch import Tensor, nn

from ..errors import CleverError
from .backbones.base import Backbone, Stage
from .choices import PTv3Form
from .clouds.intensity import IntensityNorm, norm_of
from .draws import Draws
from .points import PointBatch
from .voxelize import Voxels, voxelize


class Student(nn.Module):
    """Points in, a feature for every point out.

    Attributes:
        name: its name in the registry.
        voxel_size: edge of a voxel in metres.
        out_channels: features a point.
        intensities: of the datasets by whose statistics it standardises, of which the first one is
            used; empty: it takes intensities as they are.
        patch, ptv3_form, recompute: see `Backbone`.
    """

    def __init__(self, name: str, backbone: Backbone, voxel_size: float) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.voxel_size = voxel_size
        self.out_channels = backbone.out_channels
        self.intensities: tuple[IntensityNorm, ...] = ()

    def choose_intensity(self, dataset: str) -> IntensityNorm | None:
        """From here on standardise intensities by that dataset's statistics, where they are known,
        else by those of the first one; returns which, None where nothing is standardised."""
        norm = norm_of(self.intensities, dataset)
        self.intensities = (norm,) if norm else ()
        return norm

    @property
    def patch(self) -> int | None:
        """Voxels in an attention patch; None for a network without attention."""
        return self.backbone.patch

    @property
    def ptv3_form(self) -> PTv3Form | None:
        return self.backbone.ptv3_form

    @property
    def recompute(self) -> bool:
        """Whether training computes activations again instead of keeping them, see `Backbone`."""
        return self.backbone.recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self.backbone.recompute = value

    def forward(self, points: PointBatch, draws: Draws | None = None) -> Tensor:
        """Features (N, out_channels).

        Without draws nothing is random. With them (training) a random point stands for each voxel,
        and the backbone draws what it draws in training.

        Raises:
            CleverError: points that are not finite or too far apart (see `voxelize`), or, in
                training, a batch that is a single voxel at the coarsest level, which has no batch
                statistics.
        """
        features, voxels = self.voxel_features(points, draws)
        # Not features[inverse]: on several CPU threads its gradient adds up in no fixed order.
        return features.index_select(0, voxels.inverse)

    def voxel_features(
        self, points: PointBatch, draws: Draws | None = None
    ) -> tuple[Tensor, Voxels]:
        """The occupied voxels and their features (V, out_channels).

        Points of a voxel share its feature: what comes after costs less on voxels. Raises as
        `forward`.
        """
        voxels = self.voxels(points, draws)
        return self.encode(points, voxels, draws), voxels

    def voxels(self, points: PointBatch, draws: Draws | None = None) -> Voxels:
        """The occupied voxels; raises as `forward`."""
        voxels = voxelize(points, self.voxel_size, draws)
        scenes = sum(count > 0 for count in points.counts)
        if self.training and max(voxels.shape) <= 2**self.backbone.halvings and scenes == 1:
            raise CleverError(
                f"the batch, {max(voxels.shape)} voxels wide, fits into a single voxel of the "
                "coarsest level; "
                "leave this scan out or use smaller voxels"
            )
        return voxels

    def encode(self, points: PointBatch, voxels: Voxels, draws: Draws | None = None) -> Tensor:
        """Features (V, out_channels) of voxels that `voxels` made of `points`."""
        if not len(voxels.coords):
            return points.xyz.new_zeros(0, self.out_channels)
        return self.backbone(self._inputs(points, voxels), voxels, draws)

    def encode_stages(
        self, points: PointBatch, voxels: Voxels, draws: Draws | None = None
    ) -> list[Stage]:
        """What every decoder stage gives, coarsest first; the last one's features are those of
        `encode`."""
        if len(voxels.coords):
            return list(self.backbone.stages(self._inputs(points, voxels), voxels, draws))
        channels = self.backbone.stage_channels
        return [
            Stage(
                points.xyz.new_zeros(0, width),
                voxels.coords,
                min(len(channels) - 1 - number, self.backbone.halvings),
            )
            for number, width in enumerate(channels)
        ]

    def stage_channels(self, stage: int) -> int:
        """Features of the decoder stage `stage` places before the last.

        Raises:
            CleverError: there are not so many.
        """
        channels = self.backbone.stage_channels
        if stage >= len(channels):
            names = ", ".join(stage_name(number) for number in range(len(channels)))
            raise CleverError(
                f"{self.name} has no decoder stage {stage_name(stage)}; it has {names}"
            )
        return channels[len(channels) - 1 - stage]

    def _inputs(self, points: PointBatch, voxels: Voxels) -> Tensor:
        """(V, IN_CHANNELS) of the points that stand for the voxels."""
        intensity = points.intensity
        if self.intensities:
            intensity = self.intensities[0].standardised(intensity)
        values = torch.cat([points.xyz, intensity[:, None]], 1)
        return values.index_select(0, voxels.representative)


def stage_name(stage: int) -> str:
    """What a decoder stage is called: ``last``, ``last-1``, ..."""
    return f"last-{stage}" if stage else "last"
