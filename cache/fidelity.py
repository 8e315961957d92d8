"""How close decoded features are to the float32 originals; imports no torch."""

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

HISTOGRAM_EDGES = np.linspace(-8, 0.5, 86)
"""Bins of log10(1 - cosine): a tenth of a decade each."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Fidelity:
    """How close decoded features are to the float32 originals, over a number of tokens.

    Attributes:
        tokens: tokens measured.
        cosine_sum: sum of the cosine similarities of decoded and original tokens.
        cosine_min: smallest of them.
        histogram: counts over log10(1 - cosine), bins `HISTOGRAM_EDGES`; below and above fall in
            the end bins.
        clipped, values: clipped values and all values.
    """

    tokens: int
    cosine_sum: float
    cosine_min: float
    histogram: tuple[int, ...]
    clipped: int
    values: int

    @property
    def mean(self) -> float:
        """Mean cosine."""
        return self.cosine_sum / max(self.tokens, 1)

    @property
    def percentile1(self) -> float:
        """Cosine that 99 % of the tokens reach, to a tenth of a decade in 1 - cosine, rounded
        down."""
        counts = np.cumsum(self.histogram[::-1])
        worst = len(self.histogram) - 1 - int(np.searchsorted(counts, 0.01 * max(self.tokens, 1)))
        return float(1 - 10 ** HISTOGRAM_EDGES[max(worst, 0) + 1])

    @property
    def clip_rate(self) -> float:
        """Share of values outside the codec's range."""
        return self.clipped / max(self.values, 1)

    def __add__(self, other: "Fidelity") -> "Fidelity":
        return Fidelity(
            self.tokens + other.tokens,
            self.cosine_sum + other.cosine_sum,
            min(self.cosine_min, other.cosine_min),
            tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True)),
            self.clipped + other.clipped,
            self.values + other.values,
        )

    def to_json(self) -> dict[str, float]:
        """What a user reads of it."""
        return {
            "tokens": self.tokens,
            "cosine_mean": self.mean,
            "cosine_percentile1": self.percentile1,
            "cosine_min": self.cosine_min,
            "clip_rate": self.clip_rate,
        }

    @classmethod
    def none(cls) -> "Fidelity":
        """The measure of no tokens at all: the neutral element of addition."""
        return cls(0, 0.0, 1.0, (0,) * (len(HISTOGRAM_EDGES) - 1), 0, 0)
