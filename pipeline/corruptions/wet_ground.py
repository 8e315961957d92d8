"""Wet ground: a film of water mirrors pulses away (Hahner et al. 2022, arXiv 2203.15118, Sec. 3.2;
used by Robo3D as `wet_ground`).

Intensities are in [0, 255] inside.
"""

import numpy as np
from numpy.typing import NDArray

from .ground_echoes import GroundEchoes
from .sweep import FULL, Corrupted, Sweep, unchanged

AIR, WATER = 1.0003, 1.33
"""Refractive indices."""
PAVEMENT = 1.2
"""Depth of the pavement's texture in millimetres: water of this height covers it."""
FEWEST = 1000
"""Sweeps with fewer points on the ground stay as they are."""
REFLECTIVITY = (0.05, 1.0)
"""Bounds of the ground's reflectivity below the film."""

Array = NDArray[np.float64]


def reflectances(angle: Array) -> tuple[Array, Array]:
    """Share of power that a water surface mirrors, polarised across and along the plane of
    incidence (Fresnel); the same for the way back out under the refracted angle.

    Args:
        angle: of incidence in air, radians.
    """
    inside = np.arcsin(np.sin(angle) * AIR / WATER)
    across = (AIR * np.cos(angle) - WATER * np.cos(inside)) / (
        AIR * np.cos(angle) + WATER * np.cos(inside)
    )
    along = (WATER * np.cos(angle) - AIR * np.cos(inside)) / (
        WATER * np.cos(angle) + AIR * np.cos(inside)
    )
    return across**2, along**2


def through_film(angle: Array, reflectivity: Array) -> Array:
    """Share of power that comes back from ground below a film of water: into the film, from the
    ground, any number of times between ground and surface, and out; of both polarisations the
    larger."""
    shares = [
        (1 - mirrored) ** 2 * reflectivity / (1 - reflectivity * mirrored)
        for mirrored in reflectances(angle)
    ]
    return np.maximum(*shares)


def wet_ground(
    sweep: Sweep, generator: np.random.Generator, *, water: float, noise_floor: float
) -> Corrupted:
    """Weaken the echoes of the ground, and remove those that fall below the sensor's threshold.

    Points off the ground come first, then what is left of the ground, each in their order. A sweep
    with fewer than 1,000 points on the ground stays as it is.

    Args:
        water: height of the water, millimetres.
        noise_floor: share of the weakest dry echoes that is still reported.
    """
    del generator
    result = unchanged(sweep)
    rows = np.flatnonzero(sweep.ground)
    if len(rows) < FEWEST:
        return result
    echoes = GroundEchoes.of(sweep.points[rows], FULL)
    sent = echoes.sent()
    dry = np.divide(
        echoes.intensity, echoes.cosine * sent, out=np.zeros_like(sent), where=sent != 0
    )
    angle = np.arccos(np.minimum(echoes.cosine, 1.0))
    wet = through_film(angle, np.clip(dry, *REFLECTIVITY))
    covered = min(max(water / PAVEMENT, 0.0), 1.0)
    # The published division by the angle, without which wet ground right below would be darker.
    share = (1 - covered) * dry + covered * wet / np.maximum(angle, 1e-3)
    intensity = np.clip(sent * echoes.cosine * share, 0.0, echoes.intensity)
    reported = intensity > echoes.threshold(noise_floor) * echoes.cosine
    result.points[rows, 3] = intensity / FULL
    return result.part(np.concatenate([np.flatnonzero(~sweep.ground), rows[reported]]))
