"""Fog: attenuated surfaces and echoes of the fog itself (Hahner et al. 2021, arXiv 2108.05249; used
by Robo3D as `fog`): the optics of their Sec. 3.1, the steps of Algorithm 1 in their Sec. 3.2.

Intensities are in [0, 255] inside.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .sweep import FULL, Corrupted, Sweep, unchanged

LIGHT_SPEED = 299_792_458.0
"""m/s."""
PULSE_WIDTH = 20e-9
"""Half-power width of a pulse, seconds."""
NEAREST, COVERED = 0.9, 1.0
"""Metres from which the receiver sees the beam in part, and wholly."""
BETA_0 = 1e-6 / np.pi
"""Differential reflectivity of a surface, of a reflectivity of 1e-6."""
NOISE = 10.0
"""Metres around a surface's distance from which the divisor of a fog echo's distance is drawn."""
FARTHEST, RANGES, PARTS = 200.0, 2000, 2000
"""Metres, distances and intervals of time of the table."""
ALPHAS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.06)
"""Attenuation coefficients in 1/m, of which each sweep draws one."""


def crossover(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the beam that the receiver sees, in [0, 1] (Sec. 3.1)."""
    return np.clip((distance - NEAREST) / (COVERED - NEAREST), 0.0, 1.0)


@lru_cache(maxsize=len(ALPHAS))
def fog_table(alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the echo of homogeneous fog is strongest, and how strong, in front of a surface at 0,
    0.1, ..., 200 m.

    The response of fog at a distance R, without its constants, is

        q(R) = integral over t in [0, 2 tau] of sin^2(pi t / 2 tau) exp(-2 alpha r) xi(r) / r^2,

    with r = R - c t / 2. It does not depend on the surface, which merely ends the fog: the
    strongest echo in front of a surface is a running maximum.

    Returns:
        (2001,) metres and (2001,) seconds per square metre.
    """
    distances = np.linspace(0.0, FARTHEST, RANGES)
    times = np.linspace(0.0, 2 * PULSE_WIDTH, PARTS + 1)
    # Simpson's rule: 1 4 2 4 ... 2 4 1, times the shape of the pulse.
    weights = np.full(PARTS + 1, 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    weights *= times[1] / 3 * np.sin(np.pi * times / (2 * PULSE_WIDTH)) ** 2
    response = np.zeros(RANGES)
    for part in np.array_split(np.arange(RANGES), 16):
        r = distances[part, None] - LIGHT_SPEED * times / 2
        seen = crossover(r)
        r = np.where(seen > 0, r, 1.0)  # no division by zero where nothing is seen
        response[part] = (np.exp(-2 * alpha * r) * seen / r**2) @ weights
    best = np.maximum.accumulate(response)
    first = np.searchsorted(best, best)  # of equal values the first, where the maximum was reached
    surface = np.searchsorted(distances, np.arange(10 * FARTHEST + 1) / 10 + 1e-9, side="right") - 1
    return distances[first[surface]], best[surface]


def fog(sweep: Sweep, generator: np.random.Generator, *, beta: float) -> Corrupted:
    """Fog of an attenuation that is drawn for the sweep from `ALPHAS`, whatever the severity, as
    published.

    A surface's intensity becomes round(exp(-2 alpha R) I). Where the fog's echo (`fog_table`) is
    stronger, the point moves there along its ray and takes the echo's intensity, which is not
    clipped; its distance is multiplied by R / U(R - 10, R + 10), which is negative for some points
    nearer than 10 m. Such points count as inserted. None is removed.

    Args:
        beta: backscattering coefficient, 1/sr.
    """
    result = unchanged(sweep)
    alpha = float(generator.choice(ALPHAS))
    distance, clean = sweep.distance, FULL * sweep.points[:, 3].astype(np.float64)
    # The surface behind the fog.
    surface = np.round(np.exp(-2 * alpha * distance) * clean)
    # The fog before the surface: the constants of the table cancel but for beta / beta_0.
    where, strength = fog_table(alpha)
    entry = np.minimum(np.round(10 * distance).astype(np.int64), 10 * int(FARTHEST))
    echo = strength[entry] * clean * distance**2 * beta / BETA_0
    scattered = echo > surface
    # Along the ray to the echo, where / R, then the noise, R / U.
    divisor = generator.uniform(distance - NOISE, distance + NOISE)
    factor = np.divide(where[entry], divisor, out=np.ones_like(divisor), where=divisor != 0)
    result.points[scattered, :3] = (sweep.points[scattered, :3] * factor[scattered, None]).astype(
        np.float32
    )
    result.points[:, 3] = np.where(scattered, echo, surface) / FULL
    result.inserted[:] = scattered
    return result
