"""The rule by which a wrong unit of times is noticed: how fast frames of a LiDAR follow."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FASTEST = 0.005
"""Seconds: LiDARs of cars turn 5 to 20 times a second, none sweeps 200 times. Times a thousand
times too small are noticed of all frames that follow within 5 s."""
SLOWEST = 30.0
"""Seconds: keyframes may be this far apart. Times a thousand times too large are noticed of all
LiDARs that sweep up to 33 times a second."""


def steps_of(
    scenes: Sequence[str], microseconds: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Seconds from every frame to the next, where that is of the same scene.

    Args:
        scenes, microseconds: of N frames, in order.
    """
    names = np.asarray(scenes)
    steps = np.diff(np.asarray(microseconds, np.int64).astype(np.float64)) / 1e6
    return steps[names[1:] == names[:-1]]


def step_fault(seconds: Sequence[float] | NDArray[np.float64], what: str = "frames") -> str:
    """What is wrong with steps between frames, by their median; empty where nothing is, or there
    are none.

    Args:
        what: follows each other.
    """
    if not len(seconds):
        return ""
    median = float(np.median(seconds))
    if FASTEST <= median <= SLOWEST:
        return ""
    if median < 0:
        return f"time runs backwards: {what} follow every {median:.3g} s"
    bound = f"less than {FASTEST:g}" if median < FASTEST else f"more than {SLOWEST:g}"
    return f"{what} follow every {median:.3g} s, {bound}, so the unit of their times seems wrong"
