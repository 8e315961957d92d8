"""Intensities of different sensors on one scale: less their dataset's mean, over its deviation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-6
"""A deviation below this one is that of a sensor that says nothing; it counts as this one."""


@dataclass(frozen=True, slots=True)
class IntensityNorm:
    """Statistics of a dataset's intensities, which are shares of full intensity.

    Attributes:
        dataset: its name.
        mean, deviation: over the points of its frames.
    """

    dataset: str
    mean: float
    deviation: float

    def standardised(self, intensity: Tensor) -> Tensor:
        """Intensities (N,) in [0, 1] as the student takes them, mean 0 and deviation 1."""
        return (intensity - self.mean) / max(self.deviation, SMALLEST)


def norm_of(norms: Sequence[IntensityNorm], dataset: str) -> IntensityNorm | None:
    """Of that dataset, else the first one; None where there is none."""
    own = [norm for norm in norms if norm.dataset == dataset]
    return next(iter([*own, *norms]), None)


def by_scene(intensity: Tensor, scene: Tensor, norms: Sequence[IntensityNorm]) -> Tensor:
    """Intensities (N,) standardised each by the norm of its scene.

    Args:
        scene: (N,) int64.
        norms: one a scene.
    """
    table = torch.tensor([(norm.mean, max(norm.deviation, SMALLEST)) for norm in norms])
    mean, deviation = table.to(scene.device, non_blocking=True).index_select(0, scene).unbind(1)
    return (intensity - mean) / deviation
