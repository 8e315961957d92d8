"""Mix3D: train on the union of two scenes (Nekrasov et al. 2021; paper section A5.1)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..draws import Draws
from ..points import PointBatch


def mix3d(
    points: PointBatch, draws: Draws, p: float = 0.8, groups: Sequence[int] | None = None
) -> PointBatch:
    """Merge scenes 0 and 1, 2 and 3, ... of the batch, each pair with probability `p`; an odd last
    one stays alone.

    The first scene of a pair decides. Both clouds keep their place, sensor on sensor. Points keep
    their order, so that indices into the batch (pairs, labels, query sources) stay valid; only
    `scene` and `counts` change. Mix before voxelising, after augmentation, so that each scene has
    its own; what belongs to one scene (camera views, occupancy queries) is made before.

    Args:
        groups: one number a scene; scenes of different groups are not mixed. None: all may be.
    """
    draw = draws.for_scenes("mix3d", 1)[::2, 0].tolist()
    counts: list[int] = []
    union: list[int] = []
    for scene, count in enumerate(points.counts):
        alike = groups is None or groups[scene] == groups[scene - 1]
        if scene % 2 and alike and draw[scene // 2] < p:
            counts[-1] += count
        else:
            counts.append(count)
        union.append(len(counts) - 1)
    scene_of = torch.tensor(union, dtype=torch.int64).to(points.scene.device, non_blocking=True)
    return replace(points, scene=scene_of.index_select(0, points.scene), counts=tuple(counts))
