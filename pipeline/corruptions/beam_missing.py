"""Beam missing: some lasers give nothing (Robo3D, `beam_missing`)."""

import numpy as np

from .sweep import Corrupted, Sweep, unchanged


def beam_missing(
    sweep: Sweep, generator: np.random.Generator, *, beams: float, first: float, last: float
) -> Corrupted:
    """Remove all points of lasers that are drawn **with** replacement, as published: fewer than
    `beams` are lost in the mean.

    Args:
        beams: number of draws.
        first, last: rings that may be drawn, both included.
    """
    lost = generator.integers(int(first), int(last) + 1, int(beams))
    return unchanged(sweep).part(~np.isin(sweep.ring, lost))
