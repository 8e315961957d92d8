"""What every backbone is: a network over voxels."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..choices import PTv3Form, SegmentationLoss
from ..draws import Draws
from ..voxelize import Voxels

IN_CHANNELS = 4
"""Input of every backbone: x, y, z in metres and intensity in [0, 1] of the point that stands for
the voxel."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a decoder stage gives: features of S voxels that are 2**halvings times as wide as the
    finest.

    Attributes:
        features: (S, channels).
        coords: (S, 4) int32, unique, in any order: scene, x, y, z, in voxels of this width.
        halvings: 0 for the last stage, and others as fine, whose voxels are the finest in their own
            order.
    """

    features: Tensor
    coords: Tensor
    halvings: int

    def holders(self, voxels: Voxels) -> Tensor:
        """(V,) int64: the voxel of this stage in which each of the finest lies.

        Halvings merge 2 x 2 x 2 cells of the grid, in convolutions of stride 2 as in PTv3's
        pooling, so that a voxel's coordinates shifted by a bit a halving are those of its holder.
        """
        if not self.halvings:
            return torch.arange(len(voxels.coords), device=voxels.coords.device)
        scene, *axes = voxels.coords.long().unbind(1)
        fine = _cell_numbers([scene, *(axis >> self.halvings for axis in axes)], voxels.shape)
        own, order = _cell_numbers(self.coords.long().unbind(1), voxels.shape).sort()
        return order.index_select(0, torch.searchsorted(own, fine))


def _cell_numbers(columns: Sequence[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """A number (n,) int64 for each cell of a grid of at most `shape` a scene."""
    scene, x, y, z = columns
    return ((scene * shape[0] + x) * shape[1] + y) * shape[2] + z


class Backbone(nn.Module):
    """A network over voxels.

    Attributes:
        out_channels: features a voxel.
        stage_channels: features a voxel of each decoder stage, coarsest first; the last are the
            network's output.
        halvings: times that it doubles the voxel size.
        peak_lr: the highest learning rate of its schedule (Table A1).
        finetuning_loss: of full fine-tuning, as in Pointcept's configuration of it.
        patch: voxels that attend to each other; None where there is no attention.
        ptv3_form: which PointTransformer V3 (see there); None for every other network.
        recompute: in training, compute the activations of stages or blocks again for the gradient
            instead of storing them; saves memory and changes no result.
    """

    out_channels: int
    stage_channels: tuple[int, ...]
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
        return deque(self.stages(features, voxels, draws), maxlen=1).pop().features

    def stages(
        self, features: Tensor, voxels: Voxels, draws: Draws | None = None
    ) -> Iterator[Stage]:
        """What the decoder stages give, coarsest first; the last is what `forward` returns."""
        raise NotImplementedError
