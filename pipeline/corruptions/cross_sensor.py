"""Cross-sensor: as if a LiDAR with fewer lasers and half the firings had been there (Robo3D,
`cross_sensor`)."""

import numpy as np
from numpy.typing import NDArray

from .sweep import Corrupted, Sweep, unchanged

EVERY = 2
"""Of the points that are left, every second one in the order of the file stays."""


def lost_rings(beams: float, step: float) -> NDArray[np.int64]:
    """Rings that are removed: 1, 1 + step, ... below `beams`, rounded down."""
    return np.arange(1, beams, step).astype(np.int64)


def cross_sensor(
    sweep: Sweep, generator: np.random.Generator, *, beams: float, step: float
) -> Corrupted:
    """Remove `lost_rings`, then every second point; nothing is drawn.

    Args:
        beams: lasers of the sensor.
        step: distance of lost rings.
    """
    del generator
    rows = np.flatnonzero(~np.isin(sweep.ring, lost_rings(beams, step)))
    return unchanged(sweep).part(rows[::EVERY])
