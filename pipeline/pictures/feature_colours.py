"""Features as colours: one basis for teacher and students."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

ROWS = 20_000
"""Features that the directions are fitted on, at most."""
TAILS = 0.02
"""Share of the features at either end of a direction that has its end colour."""

Colouring = Callable[[Tensor], NDArray[np.float64]]


class FeatureColours:
    """Three principal directions of a teacher's features as red, green and blue.

    A student is compared with its teacher along the same directions, but around its own mean and
    over its own spread (`stretched`): it is trained on directions alone, predicts what the points
    tell and no more, and so lies closer to its mean. Of the demo's student the mean unit feature
    has the length 0.86, of its teacher 0.40: coloured around the teacher's mean, all of the
    student's points are shifted by the same amount, and change colour together.

    Args:
        features: (K, C) float32 the directions are fitted on: the teacher's, at the points.
    """

    def __init__(self, features: Tensor) -> None:
        unit = normalize(features.double(), dim=1)
        centred = unit - unit.mean(0)
        _, _, directions = torch.linalg.svd(
            centred[:: max(1, len(centred) // ROWS)], full_matrices=False
        )
        # A direction's sign is arbitrary: fix it, so that the same features always have the same
        # colours.
        largest = directions[:3].gather(1, directions[:3].abs().argmax(1, keepdim=True))
        self._directions = (directions[:3] * largest.sign()).T

    def stretched(self, features: Tensor) -> Colouring:
        """How features (..., C) become colours (..., 3) in [0, 1]: the middle of every colour is
        the mean of `features` (K, C), its ends lie at `TAILS` of them on either side."""
        values = self._along(features)
        low, high = values.quantile(TAILS, 0), values.quantile(1 - TAILS, 0)
        middle = values.mean(0)
        # The same distance on both sides, so that the mean is grey.
        reach = torch.maximum(high - middle, middle - low).clamp(min=1e-12)

        def colours(others: Tensor) -> NDArray[np.float64]:
            return (0.5 + 0.5 * (self._along(others) - middle) / reach).clamp(0, 1).numpy()

        return colours

    def _along(self, features: Tensor) -> Tensor:
        """(..., 3) float64 coordinates of unit features."""
        return normalize(features.double(), dim=-1) @ self._directions
