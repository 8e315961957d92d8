"""Random boxes that overlap often."""

import math

import torch

from clever.pipeline.detection.boxes import Boxes


def random_boxes(count: int, seed: int, spread: float = 3.0) -> Boxes:
    """Boxes (count, 7) float64 with centres within `spread` metres and sizes of 0.5 to 4.5 m."""
    draws = torch.rand(count, 7, dtype=torch.float64, generator=torch.manual_seed(seed))
    centres = (2 * draws[:, :3] - 1) * spread
    yaws = (2 * draws[:, 6:] - 1) * 2 * math.pi
    return Boxes(torch.cat([centres, 0.5 + 4 * draws[:, 3:6], yaws], 1))


def box(*row: float) -> Boxes:
    """One box, float64."""
    return Boxes(torch.tensor([row], dtype=torch.float64))
