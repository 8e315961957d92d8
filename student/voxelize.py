"""Points to voxels and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CleverError
from .points import PointBatch

MAX_EXTENT = 2**16
"""Most voxels a scene may span along an axis: 3.3 km at 0.05 m; also the depth of serialised codes (16 bits)."""


@dataclass(frozen=True, slots=True)
class Voxels:
    """The occupied voxels of a batch.

    Attributes:
        coords: (V, 4) int32: scene, x, y, z; sorted, unique, and counted in each scene from its own lowest voxel, so
            that a scene's voxels depend neither on the rest of the batch nor on a shift by whole voxels.
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


def voxelize(points: PointBatch, size: float, generator: torch.Generator | None = None) -> Voxels:
    """Group points into cubes of `size` metres, on the points' own device.

    A point lies in voxel floor(xyz / size), divided in float64 (float32 puts points near a face on the wrong side).
    A voxel is represented by a point drawn uniformly among its own where a generator is given (training), by its
    first in the order of the batch otherwise.

    Raises:
        CleverError: a point is not finite, or a scene spans more than `MAX_EXTENT` voxels along an axis.
    """
    cells = torch.floor(points.xyz.double() / size)
    lowest = cells.new_full((points.size, 3), torch.inf)
    highest = cells.new_full((points.size, 3), -torch.inf)
    scene = points.scene[:, None].expand(-1, 3)
    lowest.scatter_reduce_(0, scene, cells, "amin")
    highest.scatter_reduce_(0, scene, cells, "amax")
    shape = _shape(highest - lowest, size)
    x, y, z = (cells - lowest[points.scene]).long().unbind(1)
    code = ((points.scene * shape[0] + x) * shape[1] + y) * shape[2] + z
    unique, inverse = torch.unique(code, return_inverse=True)
    return Voxels(
        _decode(unique, shape), shape, points.size, inverse, _representatives(inverse, len(unique), generator)
    )


def _shape(span: Tensor, size: float) -> tuple[int, int, int]:
    """Grid that holds scenes of `span` (S, 3) voxels: -inf for a scene without points, NaN for points without place."""
    widest = torch.where(span.isnan(), torch.inf, span).amax(1).tolist()
    for scene, extent in enumerate(widest):
        if extent == torch.inf:
            raise CleverError(f"scene {scene} of the batch has points that are not finite; remove them from the cloud")
        if extent >= MAX_EXTENT:
            raise CleverError(
                f"scene {scene} of the batch spans {extent * size:.0f} m, more than {MAX_EXTENT} voxels of {size} m; "
                "remove its farthest points or use larger voxels"
            )
    x, y, z = span.amax(0).clamp(min=0).long().add(1).tolist() if len(span) else (1, 1, 1)
    return x, y, z


def _decode(code: Tensor, shape: tuple[int, int, int]) -> Tensor:
    columns = []
    for extent in reversed(shape):
        columns.append(code % extent)
        code = code // extent
    return torch.stack([code, *reversed(columns)], 1).int()


def _representatives(inverse: Tensor, voxels: int, generator: torch.Generator | None) -> Tensor:
    count = len(inverse)
    if generator is None:
        priority = torch.arange(count, device=inverse.device)
        point_of = priority
    else:
        point_of = torch.randperm(count, generator=generator, device=generator.device).to(inverse.device)
        priority = torch.empty_like(point_of)
        priority[point_of] = torch.arange(count, device=inverse.device)
    first = inverse.new_full((voxels,), count).scatter_reduce_(0, inverse, priority, "amin")
    return point_of[first]
