"""Points to voxels and back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CleverError
from .draws import Draws
from .points import PointBatch

MAX_EXTENT = 2**16
"""Most voxels a scene may span along an axis: 3.3 km at 0.05 m; also the depth of serialised codes
(16 bits)."""


@dataclass(frozen=True, slots=True)
class Voxels:
    """The occupied voxels of a batch.

    Attributes:
        coords: (V, 4) int32: scene, x, y, z; sorted, unique, and counted in each scene from its own
            lowest voxel, so that a scene's voxels depend neither on the rest of the batch nor on a
            shift by whole voxels.
        shape: voxels along x, y and z that hold every scene.
        scenes: number of scenes; a scene may have no voxels.
        inverse: (N,) int64, the voxel of every point.
        representative: (V,) int64, the point that stands for every voxel.
    """

    coords: Tensor
    shape: tuple[int, int, int]
    scenes: int
    inverse: Tensor
    representative: Tensor


def voxelize(points: PointBatch, size: float, draws: Draws | None = None) -> Voxels:
    """Group points into cubes of `size` metres, on the points' own device.

    A point lies in voxel floor(xyz / size), divided in float64 (float32 puts points near a face on
    the wrong side). A voxel is represented by a point drawn uniformly among its own where `draws`
    are given (training), by its first in the order of the batch otherwise. The host waits for the
    device twice: for the scenes' extents and for the number of voxels.

    Raises:
        CleverError: a point is not finite, or a scene spans more than `MAX_EXTENT` voxels along an
            axis.
    """
    cells = torch.floor(points.xyz.double() / size)
    lowest = cells.new_full((points.size, 3), torch.inf)
    highest = cells.new_full((points.size, 3), -torch.inf)
    scene = points.scene[:, None].expand(-1, 3)
    lowest.scatter_reduce_(0, scene, cells, "amin")
    highest.scatter_reduce_(0, scene, cells, "amax")
    shape = _shape((highest - lowest).tolist(), size)
    x, y, z = (cells - lowest.index_select(0, points.scene)).long().unbind(1)
    code = ((points.scene * shape[0] + x) * shape[1] + y) * shape[2] + z
    unique, inverse = torch.unique(code, return_inverse=True)
    return Voxels(
        _decode(unique, shape),
        shape,
        points.size,
        inverse,
        _representatives(inverse, len(unique), draws),
    )


def _shape(spans: list[list[float]], size: float) -> tuple[int, int, int]:
    """Grid that holds scenes of `spans` voxels along each axis.

    A scene without points spans -inf voxels, one with points that are not finite inf or NaN.
    """
    for scene, span in enumerate(spans):
        if not all(extent < math.inf for extent in span):
            raise CleverError(
                f"scene {scene} of the batch has points that are not finite; remove them from the "
                "cloud"
            )
        if max(span) >= MAX_EXTENT:
            raise CleverError(
                f"scene {scene} of the batch spans {max(span) * size:.0f} m, more than "
                f"{MAX_EXTENT} voxels of {size} m;"
                " remove its farthest points or use larger voxels"
            )
    x, y, z = (int(max(extents)) + 1 for extents in zip([0.0] * 3, *spans, strict=True))
    return x, y, z


def _decode(code: Tensor, shape: tuple[int, int, int]) -> Tensor:
    columns = []
    for extent in reversed(shape):
        columns.append(code % extent)
        code = code // extent
    return torch.stack([code, *reversed(columns)], 1).int()


def _representatives(inverse: Tensor, voxels: int, draws: Draws | None) -> Tensor:
    """(voxels,) int64: of every voxel the point that comes first, in the order of the batch or in a
    random one."""
    place = torch.arange(len(inverse), device=inverse.device)
    order = place if draws is None else draws.order("voxel")
    lowest_place = inverse.new_full((voxels,), len(inverse))
    return order[lowest_place.scatter_reduce_(0, inverse[order], place, "amin")]
