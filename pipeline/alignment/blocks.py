"""Means over edges that hang together: blocks, not edges, are what an experiment repeats."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        mean: the mean over all values.
        error: its standard error, from the spread of the blocks.
        blocks: how many there are.
    """

    mean: float
    error: float
    blocks: int

    def bound(self, probability: float) -> float:
        """The value above which the truth lies with a probability of at most `probability`, by
        Student's t; one-sided: ``bound(0.025)`` and ``bound(0.975)`` enclose 95 %."""
        return self.mean - float(stdtrit(self.blocks - 1, probability)) * self.error

    def above(self, value: float, level: float) -> bool:
        """Whether the truth is above `value`, with a probability of a false yes of `level`."""
        return self.bound(1 - level) > value

    def __str__(self) -> str:
        mean, low, high = (
            f"{value:z.2f}" for value in (self.mean, self.bound(0.975), self.bound(0.025))
        )
        return f"{mean} [{low}, {high}]"


def block_mean(
    values: NDArray[np.float64], weight: NDArray[np.float64], block: NDArray[np.int64]
) -> Estimate:
    """Weighted mean of values (E,) of which those of equal `block` (E,) hang together; at least two
    blocks."""
    names, which = np.unique(block, return_inverse=True)
    blocks, total = len(names), float(weight.sum())
    mean = float((weight * values).sum()) / total
    # The mean is a ratio of two sums over blocks; its error follows from what each block adds.
    residual = np.bincount(which, weight * (values - mean))
    error = float(np.sqrt((residual**2).sum() * blocks / (blocks - 1))) / total
    return Estimate(mean, error, blocks)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """`one` - `other`, of blocks that have nothing to do with each other."""
    blocks = min(one.blocks, other.blocks)
    return Estimate(one.mean - other.mean, float(np.hypot(one.error, other.error)), blocks)
