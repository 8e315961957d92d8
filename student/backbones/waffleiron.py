"""WaffleIron (Puy et al. 2023) as in ScaLR (Puy et al. 2024): layers of two-dimensional
convolutions on planes and of perceptrons over channels. Plain torch: no sparse convolution.

Differences from the public network, none of which changes a result for voxels within its field of
view: clouds are not padded to one length; voxels beyond the planes (128 x 128 m and 16 m high
around the sensor) take part in the nearest cell of the border instead of being cropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..draws import Draws
from ..groups import Groups
from ..sampling.neighbours import nearest_voxels
from ..voxelize import Voxels
from .base import IN_CHANNELS, Backbone, Stage
from .planes import Plane
from .recompute import recompute

EDGE = 0.5
"""Metres of a cell."""
PLANES = (
    Plane((0, 1), (-64, -64), (256, 256)),
    Plane((0, 2), (-64, -8), (256, 32)),
    Plane((1, 2), (-64, -8), (256, 32)),
)
"""Layer d works on plane d mod 3: from above, from the side, from the front."""
NEIGHBOURS = 16
"""Voxels around each that its embedding looks at."""
Activation = Literal["relu", "gelu"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a WaffleIron.

    Attributes:
        depth: layers, each a spatial and a channel mix.
        channels: features a voxel.
        activation: relu in ScaLR, gelu in ScaLR+.
        drop_path: probability that a training scene leaves a mix out: 0 in ScaLR's pre-training.
        stages: parts of equally many layers, whose outputs can be taught apart.
    """

    depth: int
    channels: int
    activation: Activation = "relu"
    drop_path: float = 0.0
    stages: int = 1


ARCHITECTURES = {
    "waffleiron-48-768": Architecture(48, 768, stages=4),
    "waffleiron-48-768-plus": Architecture(48, 768, "gelu", 0.2, stages=4),
    "waffleiron-48-256": Architecture(48, 256, stages=4),
    "waffleiron-tiny": Architecture(9, 64, stages=3),
}
"""By name: ScaLR's (59,435,540 parameters), ScaLR+'s, a narrow one, and one for two cores."""


