"""PointTransformer V3: attention within patches of voxels serialised along space-filling curves (Wu et al. 2024)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CleverError
from .backbone import IN_CHANNELS, Backbone
from .serialize import DEPTH, ORDERS, encode
from .sparse import SparseTensor, SubmanifoldConv, sparse_tensor
from .voxelize import Voxels


@dataclass(frozen=True, slots=True)
class Layout:
    """(channels, blocks, attention heads) of every stage, finest first on the way down, last on the way up.

    The decoder has one stage less than the encoder; the last one's channels are the network's output.

    Attributes:
        patch: voxels that attend to each other.
        drop_path: probability of dropping a residual branch at the deepest block; it grows linearly from zero.
    """

    encoder: tuple[tuple[int, int, int], ...]
    decoder: tuple[tuple[int, int, int], ...]
    patch: int = 1024
    drop_path: float = 0.3


_ENCODER = ((32, 2, 2), (64, 2, 4), (128, 2, 8), (256, 6, 16), (512, 2, 32))
LAYOUTS = {
    "ptv3": Layout(_ENCODER, ((256, 2, 16), (128, 2, 8), (64, 2, 4), (64, 2, 4))),
    "ptv3-256": Layout(_ENCODER, ((256, 2, 16), (256, 2, 8), (256, 2, 4), (256, 2, 4))),
    "ptv3-tiny": Layout(
        ((16, 1, 1), (32, 1, 2), (64, 1, 4), (96, 1, 6)), ((64, 1, 4), (32, 1, 2), (64, 1, 4)), 128, 0.1
    ),
}


@dataclass(slots=True)
class _Level:
    """Voxels of one size, and which of them attend to each other along every curve.

    A scene of n voxels is cut into ceil(n / patch) patches of consecutive voxels. The last patch reaches back to be
    whole, as in Pointcept: its voxels see the last `patch` voxels of the scene, of which those before them keep the
    result of their own patch. A scene smaller than a patch is one short patch, whose empty places are masked.

    Attributes:
        sparse: coordinates for convolution; it gathers the index pairs that they share.
        members: (orders, P, patch) int64, the voxel at every place of every patch.
        place: (orders, V) int64, the place in the flattened patches where a voxel's result stands.
        mask: (P, 1, 1, patch) bool, False at empty places; None where there are none.
        parent: (V,) int64, the voxel of twice the size that holds each; None at the coarsest level.
        by_parent: (V,) int64, voxels sorted by parent.
        children: voxels in each parent.
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

    Raises:
        CleverError: more voxels along an axis than a code can tell apart.
    """
    if max(voxels.shape) > 2**DEPTH:
        raise CleverError(
            f"the batch spans {max(voxels.shape)} voxels; serialised codes reach {2**DEPTH}; use larger voxels"
        )
    coords, shape = voxels.coords, voxels.shape
    codes = torch.stack([encode(coords, order) for order in ORDERS])
    levels = []
    for number in range(count):
        order = torch.argsort(codes, dim=1)
        members, place, mask = _patches(order, torch.bincount(coords[:, 0], minlength=voxels.scenes), patch)
        level = _Level(sparse_tensor(coords.float(), coords, shape, voxels.scenes, 0), members, place, mask)
        levels.append(level)
        if number == count - 1:
            break
        _, level.parent, children = torch.unique(codes[0] >> 3, return_inverse=True, return_counts=True)
        level.by_parent, level.children = order[0], children
        heads = order[0][children.cumsum(0) - children]
        codes = codes[:, heads] >> 3
        coords = torch.cat([coords[heads, :1], coords[heads, 1:] >> 1], 1).contiguous()
        shape = (-(-shape[0] // 2), -(-shape[1] // 2), -(-shape[2] // 2))
    return levels


def _patches(order: Tensor, counts: Tensor, patch: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Members, places and mask (see `_Level`) of voxels in serialised `order` (orders, V), scene after scene."""
    patch = min(patch, int(counts.max()))
    first = counts.cumsum(0) - counts
    patches = -(-counts // patch)
    scene = torch.repeat_interleave(torch.arange(len(counts), device=order.device), patches)
    number = torch.arange(len(scene), device=order.device) - (patches.cumsum(0) - patches)[scene]
    start = first[scene] + torch.minimum(number * patch, (counts[scene] - patch).clamp(min=0))
    slot = torch.arange(patch, device=order.device)
    filled = slot < counts[scene, None]
    rank = torch.where(filled, start[:, None] + slot, first[scene, None])
    own = torch.zeros_like(order[0])
    # Patches overlap only backwards: later ones must not take over what an earlier one owns.
    owned = filled & (start[:, None] + slot >= (first[scene] + number * patch)[:, None])
    flat = torch.arange(rank.numel(), device=order.device).view_as(rank)
    own[rank[owned]] = flat[owned]
    place = torch.empty_like(order).scatter_(1, order, own.expand_as(order))
    return order[:, rank], place, None if bool(filled.all()) else filled[:, None, None, :]


class _Block(nn.Module):
    """Conditional positional encoding, attention within patches, and an MLP, each added to its input."""

    def __init__(self, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.position_conv = SubmanifoldConv(channels, channels, 3, "blocks", bias=True)
        self.position = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.attention_norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor, level: _Level, curve: int, generator: torch.Generator | None) -> Tensor:
        level.sparse = self.position_conv(level.sparse.replace_feature(x))
        x = x + self.position(level.sparse.features)
        x = x + self._drop(self._attention(self.attention_norm(x), level, curve), generator)
        return x + self._drop(self.mlp(x), generator)

    def _attention(self, x: Tensor, level: _Level, curve: int) -> Tensor:
        members = level.members[curve]
        qkv = self.qkv(x).index_select(0, members.flatten())
        query, key, value = qkv.view(*members.shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=level.mask)
        return self.projection(out.transpose(1, 2).reshape(-1, x.shape[1]).index_select(0, level.place[curve]))

    def _drop(self, branch: Tensor, generator: torch.Generator | None) -> Tensor:
        """Drop the branch at random voxels (not whole scenes), as Pointcept does."""
        if not self.training or generator is None or not self.drop_path:
            return branch
        draw = torch.rand(len(branch), 1, generator=generator, device=generator.device).to(branch.device)
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
        return self.activate(torch.segment_reduce(x, "max", lengths=level.children, axis=0, unsafe=True))


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

    The four curves come in a random order at every stage where a generator is given (training), in the order of
    `ORDERS` otherwise.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.patch = layout.patch
        self.halvings = len(layout.encoder) - 1
        width = layout.encoder[0][0]
        self.stem_conv = SubmanifoldConv(IN_CHANNELS, width, 5, "stem")
        self.stem = nn.Sequential(*_activate(width))
        self.down, self.encoder, self.up, self.decoder = (nn.ModuleList() for _ in range(4))
        rates = iter(torch.linspace(0, layout.drop_path, sum(depth for _, depth, _ in layout.encoder)).tolist())
        for channels, depth, heads in layout.encoder:
            if len(self.encoder):
                self.down.append(_Down(width, channels))
            self.encoder.append(_blocks(channels, heads, [next(rates) for _ in range(depth)]))
            width = channels
        rates = iter(torch.linspace(layout.drop_path, 0, sum(depth for _, depth, _ in layout.decoder)).tolist())
        for (channels, depth, heads), (skip, _, _) in zip(layout.decoder, layout.encoder[-2::-1], strict=True):
            self.up.append(_Up(width, skip, channels))
            self.decoder.append(_blocks(channels, heads, [next(rates) for _ in range(depth)]))
            width = channels
        self.out_channels = width

    def forward(self, features: Tensor, voxels: Voxels, generator: torch.Generator | None = None) -> Tensor:
        """(V, IN_CHANNELS) to (V, out_channels)."""
        levels = _levels(voxels, len(self.encoder), self.patch)
        curves = [_curves(generator) for _ in levels]
        levels[0].sparse = self.stem_conv(levels[0].sparse.replace_feature(features))
        x = self.stem(levels[0].sparse.features)
        skips = []
        for number, blocks in enumerate(self.encoder):
            if number:
                x = self.down[number - 1](x, levels[number - 1])
            x = _run(blocks, x, levels[number], curves[number], generator)
            skips.append(x)
        skips.pop()
        for up, blocks in zip(self.up, self.decoder, strict=True):
            number = len(skips) - 1
            x = up(x, skips.pop(), levels[number])
            x = _run(blocks, x, levels[number], curves[number], generator)
        return x


def _blocks(channels: int, heads: int, drop_path: list[float]) -> nn.ModuleList:
    return nn.ModuleList(_Block(channels, heads, rate) for rate in drop_path)


def _run(blocks: nn.Module, x: Tensor, level: _Level, curves: list[int], generator: torch.Generator | None) -> Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for number, block in enumerate(blocks):
        x = block(x, level, curves[number % len(curves)], generator)
    return x


def _curves(generator: torch.Generator | None) -> list[int]:
    if generator is None:
        return list(range(len(ORDERS)))
    return torch.randperm(len(ORDERS), generator=generator, device=generator.device).tolist()


def build(name: str) -> PointTransformerV3:
    """The network of that name in `LAYOUTS`."""
    return PointTransformerV3(LAYOUTS[name])
