"""Figures over seeds: mean and spread, paired differences with their interval, rank correlation."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Of the intervals of differences."""
FEWEST_RANKS = 3
"""Pairs below which a rank correlation says nothing: of two it is always 1 or -1."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of a figure; None without any value, or without two."""

    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Of the values that are not None."""
        figures = [value for value in values if value is not None]
        return cls(
            statistics.mean(figures) if figures else None,
            statistics.stdev(figures) if len(figures) > 1 else None,
        )

    def text(self, places: int) -> str:
        """``mean ± deviation``, as far as there are any."""
        mean = "" if self.mean is None else f"{self.mean:.{places}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{places}f}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference of two rows over the seeds that both have.

    Attributes:
        mean: of row - base, seed by seed.
        half_width: of the t-interval of that mean; None of a single seed.
        seeds: how many both have.
    """

    mean: float
    half_width: float | None
    seeds: int

    @classmethod
    def paired(
        cls, row: Mapping[int, float], base: Mapping[int, float], confidence: float = CONFIDENCE
    ) -> "Difference | None":
        """Of figures by seed; None where no seed is shared.

        The interval is Student's: the mean of the n differences ± t(n - 1) s / sqrt(n), with their
        sample standard deviation s.
        """
        differences = [row[seed] - base[seed] for seed in row if seed in base]
        if not differences:
            return None
        mean, count = statistics.mean(differences), len(differences)
        if count == 1:
            return cls(mean, None, count)
        from scipy.special import stdtrit  # scipy.stats takes ten times as long to import

        quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
        return cls(mean, quantile * statistics.stdev(differences) / count**0.5, count)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.half_width is not None and abs(self.mean) > self.half_width

    def text(self, places: int) -> str:
        """``+2.41 ± 0.83``, the half width after the sign."""
        mean = f"{self.mean:+.{places}f}"
        return mean if self.half_width is None else f"{mean} ± {self.half_width:.{places}f}"


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation of paired figures, ties with their mean rank; None of fewer than
    `FEWEST_RANKS` pairs, or where one side is constant."""
    if len(first) < FEWEST_RANKS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy.stats import spearmanr

    correlation, _ = spearmanr(first, second)
    return float(correlation)
