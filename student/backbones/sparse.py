"""Sparse 3D convolution: own kernels in plain torch on a CPU, spconv on a GPU, one set of weights
for both."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .kernel_maps import KernelMap, halving_map, submanifold_map
from .sparse_product import sparse_product
from .spconv_layers import Kind, spconv, spconv_layer


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """Features at voxels of a grid.

    Attributes:
        features: (V, C).
        indices: (V, 4) int32, unique: scene, x, y, z.
        spatial_shape: extents of the grid.
        scenes: number of scenes.
        maps: kernel maps by key, shared by everything that is computed from one tensor: each is
            found once.
    """

    features: Tensor
    indices: Tensor
    spatial_shape: list[int]
    scenes: int
    maps: dict[str, Any] = field(default_factory=dict)

    def replace_feature(self, features: Tensor) -> "SparseTensor":
        """Other features at the same voxels."""
        return replace(self, features=features)


def sparse_tensor(
    features: Tensor, coords: Tensor, shape: tuple[int, int, int], scenes: int, steps: int
) -> SparseTensor:
    """Features (V, C) at `coords` (V, 4) int32 (scene, x, y, z), each below `shape`.

    The grid is enlarged to a multiple of 2**steps, so that no voxel falls off it in `steps`
    halvings.
    """
    cell = 2**steps
    return SparseTensor(features, coords, [-(-extent // cell) * cell for extent in shape], scenes)


class _SparseConv(nn.Module):
    """What all sparse convolutions are: weight (out, x, y, z, in), Kaiming-uniform as spconv's, and
    a shift of every output channel or none.

    Attributes:
        key: layers with one key share a kernel map.
        by_spconv: None takes spconv for voxels on a GPU and nowhere else.
    """

    kind: Kind
    by_spconv: bool | None = None

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, key: str, bias: bool = False
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel = in_channels, out_channels, kernel
        self.key = key
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel] * 3, in_channels))
        bound = 1 / math.sqrt(in_channels * kernel**3)
        nn.init.uniform_(self.weight, -bound, bound)
        # Not spconv's own bias: on the CPU it refuses one in evaluation.
        self.shift = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._layer: list[Any] = []  # spconv's, in a list lest its parameters count as ours

    def forward(self, x: SparseTensor) -> SparseTensor:
        cuda = x.features.device.type == "cuda"
        out = self._by_spconv(x) if self.by_spconv or cuda else self._by_torch(x)
        return out if self.shift is None else out.replace_feature(out.features + self.shift)

    def _map(self, x: SparseTensor) -> KernelMap:
        raise NotImplementedError

    def _by_torch(self, x: SparseTensor) -> SparseTensor:
        """Under autocast in bfloat16; otherwise in the precision of the weights."""
        dtype = self.weight.dtype
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            dtype = torch.bfloat16
        pairs = self._map(x)
        with torch.autocast("cpu", enabled=False):
            features = sparse_product(x.features.to(dtype), self.weight.to(dtype), pairs)
        return SparseTensor(features, pairs.indices, pairs.spatial_shape, x.scenes, x.maps)

    def _by_spconv(self, x: SparseTensor) -> SparseTensor:
        """Float16 autocast holds in training on a GPU; everything else runs in the precision of the
        weights.

        spconv knows no bfloat16, and under autocast it casts to float16 in training but not in
        evaluation.
        """
        device = x.features.device.type
        half = (
            self.training
            and device == "cuda"
            and torch.is_autocast_enabled(device)
            and torch.get_autocast_dtype(device) == torch.float16
        )
        if not self._layer:
            self._layer.append(self._new_layer())
        layer = self._layer[0].train(self.training)
        layer.weight = self.weight
        if device == "cpu":
            layer.algo = type(layer.algo).Native  # the only one that spconv has there
        with torch.autocast(device, enabled=half):
            features = x.features if half else x.features.to(self.weight.dtype)
            out = layer(
                spconv().SparseConvTensor(
                    features, x.indices, x.spatial_shape, x.scenes, indice_dict=x.maps
                )
            )
        x.maps.update(out.indice_dict)
        return SparseTensor(out.features, out.indices, out.spatial_shape, x.scenes, x.maps)

    def _new_layer(self, **options: int) -> Any:
        return spconv_layer(
            self.kind, self.in_channels, self.out_channels, self.kernel, self.key, **options
        )


class SubmanifoldConv(_SparseConv):
    """Convolution of odd `kernel` above 1 whose output voxels are its input voxels; layers with one
    `key` share indices.

    For a kernel of 1 take nn.Linear: spconv reads those weights as (in, out) though it stores (out,
    in).
    """

    kind = "SubMConv3d"

    def _map(self, x: SparseTensor) -> KernelMap:
        if self.key not in x.maps:
            x.maps[self.key] = submanifold_map(x.indices, x.spatial_shape, x.scenes, self.kernel)
        return x.maps[self.key]


class DownConv(_SparseConv):
    """Convolution with kernel = stride = `kernel`; `key` names the step for the `UpConv` that
    undoes it."""

    kind = "SparseConv3d"

    def _map(self, x: SparseTensor) -> KernelMap:
        if self.key not in x.maps:
            halving = halving_map(x.indices, x.spatial_shape, x.scenes, self.kernel)
            x.maps[self.key] = halving, halving.transposed(x.indices, x.spatial_shape)
        return x.maps[self.key][0]

    def _new_layer(self, **options: int) -> Any:
        return super()._new_layer(stride=self.kernel, **options)


class UpConv(_SparseConv):
    """Transposed convolution onto exactly the voxels that the `DownConv` of the same `key` started
    from."""

    kind = "SparseInverseConv3d"

    def _map(self, x: SparseTensor) -> KernelMap:
        return x.maps[self.key][1]
