"""Snow: flakes hide surfaces and echo themselves (Hahner et al. 2022, arXiv 2203.15118, Sec. 3.1;
used by Robo3D as `snow`).

Intensities are in [0, 255] inside.
"""

import numpy as np
from numpy.polynomial.polynomial import polyfit, polyval
from numpy.typing import NDArray

from .flakes import Hits, draw_flakes, hits
from .fog import LIGHT_SPEED, crossover
from .ground_echoes import GroundEchoes
from .sweep import FULL, Corrupted, Sweep, unchanged

PULSE = LIGHT_SPEED * 10e-9
"""Length of a pulse of 10 ns in metres; its echo is strongest half of it behind its beginning."""
STEP, REACH = 0.1, 120.0
"""Metres of the grid of distances."""
SNOW = 0.9
"""Reflectivity of a flake."""
SAME = 0.2
"""Metres within which the strongest echo is the surface's own."""
NOISE_FLOOR = 0.7
"""Share of the weakest dry echoes of the ground that is still reported."""
FEWEST = 3
"""With fewer points on the ground nothing is known of the weakest echo, and none is removed."""
UNFOCUSED = 131.0
"""Metres of the sensor's formula of focus (Velodyne HDL-64 manual)."""

Array = NDArray[np.float64]


def snow(
    sweep: Sweep,
    generator: np.random.Generator,
    *,
    rate: float,
    velocity: float,
    focal_distance: float,
    focal_slope: float,
) -> Corrupted:
    """Draw flakes around the sensor, for every laser its own, and let the strongest echo of each
    beam be the point.

    Where it is the surface's, its intensity alone changes; else the point moves along its ray to
    the flake and counts as inserted. Then points that are no flakes and whose intensity is not
    above the sensor's threshold, a parabola over the distance through that of the ground, are
    removed. A beam of which nothing comes back, all of it lying next to the sensor, stays as it is;
    the published code puts its point behind the sensor.

    Published sets draw 64 planes of flakes once and shuffle them; here every sweep has its own.

    Args:
        rate: snowfall in mm/h of water.
        velocity: of falling flakes, m/s.
        focal_distance, focal_slope: the sensor's correction of intensities, see `focus`; the same
            for all lasers.
    """
    result = unchanged(sweep)
    distance, clean = sweep.distance, FULL * sweep.points[:, 3].astype(np.float64)
    azimuth = np.arctan2(*sweep.points[:, 1::-1].astype(np.float64).T) % (2 * np.pi)
    focused = np.clip(clean - focus(distance, focal_distance, focal_slope), 0.0, FULL)
    intensity = clean.copy()
    for laser in np.unique(sweep.ring):
        rows = np.flatnonzero(sweep.ring == laser)
        flake_hits = hits(draw_flakes(generator, rate, velocity), azimuth[rows], distance[rows])
        power, place = strongest_echo(flake_hits, distance[rows], focused[rows])
        met = np.intersect1d(flake_hits.beam, np.flatnonzero(power > 0))
        power = power + focus(place, focal_distance, focal_slope)
        beams = rows[met]
        intensity[beams] = np.floor(np.clip(power[met], 0.0, FULL))
        moved = np.abs(place[met] - distance[beams]) >= SAME
        factor = place[met[moved]] / distance[beams[moved]]
        result.points[beams[moved], :3] *= factor[:, None].astype(np.float32)
        result.inserted[beams[moved]] = True
    result.points[:, 3] = intensity / FULL
    return result.part(result.inserted | (intensity > _threshold(sweep, distance)))


def focus(distance: Array, focal_distance: float, focal_slope: float) -> Array:
    """What a sensor adds to the intensity of what lies out of its focus, in [0, 255].

    Args:
        distance: metres.
        focal_distance: metres.
        focal_slope: 0 for a sensor without such a correction.
    """
    offset = (1 - focal_distance / UNFOCUSED) ** 2
    return FULL * focal_slope * np.abs(offset - (1 - distance / REACH) ** 2)


def strongest_echo(flake_hits: Hits, surface: Array, intensity: Array) -> tuple[Array, Array]:
    """Power and distance of the strongest echo of every beam.

    The power at a distance R is the sum over flakes and surface of

        A xi(r) / r^2 sin^2(pi (R - r) / (c tau)),  r <= R <= r + c tau,

    A being the share of the beam times 0.9 * 255 for a flake, times I r^2 for the surface.

    Args:
        flake_hits: flakes in the beams.
        surface: (B,) metres.
        intensity: (B,) of the surfaces in [0, 255].

    Returns:
        (B,) power, in units of intensity, and (B,) metres.
    """
    beams = len(surface)
    beam = np.concatenate([flake_hits.beam, np.arange(beams)])
    place = np.concatenate([flake_hits.distance, surface])
    strength = np.concatenate(
        [
            SNOW
            * FULL
            * flake_hits.share
            * crossover(flake_hits.distance)
            / flake_hits.distance**2,
            flake_hits.free * crossover(surface) * intensity,
        ]
    )
    cells = int(np.ceil((REACH + PULSE) / STEP))
    # Cells from the first at or behind the beginning of an echo to the last before its end.
    cell = np.ceil(place / STEP).astype(np.int64)[:, None] + np.arange(int(PULSE / STEP) + 2)
    behind = cell * STEP - place[:, None]
    shape = np.where((behind <= PULSE) & (cell < cells), np.sin(np.pi * behind / PULSE) ** 2, 0.0)
    index = beam[:, None] * cells + np.minimum(cell, cells - 1)
    power = np.bincount(index.ravel(), (strength[:, None] * shape).ravel(), beams * cells)
    power = power.reshape(beams, cells).astype(np.float64)
    best = power.argmax(1)
    return power[np.arange(beams), best], best * STEP - PULSE / 2


def _threshold(sweep: Sweep, distance: Array) -> Array:
    """(N,) intensity that a point must exceed to be reported."""
    ground = sweep.points[sweep.ground]
    if len(ground) < FEWEST:
        return np.full(len(sweep), -1.0)
    echoes = GroundEchoes.of(ground, FULL)
    weakest = echoes.threshold(NOISE_FLOOR) * echoes.cosine
    return polyval(distance, polyfit(echoes.distance, weakest, 2))