class _Embedding(nn.Module):
    """What a voxel is by itself and how it lies among its neighbours.

    The inputs are intensity, x, y, z and the distance from the sensor, normalised by one batch
    norm; neighbours enter by their difference, and the largest answer of them counts.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = IN_CHANNELS + 1
        self.norm = nn.BatchNorm1d(inputs)
        self.point = nn.Linear(inputs, channels)
        self.difference_norm = nn.BatchNorm1d(inputs)
        self.difference = nn.Linear(inputs, channels, bias=False)
        self.neighbour_norm = nn.BatchNorm1d(channels)
        self.neighbour = nn.Linear(channels, channels, bias=False)
        self.merge = nn.Linear(2 * channels, channels)

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """(V, C) of features (V, IN_CHANNELS) and neighbours (V, K) int64."""
        xyz, intensity = features[:, :3], features[:, 3:]
        radius = torch.linalg.vector_norm(xyz, dim=1, keepdim=True)
        x = self.norm(torch.cat([intensity, xyz, radius], 1))
        others = x.index_select(0, neighbours.flatten()).unflatten(0, neighbours.shape)
        difference = (others - x[:, None]).flatten(0, 1)
        answer = self.difference(self.difference_norm(difference))
        answer = self.neighbour(self.neighbour_norm(answer).relu())
        largest = answer.unflatten(0, neighbours.shape).amax(1)
        return self.merge(torch.cat([self.point(x), largest], 1))


class _Mix(nn.Module):
    """A residual branch with a norm before and a scale a channel behind it.

    The scale begins as torch begins a depthwise 1 x 1 convolution: uniform in [-1, 1].
    """

    def __init__(self, name: str, channels: int, drop_path: float) -> None:
        super().__init__()
        self.name, self.drop_path = name, drop_path
        self.norm = nn.LayerNorm(channels)
        self.scale = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def residual(self, x: Tensor, branch: Tensor, scene: Tensor, draws: Draws | None) -> Tensor:
        branch = branch * self.scale
        if self.training and draws is not None and self.drop_path:
            draw = draws.for_scenes(f"drop {self.name}", 1) >= self.drop_path
            weight = (draw / (1 - self.drop_path)).to(x.device, x.dtype, non_blocking=True)
            branch = branch * weight.index_select(0, scene)
        return x + branch


class _SpatialMix(_Mix):
    """Mean features of the cells of a plane, two depthwise 3 x 3 convolutions, back to voxels."""

    def __init__(self, name: str, size: Architecture, plane: Plane) -> None:
        super().__init__(name, size.channels, size.drop_path)
        self.plane = plane
        self.convolutions = nn.Sequential(
            nn.Conv2d(size.channels, size.channels, 3, padding=1, groups=size.channels),
            _activation(size.activation),
            nn.Conv2d(size.channels, size.channels, 3, padding=1, groups=size.channels),
        )

    def forward(self, x: Tensor, cells: Groups, scene: Tensor, draws: Draws | None) -> Tensor:
        # (cells of all scenes, C) to (scenes, C, height, width), channels last in memory
        grid = cells.means(self.norm(x)).unflatten(0, (-1, *self.plane.shape)).permute(0, 3, 1, 2)
        grid = self.convolutions(grid).permute(0, 2, 3, 1).flatten(0, 2)
        return self.residual(x, cells.spread(grid), scene, draws)


class _ChannelMix(_Mix):
    """A perceptron of one hidden layer over the channels of each voxel."""

    def __init__(self, name: str, size: Architecture) -> None:
        super().__init__(name, size.channels, size.drop_path)
        self.perceptron = nn.Sequential(
            nn.Linear(size.channels, size.channels),
            _activation(size.activation),
            nn.Linear(size.channels, size.channels),
        )

    def forward(self, x: Tensor, scene: Tensor, draws: Draws | None) -> Tensor:
        return self.residual(x, self.perceptron(self.norm(x)), scene, draws)


class WaffleIron(Backbone):
    """An embedding of each voxel among its 16 nearest, then layers of a spatial and a channel mix.

    Coordinates are metres in the LiDAR frame: the planes lie around the sensor. ScaLR's voxels are
    0.1 m wide.
    """

    halvings = 0
    peak_lr = 2e-3
    finetuning_loss = "ce+lovasz"

    def __init__(self, size: Architecture) -> None:
        super().__init__()
        self.out_channels = size.channels
        self.stage_channels = (size.channels,) * size.stages
        self.embedding = _Embedding(size.channels)
        self.spatial = nn.ModuleList(
            _SpatialMix(f"spatial {number}", size, PLANES[number % len(PLANES)])
            for number in range(size.depth)
        )
        self.channel = nn.ModuleList(
            _ChannelMix(f"channel {number}", size) for number in range(size.depth)
        )

    def stages(
        self, features: Tensor, voxels: Voxels, draws: Draws | None = None
    ) -> Iterator[Stage]:
        """See `Backbone`. It has no decoder: its stages are equal parts of its layers, all as fine,
        and each works on every plane equally often."""
        layers = len(self.spatial) // len(self.stage_channels)
        scene, xyz = voxels.coords[:, 0].long(), features[:, :3]
        neighbours = nearest_voxels(xyz.detach(), scene, voxels.scenes, NEIGHBOURS)
        planes = [_cells(plane, xyz, scene, voxels.scenes) for plane in PLANES]
        x = self.embedding(features, neighbours)
        for number, (spatial, channel) in enumerate(zip(self.spatial, self.channel, strict=True)):
            cells = planes[number % len(planes)]

            def layer(x: Tensor, spatial=spatial, channel=channel, cells=cells) -> Tensor:
                return channel(spatial(x, cells, scene, draws), scene, draws)

            x = recompute(spatial, layer, x) if self.recomputes else layer(x)
            if (number + 1) % layers == 0:
                yield Stage(x, voxels.coords, 0)


def _cells(plane: Plane, xyz: Tensor, scene: Tensor, scenes: int) -> Groups:
    size = plane.shape[0] * plane.shape[1]
    return Groups.of(scene * size + plane.cells(xyz, EDGE), scenes * size)


def _activation(name: Activation) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.GELU()


def build(name: str) -> WaffleIron:
    """A WaffleIron by its name in `ARCHITECTURES`."""
    return WaffleIron(ARCHITECTURES[name])
