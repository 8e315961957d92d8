"""Losses and gradients that are not finite."""

import math

OVERFLOWS = 20
"""Steps in a row whose float16 gradients may overflow while the scale is being found."""


class FiniteCheck:
    """Whether a run may go on, step by step.

    Args:
        scaled: losses are scaled (float16), and the scale is being looked for: then a gradient that
            is not finite skips its step, and only `OVERFLOWS` of them in a row are wrong.
    """

    def __init__(self, scaled: bool) -> None:
        self.scaled = scaled
        self._overflows = 0

    def passes(self, loss: float, norm: float) -> bool:
        """Whether a step's loss and gradient norm are as they may be."""
        finite = math.isfinite(norm)
        self._overflows = 0 if finite else self._overflows + 1
        searching = self.scaled and self._overflows < OVERFLOWS
        return math.isfinite(loss) and (finite or searching)
