"""Motion blur: the whole sweep is shifted, and every point jitters (Robo3D, `motion_blur`)."""

import numpy as np

from .sweep import Corrupted, Sweep, unchanged

JITTER = (0.1, 0.1, 0.05)
"""Deviation of a point's own jitter along x, y and z, as a share of `sigma`."""
LIMIT = 3.0
"""Largest jitter, in `sigma`."""


def motion_blur(sweep: Sweep, generator: np.random.Generator, *, sigma: float) -> Corrupted:
    """Shift the sweep by one draw of N(0, sigma) an axis, then every point by its own, clipped to 3
    sigma. Intensities, labels and the number of points stay.

    Args:
        sigma: metres.
    """
    result = unchanged(sweep)
    xyz = sweep.points[:, :3].astype(np.float64)
    shift = generator.normal(0.0, sigma, 3)
    jitter = generator.normal(0.0, 1.0, xyz.shape) * (np.array(JITTER) * sigma)
    result.points[:, :3] = xyz + shift + np.clip(jitter, -LIMIT * sigma, LIMIT * sigma)
    return result
