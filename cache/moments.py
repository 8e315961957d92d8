"""Mean and deviation of every channel of a layer, from the codes as they are stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Values = NDArray[np.float64]

DOMINANT = 20.0
"""A channel's root mean square over the median channel's from which it dominates."""
FLOOR = 1e-3
"""Least deviation of a channel, of the median one's: what hardly varies is not blown up."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of N values a channel.

    Attributes:
        count: N.
        mean, deviation: (C,) float64; the deviation over N.
    """

    count: int
    mean: Values
    deviation: Values

    @classmethod
    def of(cls, features: "Tensor") -> "Moments":
        """Of (..., C) features."""
        values = features.reshape(-1, features.shape[-1]).double()
        mean = values.mean(0)
        deviation = (values - mean).square().mean(0).sqrt()
        return cls(len(values), mean.cpu().numpy(), deviation.cpu().numpy())

    def __str__(self) -> str:
        doubt = "; few channels dominate" if self.dominance > DOMINANT else ""
        return f"largest {self.dominance:.1f} times the median one (root mean squares){doubt}"

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        mean = (self.count * self.mean + other.count * other.mean) / count
        spread = sum(
            part.count * (part.deviation**2 + (part.mean - mean) ** 2) for part in (self, other)
        )
        return Moments(count, mean, np.sqrt(spread / count))

    @property
    def scale(self) -> Values:
        """(C,) what standardising divides by: the deviation, at least `FLOOR` of the median one."""
        return np.maximum(self.deviation, max(FLOOR * np.median(self.deviation), 1e-12))

    @property
    def dominance(self) -> float:
        """Largest root mean square of a channel over the median channel's."""
        size = np.sqrt(self.mean**2 + self.deviation**2)
        return float(size.max() / max(np.median(size), 1e-12))


@dataclass(frozen=True, slots=True)
class CodeSums:
    """Sums over N stored codes a channel, which add up exactly in any order for int8.

    Attributes:
        count: N.
        total, squares: (C,) float64, whole numbers for int8.
    """

    count: int
    total: Values
    squares: Values

    @classmethod
    def of(cls, codes: "Tensor") -> "CodeSums":
        """Of (..., C) int8 or float16 codes, on their own device."""
        flat = codes.reshape(-1, codes.shape[-1])
        wide = flat.double() if flat.is_floating_point() else flat.int()
        total, squares = wide.sum(0), wide.square().sum(0)
        return cls(len(flat), *(part.double().cpu().numpy() for part in (total, squares)))

    def __add__(self, other: "CodeSums") -> "CodeSums":
        return CodeSums(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def moments(self, centre: Values | float = 0.0, step: Values | float = 1.0) -> Moments:
        """Of the features ``centre + step * code``."""
        mean = self.total / self.count
        with np.errstate(invalid="ignore"):  # sums of a damaged layer may be infinite
            variance = np.maximum(self.squares / self.count - mean**2, 0)
        return Moments(self.count, centre + step * mean, step * np.sqrt(variance))


def dominance_warning(layer: str, place: str | None, moments: Moments) -> str | None:
    """A line where a few channels are so large that they alone decide the direction of a feature,
    and thereby the cosine to it.

    Args:
        layer: its id.
        place: where the network was read, such as ``pre-norm``.
    """
    if moments.dominance <= DOMINANT:
        return None
    again = " or take `layer=post-norm`" if place == "pre-norm" else ""
    return (
        f"{layer}: the largest channel is {moments.dominance:.0f} times the median one, so that a "
        "few channels decide the distance of two features and the fidelity shown here; train with "
        f"`targets=standardised`{again}"
    )


def total_moments(parts: Iterable[Moments]) -> Moments:
    """Of all parts, of which there is at least one."""
    return reduce(add, parts)
