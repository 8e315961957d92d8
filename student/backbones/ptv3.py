"""PointTransformer V3: attention within patches of voxels serialised along space-filling curves (Wu
et al. 2024)."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import CleverError
from ..draws import Draws
from ..voxelize import Voxels
from .base import IN_CHANNELS, Backbone
from .curves import DEPTH, ORDERS, encode
from .recompute import recompute
from .sparse import SparseTensor, SubmanifoldConv, sparse_tensor


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


@dataclass(slots=True)
class _Level:
    """Voxels of one size, and which of them attend to each other along every curve.

    A scene of n voxels is cut into ceil(n / patch) patches of consecutive voxels. The last patch
    reaches back to be whole, as in Pointcept: its voxels see the last `patch` voxels of the scene,
    of which those before them keep the result of their own patch. A scene smaller than a patch is
    one short patch, whose empty places are masked.

    Attributes:
        sparse: coordinates for convolution; its features are placeholders, its index pairs are
            computed once a batch.
        members: (orders, P, patch) int64, the voxel at every place of every patch.
        place: (orders, V) int64, the place in the flattened patches where a voxel's result stands.
        mask: (P, 1, 1, patch) bool, False at empty places; None where there are none.
        parent: (V,) int64, the voxel of twice the size that holds each; None at the coarsest level.
        by_parent: (V,) int64, voxels sorted by parent.
        children: (parents,) int64, voxels in each parent.
    """

    sparse: SparseTensor
    members: Tensor
    place: Tensor
    mask: Tensor | None
    parent: Tensor | None = None
    by_parent: Tensor | None = None
    children: Tensor | None = None


def _levels(voxels: Voxels, count: int, patch: int) -> list[_Level]:
    """`count` levels, each of twice the voxel size of the one before.

    The host waits for the device once, for the number of voxels of every scene at every level.

    Raises:
        CleverError: more voxels along an axis than a code can tell apart.
    """
    if max(voxels.shape) > 2**DEPTH:
        raise CleverError(
            f"the batch spans {max(voxels.shape)} voxels; serialised codes reach {2**DEPTH}; use "
            "larger voxels"
        )
    coords, shape = voxels.coords, voxels.shape
    codes = torch.stack([encode(coords, order) for order in ORDERS])
    counts = _voxels_per_scene(codes[0], voxels.scenes, count).tolist()
    levels = []
    for number in range(count):
        order = torch.argsort(codes, dim=1)
        level = _Level(
            sparse_tensor(coords.float(), coords, shape, voxels.scenes, 0),
            *_patches(order, counts[number], patch),
        )
        levels.append(level)
        if number == count - 1:
            break
        heads = _pool(level, codes[0], order[0], sum(counts[number + 1]))
        codes = codes.index_select(1, heads) >> 3
        coords = coords.index_select(0, heads)
        coords = torch.cat([coords[:, :1], coords[:, 1:] >> 1], 1)
        shape = (-(-shape[0] // 2), -(-shape[1] // 2), -(-shape[2] // 2))
    return levels


def _voxels_per_scene(code: Tensor, scenes: int, levels: int) -> Tensor:
    """(levels, scenes) int64 from the codes (V,) of the finest level: a voxel is a code with 3 bits
    a level cut off."""
    code = code.sort().values
    cut = code >> 3 * torch.arange(levels, device=code.device)[:, None]
    begins = torch.ones_like(cut)
    begins[:, 1:] = cut.diff(dim=1) != 0
    return begins.new_zeros(levels, scenes).index_add_(1, code >> 3 * DEPTH, begins)


def _pool(level: _Level, code: Tensor, order: Tensor, parents: int) -> Tensor:
    """Set parents from the voxels' z codes (V,) and the order (V,) of these; one child (parents,)
    of each."""
    line = code.index_select(0, order) >> 3
    begins = torch.zeros_like(line)
    begins[1:] = line.diff() != 0
    number = begins.cumsum(0)
    first = torch.searchsorted(number, torch.arange(parents + 1, device=line.device))
    level.parent = torch.empty_like(order).scatter_(0, order, number)
    level.by_parent, level.children = order, first.diff()
    return order.index_select(0, first[:-1])


def _patches(order: Tensor, counts: list[int], patch: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Members, places and mask (see `_Level`) of voxels in serialised `order` (orders, V), `counts`
    in each scene."""
    patch = min(patch, max(counts))
    size = torch.tensor(counts, dtype=torch.int64)
    patches = -(-size // patch)
    # For every scene: its voxels, its first voxel, its first patch, where its last patch starts.
    table = torch.stack(
        [
            size,
            size.cumsum(0) - size,
            patches.cumsum(0) - patches,
            (size - patch).clamp(min=0),
            patches,
        ]
    )
    table = table.to(order.device, non_blocking=True)
    number_of_patches = sum(-(-count // patch) for count in counts)
    size, first, before, last, _ = _repeat(table, table[4], number_of_patches)
    number = torch.arange(number_of_patches, device=order.device) - before
    rank = torch.minimum(number * patch, last)[:, None] + torch.arange(patch, device=order.device)
    filled = rank < size[:, None]
    members = order[:, first[:, None] + torch.where(filled, rank, 0)]

    _, first, before, last, _ = _repeat(table, table[0], order.shape[1])
    rank = torch.arange(order.shape[1], device=order.device) - first
    number = rank // patch
    own = (before + number) * patch + rank - torch.minimum(number * patch, last)
    place = torch.empty_like(order).scatter_(1, order, own.expand_as(order))
    short = any(0 < count < patch for count in counts)
    return members, place, filled[:, None, None, :] if short else None


def _repeat(table: Tensor, counts: Tensor, total: int) -> Tensor:
    """Column i of the table (rows, S) `counts[i]` times, `total` in all."""
    return table.repeat_interleave(counts, dim=1, output_size=total)


class _Block(nn.Module):
    """Conditional positional encoding, attention within patches, and an MLP, each added to its
    input.

    `name` tells the random numbers of blocks apart.
    """

    def __init__(self, name: str, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.name = name
        self.heads = heads
        self.drop_path = drop_path
        self.position_conv = SubmanifoldConv(channels, channels, 3, "blocks", bias=True)
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

    def forward(self, x: Tensor, level: _Level, curve: int, draws: Draws | None) -> Tensor:
        position = self.position_conv(level.sparse.replace_feature(x))
        x = x + self.position(position.features)
        x = x + self._drop(
            self._attention(self.attention_norm(x), level, curve), "attention", draws
        )
        return x + self._drop(self.mlp(x), "mlp", draws)

    def _attention(self, x: Tensor, level: _Level, curve: int) -> Tensor:
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

    def forward(self, x: Tensor, level: _Level) -> Tensor:
        assert level.by_parent is not None
        x = self.projection(x).index_select(0, level.by_parent)
        return self.activate(
            torch.segment_reduce(x, "max", lengths=level.children, axis=0, unsafe=True)
        )


class _Up(nn.Module):
    """Sum of the projected skip and the projected features of each voxel's parent."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.below = _project(in_channels, channels)
        self.skip = _project(skip_channels, channels)

    def forward(self, x: Tensor, skip: Tensor, level: _Level) -> Tensor:
        assert level.parent is not None
        return self.skip(skip) + self.below(x).index_select(0, level.parent)


class PointTransformerV3(Backbone):
    """U-Net of attention blocks; block i of a stage follows curve i of that stage.

    The four curves come in a random order at every stage where draws are given (training), in the
    order of `ORDERS` otherwise.
    """

    peak_lr = 2e-3

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
        self.out_channels = width

    def block_parameters(self) -> list[nn.Parameter]:
        """Those of the attention blocks, as Pointcept trains them: 2e-4 of 2e-3."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def forward(self, features: Tensor, voxels: Voxels, draws: Draws | None = None) -> Tensor:
        """(V, IN_CHANNELS) to (V, out_channels)."""
        assert self.patch is not None
        levels = _levels(voxels, len(self.encoder), self.patch)
        curves = [_curves(number, draws) for number in range(len(levels))]
        x = self.stem(self.stem_conv(levels[0].sparse.replace_feature(features)).features)
        skips = []
        for number, blocks in enumerate(self.encoder):
            if number:
                x = self.down[number - 1](x, levels[number - 1])
            x = self._run(blocks, x, levels[number], curves[number], draws)
            skips.append(x)
        skips.pop()
        for up, blocks in zip(self.up, self.decoder, strict=True):
            number = len(skips) - 1
            x = up(x, skips.pop(), levels[number])
            x = self._run(blocks, x, levels[number], curves[number], draws)
        return x

    def _run(
        self, blocks: nn.Module, x: Tensor, level: _Level, curves: list[int], draws: Draws | None
    ) -> Tensor:
        assert isinstance(blocks, nn.ModuleList)
        for number, block in enumerate(blocks):
            run = partial(block, level=level, curve=curves[number % len(curves)], draws=draws)
            x = recompute(block, run, x) if self.recomputes else run(x)
        return x


def _blocks(stage: str, channels: int, heads: int, drop_path: list[float]) -> nn.ModuleList:
    return nn.ModuleList(
        _Block(f"{stage} {number}", channels, heads, rate) for number, rate in enumerate(drop_path)
    )


def _curves(stage: int, draws: Draws | None) -> list[int]:
    if draws is None:
        return list(range(len(ORDERS)))
    return torch.randperm(len(ORDERS), generator=draws.generator(f"curves {stage}")).tolist()


def build(name: str) -> PointTransformerV3:
    """The network of that name in `ARCHITECTURES`."""
    return PointTransformerV3(ARCHITECTURES[name])
