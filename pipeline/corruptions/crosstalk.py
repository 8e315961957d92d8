"""Crosstalk: some echoes are those of another sensor's pulses (Robo3D, `crosstalk`)."""

import numpy as np

from .sweep import FULL, Corrupted, Sweep, unchanged

SIGMA = 3.0
"""Deviation of the noise along x, y and z in metres, and of the intensity in units of the file."""


def crosstalk(
    sweep: Sweep, generator: np.random.Generator, *, share: float, full: float = FULL
) -> Corrupted:
    """Add N(0, 3) to x, y, z and intensity of int(share * N) points drawn without replacement; they
    count as inserted. Intensities are not clipped.

    Args:
        share: of all points, in [0, 1].
        full: the dataset's value of full intensity in its files, in whose units the noise is
            given: 255 in nuScenes', 1 in SemanticKITTI's.
    """
    result = unchanged(sweep)
    rows = generator.choice(len(sweep), int(share * len(sweep)), replace=False)
    noise = generator.normal(0.0, SIGMA, (len(rows), 4)) / np.array((1.0, 1.0, 1.0, full))
    result.points[rows] = (sweep.points[rows] + noise).astype(np.float32)
    result.inserted[rows] = True
    return result
