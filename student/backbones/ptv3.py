"""PointTransformer V3: attention within patches of voxels serialised along space-filling curves (Wu
et al. 2024)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..choices import PTv3Form
from ..draws import Draws, key
from ..voxelize import Voxels
from .base import IN_CHANNELS, Backbone, Stage
from .curves import DEPTH, ORDERS, bits_needed
from .patches import Level, levels
from .recompute import recompute
from .sparse import SubmanifoldConv


@dataclass(frozen=True, slots=True)
class Architecture:
    """(channels, blocks, attention heads) of every stage, finest first on the way down, last on the
    way up.

    The decoder has one stage less than the encoder; the last one's channels are the network's
    output.

    Attributes:
        patch: voxels that attend to each other.
        drop_path: probability of dropping a residual branch at the deepest block; it grows linearly
            from zero.
    """

    encoder: tuple[tuple[int, int, int], ...]
    decoder: tuple[tuple[int, int, int], ...]
    patch: int = 1024
    drop_path: float = 0.3


_ENCODER = ((32, 2, 2), (64, 2, 4), (128, 2, 8), (256, 6, 16), (512, 2, 32))
ARCHITECTURES = {
    "ptv3": Architecture(_ENCODER, ((256, 2, 16), (128, 2, 8), (64, 2, 4), (64, 2, 4))),
    "ptv3-256": Architecture(_ENCODER, ((256, 2, 16), (256, 2, 8), (256, 2, 4), (256, 2, 4))),
    "ptv3-tiny": Architecture(
        ((16, 1, 1), (32, 1, 2), (64, 1, 4), (96, 1, 6)),
        ((64, 1, 4), (32, 1, 2), (64, 1, 4)),
        128,
        0.1,
    ),
}


class _Block(nn.Module):
    """Conditional positional encoding, attention within patches, and an MLP, each added to its
    input.

    The position comes from the block's input, or from other features of the same voxels where they
    are given. `name` tells the random numbers of blocks apart.
    """

    def __init__(self, name: str, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.name = name
        self.heads = heads
        self.drop_path = drop_path
        self.position_conv = SubmanifoldConv(channels, channels, 3, "blocks", bias=True)
        assert self.position_conv.shift is not None
        bound = (27 * channels) ** -0.5  # as Pointcept's start, and as linear layers do
        nn.init.uniform_(self.position_conv.shift, -bound, bound)
        self.position = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.attention_norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(
        self,
        x: Tensor,
        level: Level,
        curve: int,
        draws: Draws | None,
        placed: Tensor | None = None,
    ) -> Tensor:
        placed = x if placed is None else placed
        position = self.position_conv(level.sparse.replace_feature(placed))
        x = x + self.position(position.features)
        x = x + self._drop(
            self._attention(self.attention_norm(x), level, curve), "attention", draws
        )
        return x + self._drop(self.mlp(x), "mlp", draws)

    def _attention(self, x: Tensor, level: Level, curve: int) -> Tensor:
        members = level.members[curve]
        qkv = self.qkv(x).index_select(0, members.flatten())
        query, key, value = qkv.view(*members.shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=level.mask)
        return self.projection(
            out.transpose(1, 2).reshape(-1, x.shape[1]).index_select(0, level.place[curve])
        )

    def _drop(self, branch: Tensor, kind: str, draws: Draws | None) -> Tensor:
        """Drop the branch at random voxels (not whole scenes), as Pointcept does."""
        if not self.training or draws is None or not self.drop_path:
            return branch
        generator = draws.generator(f"drop {self.name} {kind}", branch.device)
        draw = torch.rand(len(branch), 1, generator=generator, device=branch.device)
        return branch * ((draw >= self.drop_path) / (1 - self.drop_path)).to(branch.dtype)


def _project(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, channels), *_activate(channels))


def _activate(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01), nn.GELU()


class _Down(nn.Module):
    """Projection, maximum over the voxels of a parent, batch norm, GELU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, channels)
        self.activate = nn.Sequential(*_activate(channels))

    def forward(self, x: Tensor, level: Level) -> Tensor:
        assert level.by_parent is not None
        x = self.projection(x).index_select(0, level.by_parent)
        return self.activate(
            torch.segment_reduce(x, "max", lengths=level.children, axis=0, unsafe=True)
        )


