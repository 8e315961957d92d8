"""Incomplete echo: dark vehicles return few pulses (Robo3D, `incomplete_echo`)."""

import numpy as np

from .sweep import Corrupted, Sweep, unchanged

FEWEST = 10
"""A class with no more points than this in a sweep is left alone."""


def incomplete_echo(sweep: Sweep, generator: np.random.Generator, *, share: float) -> Corrupted:
    """Remove int(share * n) of the n points of every class of vehicles, drawn without
    replacement.

    Args:
        share: in [0, 1].
    """
    stays = np.ones(len(sweep), np.bool_)
    for number in np.unique(sweep.vehicle[sweep.vehicle >= 0]):
        rows = np.flatnonzero(sweep.vehicle == number)
        if len(rows) > FEWEST:
            stays[generator.choice(rows, int(share * len(rows)), replace=False)] = False
    return unchanged(sweep).part(stays)
