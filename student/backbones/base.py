"""What every backbone is: a network over voxels."""

import torch
from torch import Tensor, nn

from ..choices import PTv3Form, SegmentationLoss
from ..draws import Draws
from ..voxelize import Voxels

IN_CHANNELS = 4
"""Input of every backbone: x, y, z in metres and intensity in [0, 1] of the point that stands for
the voxel."""


class Backbone(nn.Module):
    """A network over voxels.

    Attributes:
        out_channels: features a voxel.
        halvings: times that it doubles the voxel size.
        peak_lr: the highest learning rate of its schedule (Table A1).
        finetuning_loss: of full fine-tuning, as in Pointcept's configuration of it.
        patch: voxels that attend to each other; None where there is no attention.
        ptv3_form: which PointTransformer V3 (see there); None for every other network.
        recompute: in training, compute the activations of stages or blocks again for the gradient
            instead of storing them; saves memory and changes no result.
    """

    out_channels: int
    halvings: int
    peak_lr: float = 1e-3
    finetuning_loss: SegmentationLoss = "ce"
    patch: int | None = None
    ptv3_form: PTv3Form | None = None
    recompute: bool = False

    def block_parameters(self) -> list[nn.Parameter]:
        """Parameters that train at a tenth of the learning rate."""
        return []

    @property
    def recomputes(self) -> bool:
        """Whether this pass is one to compute again."""
        return self.recompute and self.training and torch.is_grad_enabled()

    def forward(self, features: Tensor, voxels: Voxels, draws: Draws | None = None) -> Tensor:
        """(V, IN_CHANNELS) float32 to (V, out_channels), V at least 1; nothing is random without
        `draws`."""
        raise NotImplementedError