class _Up(nn.Module):
    """The projected skip, and its sum with the projected features of each voxel's parent."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.below = _project(in_channels, channels)
        self.skip = _project(skip_channels, channels)

    def forward(self, x: Tensor, skip: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        assert level.parent is not None
        skip = self.skip(skip)
        return skip, skip + self.below(x).index_select(0, level.parent)


class PointTransformerV3(Backbone):
    """U-Net of attention blocks; block i of a stage follows curve i of that stage.

    Two forms share all weights (`ptv3_form`, which may be set at any time):

    - ``v3m1``: Pointcept's PT-v3m1, the network of its nuScenes configuration, to which the paper
      points. The first block of a decoder stage takes its position from the projected skip alone:
      its convolution does not see the features from below. Curves have as many bits as the largest
      scene of the batch needs, so that along a Hilbert curve a scene's patches, and its features,
      may depend on the scenes beside it. The four curves come in a random order at every stage, in
      evaluation too: there in one order for all batches, drawn without a key.
    - ``refreshed``: that convolution sees the sum (as in Pointcept's later v3m2 and v3m3), curves
      have 16 bits, and their order is random only where draws are given (training), that of
      `ORDERS` otherwise. A scene's features depend on nothing but the scene.
    """

    peak_lr = 2e-3
    finetuning_loss = "ce+lovasz"
    ptv3_form: PTv3Form | None = "v3m1"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.patch = architecture.patch
        self.halvings = len(architecture.encoder) - 1
        width = architecture.encoder[0][0]
        self.stem_conv = SubmanifoldConv(IN_CHANNELS, width, 5, "stem")
        self.stem = nn.Sequential(*_activate(width))
        self.down, self.encoder, self.up, self.decoder = (nn.ModuleList() for _ in range(4))
        rates = iter(
            torch.linspace(
                0, architecture.drop_path, sum(depth for _, depth, _ in architecture.encoder)
            ).tolist()
        )
        for number, (channels, depth, heads) in enumerate(architecture.encoder):
            if number:
                self.down.append(_Down(width, channels))
            self.encoder.append(
                _blocks(f"encoder {number}", channels, heads, [next(rates) for _ in range(depth)])
            )
            width = channels
        rates = iter(
            torch.linspace(
                architecture.drop_path, 0, sum(depth for _, depth, _ in architecture.decoder)
            ).tolist()
        )
        skips = [channels for channels, _, _ in architecture.encoder[-2::-1]]
        for number, (skip, (channels, depth, heads)) in enumerate(
            zip(skips, architecture.decoder, strict=True)
        ):
            self.up.append(_Up(width, skip, channels))
            self.decoder.append(
                _blocks(f"decoder {number}", channels, heads, [next(rates) for _ in range(depth)])
            )
            width = channels
        self.stage_channels = tuple(channels for channels, _, _ in architecture.decoder)
        self.out_channels = width

    def block_parameters(self) -> list[nn.Parameter]:
        """Those of the attention blocks, as Pointcept trains them: 2e-4 of 2e-3."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def stages(
        self, features: Tensor, voxels: Voxels, draws: Draws | None = None
    ) -> Iterator[Stage]:
        """Of (V, IN_CHANNELS), see `Backbone`."""
        assert self.patch is not None
        v3m1 = self.ptv3_form == "v3m1"
        bits = bits_needed(voxels.shape) if v3m1 else DEPTH
        sizes = levels(voxels, len(self.encoder), self.patch, bits)
        curves = [_curves(number, draws, shuffled=v3m1) for number in range(len(sizes))]
        x = self.stem(self.stem_conv(sizes[0].sparse.replace_feature(features)).features)
        skips = []
        for number, blocks in enumerate(self.encoder):
            if number:
                x = self.down[number - 1](x, sizes[number - 1])
            x = self._run(blocks, x, sizes[number], curves[number], draws)
            skips.append(x)
        skips.pop()
        for up, blocks in zip(self.up, self.decoder, strict=True):
            number = len(skips) - 1
            skip, x = up(x, skips.pop(), sizes[number])
            placed = skip if v3m1 else None
            x = self._run(blocks, x, sizes[number], curves[number], draws, placed)
            yield Stage(x, sizes[number].sparse.indices, number)

    def _run(
        self,
        blocks: nn.Module,
        x: Tensor,
        level: Level,
        curves: list[int],
        draws: Draws | None,
        placed: Tensor | None = None,
    ) -> Tensor:
        """The blocks of a stage; the first takes its position from `placed`, if given."""
        assert isinstance(blocks, nn.ModuleList)
        for number, block in enumerate(blocks):
            curve = curves[number % len(curves)]
            run = partial(block, level=level, curve=curve, draws=draws, placed=placed)
            placed = None
            x = recompute(block, run, x) if self.recomputes else run(x)
        return x


def _blocks(stage: str, channels: int, heads: int, drop_path: list[float]) -> nn.ModuleList:
    return nn.ModuleList(
        _Block(f"{stage} {number}", channels, heads, rate) for number, rate in enumerate(drop_path)
    )


def _curves(stage: int, draws: Draws | None, shuffled: bool) -> list[int]:
    """Numbers in `ORDERS` in the order of a stage; without draws random only if `shuffled`."""
    purpose = f"curves {stage}"
    if draws is not None:
        generator = draws.generator(purpose)
    elif shuffled:
        generator = torch.Generator().manual_seed(key(purpose))
    else:
        return list(range(len(ORDERS)))
    return torch.randperm(len(ORDERS), generator=generator).tolist()


def build(name: str) -> PointTransformerV3:
    """The network of that name in `ARCHITECTURES`."""
    return PointTransformerV3(ARCHITECTURES[name])
