"""A batch of point clouds as flat tensors: what every student takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Point clouds of several scenes, concatenated.

    Attributes:
        xyz: (N, 3) float32, metres.
        intensity: (N,) float32 in [0, 1].
        scene: (N,) int64, index of the scene in the batch, ascending.
        counts: points of every scene, known to the host so that no step need ask the device; a
            scene may have none.
    """

    xyz: Tensor
    intensity: Tensor
    scene: Tensor
    counts: tuple[int, ...]

    @classmethod
    def from_clouds(cls, clouds: Sequence[Tensor]) -> "PointBatch":
        """Concatenate clouds of shape (N_i, 4) float32: x, y, z in metres and intensity in [0,
        1]."""
        counts = tuple(len(cloud) for cloud in clouds)
        flat = torch.cat(list(clouds))
        scene = scene_index(counts).to(flat.device, non_blocking=True)
        return cls(flat[:, :3].contiguous(), flat[:, 3].contiguous(), scene, counts)

    @property
    def size(self) -> int:
        """Number of scenes."""
        return len(self.counts)

    def to(self, device: torch.device | str) -> "PointBatch":
        """The same batch on `device`."""
        return replace(
            self,
            xyz=self.xyz.to(device, non_blocking=True),
            intensity=self.intensity.to(device, non_blocking=True),
            scene=self.scene.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        return len(self.xyz)


def scene_index(counts: Sequence[int]) -> Tensor:
    """(N,) int64 on the CPU: the scene of every point of scenes with `counts` points."""
    repeats = torch.tensor(counts, dtype=torch.int64)
    return torch.repeat_interleave(torch.arange(len(counts)), repeats, output_size=sum(counts))
