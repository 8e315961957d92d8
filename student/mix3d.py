"""Mix3D: train on the union of two scenes (Nekrasov et al. 2021; paper section A5.1)."""

from dataclasses import replace

import torch

from .points import PointBatch


def mix3d(points: PointBatch, generator: torch.Generator, p: float = 0.8) -> PointBatch:
    """Merge scenes 0 and 1, 2 and 3, ... of the batch, each pair with probability `p`; an odd last one stays alone.

    Both clouds keep their place, sensor on sensor. Points keep their order, so that indices into the batch (pairs,
    labels, query sources) stay valid; only `scene` and `size` change. Mix before voxelising, after augmentation, so
    that each scene has its own; what belongs to one scene (camera views, occupancy queries) is made before.
    """
    pairs = points.size // 2
    merged = torch.rand(pairs, generator=generator, device=generator.device) < p
    starts = torch.ones(points.size, dtype=torch.bool, device=generator.device)
    starts[1 : 2 * pairs : 2] = ~merged
    scene = (starts.cumsum(0) - 1).to(points.scene.device)
    return replace(points, scene=scene[points.scene], size=int(starts.sum()))
