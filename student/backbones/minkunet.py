"""MinkUNet: a sparse residual U-Net over voxels (Choy et al. 2019), in the form of Pointcept's
SpUNet."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..draws import Draws
from ..voxelize import Voxels
from .base import IN_CHANNELS, Backbone, Stage
from .recompute import recompute
from .sparse import DownConv, SparseTensor, SubmanifoldConv, UpConv, sparse_tensor

_norm = partial(nn.BatchNorm1d, eps=1e-3, momentum=0.01)


@dataclass(frozen=True, slots=True)
class Architecture:
    """Widths and depths: (channels, residual blocks) of every stage, finest first on the way down,
    last on the way up.

    The decoder has as many stages as the encoder; the last one's channels are the network's output.
    """

    stem_channels: int
    stem_kernel: int
    encoder: tuple[tuple[int, int], ...]
    decoder: tuple[tuple[int, int], ...]


ARCHITECTURES = {
    "minkunet34": Architecture(
        32, 5, ((32, 2), (64, 3), (128, 4), (256, 6)), ((256, 2), (128, 2), (96, 2), (96, 2))
    ),
    "minkunet18": Architecture(
        32, 5, ((32, 2), (64, 2), (128, 2), (256, 2)), ((256, 2), (128, 2), (96, 2), (96, 2))
    ),
    "minkunet-tiny": Architecture(
        16, 3, ((24, 1), (32, 1), (48, 1), (48, 1)), ((32, 1), (32, 1), (24, 1), (64, 1))
    ),
}


class _Step(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, conv: SubmanifoldConv | DownConv | UpConv) -> None:
        super().__init__()
        self.conv = conv
        self.norm = _norm(conv.out_channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        x = self.conv(x)
        return x.replace_feature(torch.relu(self.norm(x.features)))


class _Block(nn.Module):
    """Residual block of two 3x3x3 convolutions; the shortcut is projected where the width
    changes."""

    def __init__(self, in_channels: int, channels: int, key: str) -> None:
        super().__init__()
        self.first = _Step(SubmanifoldConv(in_channels, channels, 3, key))
        self.conv = SubmanifoldConv(channels, channels, 3, key)
        self.norm = _norm(channels)
        projected = in_channels != channels
        self.shortcut = (
            nn.Sequential(nn.Linear(in_channels, channels, bias=False), _norm(channels))
            if projected
            else None
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        shortcut = self.shortcut(x.features) if self.shortcut else x.features
        x = self.conv(self.first(x))
        return x.replace_feature(torch.relu(self.norm(x.features) + shortcut))


def _blocks(in_channels: int, channels: int, depth: int, key: str) -> nn.Sequential:
    widths = [in_channels] + [channels] * depth
    return nn.Sequential(*(_Block(a, b, key) for a, b in pairwise(widths)))


class MinkUNet(Backbone):
    """Stem, halvings with residual blocks, and back up with skip connections.

    Weights of submanifold convolutions and projections start normal with standard deviation 0.02,
    those of the halvings and doublings Kaiming-uniform, as in Pointcept.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.halvings = len(architecture.encoder)
        self.stem = _Step(
            SubmanifoldConv(
                IN_CHANNELS, architecture.stem_channels, architecture.stem_kernel, "stem"
            )
        )
        self.down, self.encoder, self.up, self.decoder = (nn.ModuleList() for _ in range(4))
        width = architecture.stem_channels
        skips = []
        for level, (channels, depth) in enumerate(architecture.encoder, 1):
            skips.append(width)
            self.down.append(_Step(DownConv(width, channels, 2, f"step{level}")))
            self.encoder.append(_blocks(channels, channels, depth, f"level{level}"))
            width = channels
        for level, (channels, depth) in zip(
            reversed(range(self.halvings)), architecture.decoder, strict=True
        ):
            self.up.append(_Step(UpConv(width, channels, 2, f"step{level + 1}")))
            self.decoder.append(_blocks(channels + skips[level], channels, depth, f"level{level}"))
            width = channels
        self.stage_channels = tuple(channels for channels, _ in architecture.decoder)
        self.out_channels = width
        self.apply(_initialise)

    def stages(
        self, features: Tensor, voxels: Voxels, draws: Draws | None = None
    ) -> Iterator[Stage]:
        """Of (V, IN_CHANNELS), see `Backbone`; nothing here is random."""
        x = self.stem(
            sparse_tensor(features, voxels.coords, voxels.shape, voxels.scenes, self.halvings)
        )
        skips = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            skips.append(x.features)
            x = self._stage(blocks, down(x))
        for up, blocks in zip(self.up, self.decoder, strict=True):
            x = up(x)
            x = self._stage(blocks, x.replace_feature(torch.cat([x.features, skips.pop()], 1)))
            yield Stage(x.features, x.indices, len(skips))

    def _stage(self, blocks: nn.Module, x: SparseTensor) -> SparseTensor:
        if not self.recomputes:
            return blocks(x)

        def run(features: Tensor) -> Tensor:
            return blocks(x.replace_feature(features)).features

        return x.replace_feature(recompute(blocks, run, x.features))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, SubmanifoldConv | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)


def build(name: str) -> MinkUNet:
    """The network of that name in `ARCHITECTURES`."""
    return MinkUNet(ARCHITECTURES[name])
