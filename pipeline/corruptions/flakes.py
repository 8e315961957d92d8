"""Snowflakes in the plane of a laser, and what they hide of each beam (Hahner et al. 2022, arXiv
2203.15118, Sec. 3.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = 80.0
"""Radius in metres of the disc around the sensor that holds flakes."""
DIVERGENCE = 3e-3
"""Opening angle of a beam, radians."""
LARGEST = 0.02
"""Metres; larger diameters are drawn again."""
DENSITY, DIAMETER = 0.1, 0.003
"""Of snow in g/cm3 and of a flake in metres, in the two formulae of the rate."""

Array = NDArray[np.float64]


def rain_rate(rate: float, velocity: float) -> float:
    """Rain in mm/h of as much water as snow of `rate` mm/h that falls at `velocity` m/s."""
    return (rate / (487 * DENSITY * DIAMETER * velocity)) ** 1.5


def occupancy(rate: float, velocity: float) -> float:
    """Share of a plane that flakes cover."""
    return rate / (3.6e6 * DENSITY * velocity)


def mean_diameter(rate: float, velocity: float) -> float:
    """Metres: the scale of the exponential distribution of Gunn and Marshall (1958)."""
    return 0.01 / (25.5 * rain_rate(rate, velocity) ** -0.48)


@dataclass(frozen=True, slots=True)
class Flakes:
    """Discs in a plane around the sensor, in ascending order of their direction.

    Attributes:
        angle: (F,) direction in [0, 2 pi).
        distance: (F,) metres, of their centres.
        half_width: (F,) half the angle under which they are seen.
    """

    angle: Array
    distance: Array
    half_width: Array


def draw_flakes(generator: np.random.Generator, rate: float, velocity: float) -> Flakes:
    """Flakes of a plane until the covered area is reached.

    A disc is a ball that the plane cuts at a random height. That two of them touch is not excluded,
    as it is in publication: they cover a millionth of the plane.
    """
    scale, area = mean_diameter(rate, velocity), occupancy(rate, velocity) * np.pi * REACH**2
    # A ball of diameter d has discs of area pi d^2 / 6 in the mean, and E[d^2] = 2 scale^2.
    mean_area = np.pi * scale**2 / 3
    radius = np.empty(0)
    while np.pi * (radius**2).sum() < area:
        diameter = generator.exponential(scale, int(1.2 * area / mean_area) + 10)
        diameter = diameter[diameter <= LARGEST]
        height = generator.uniform(-0.5, 0.5, len(diameter)) * diameter
        radius = np.concatenate([radius, np.sqrt((diameter / 2) ** 2 - height**2)])
    radius = radius[: 1 + np.searchsorted(np.cumsum(np.pi * radius**2), area)]
    distance = REACH * np.sqrt(generator.uniform(size=len(radius)))
    angle = generator.uniform(0.0, 2 * np.pi, len(radius))
    outside = np.flatnonzero(distance > radius)
    order = outside[np.argsort(angle[outside], kind="stable")]
    return Flakes(angle[order], distance[order], np.arcsin(radius[order] / distance[order]))


@dataclass(frozen=True, slots=True)
class Hits:
    """Flakes in the beams of a laser, ordered by beam and distance.

    Attributes:
        beam: (H,) the beam.
        distance: (H,) of the flake, metres.
        share: (H,) of the beam that it alone hides, or hides first.
        free: (B,) share of each beam that reaches its surface.
    """

    beam: NDArray[np.int64]
    distance: Array
    share: Array
    free: Array


def hits(flakes: Flakes, azimuth: Array, surface: Array) -> Hits:
    """What the flakes in front of the surfaces hide of the beams.

    Args:
        azimuth: (B,) direction of the beams in [0, 2 pi).
        surface: (B,) metres to what they hit.
    """
    beam, flake = _pairs(flakes, azimuth)
    # Of each pair, the flake's interval in a beam that reaches from 0 to 1.
    offset = (flakes.angle[flake] - azimuth[beam] + np.pi) % (2 * np.pi) - np.pi
    low = np.clip((offset - flakes.half_width[flake]) / DIVERGENCE + 0.5, 0.0, 1.0)
    high = np.clip((offset + flakes.half_width[flake]) / DIVERGENCE + 0.5, 0.0, 1.0)
    real = (high > low) & (flakes.distance[flake] < surface[beam])
    beam, flake, low, high = beam[real], flake[real], low[real], high[real]
    order = np.lexsort((flakes.distance[flake], beam))
    beam, distance = beam[order], flakes.distance[flake[order]]
    share = first_shares(beam, low[order], high[order])
    hidden = np.bincount(beam, share, len(azimuth)).astype(np.float64)
    seen = share > 0
    return Hits(beam[seen], distance[seen], share[seen], np.clip(1 - hidden, 0.0, 1.0))


def first_shares(beam: NDArray[np.int64], low: Array, high: Array) -> Array:
    """Length of each interval [low, high) that no earlier interval of the same beam covers.

    Args:
        beam: (H,) ascending; the intervals of a beam stand in the order of their claims.
    """
    share = high - low
    first = np.searchsorted(beam, beam)
    rank = np.arange(len(beam)) - first
    for earlier in range(1, int(rank.max(initial=0)) + 1):
        rows = np.flatnonzero(rank == earlier)
        before = first[rows, None] + np.arange(earlier)
        share[rows] -= covered(low[rows], high[rows], low[before], high[before])
    return np.maximum(share, 0.0)


def covered(low: Array, high: Array, lows: Array, highs: Array) -> Array:
    """Length of each interval [low, high), (R,), that the union of others, (R, E), covers."""
    starts, ends = (np.clip(edge, low[:, None], high[:, None]) for edge in (lows, highs))
    order = np.argsort(starts, axis=1, kind="stable")
    starts = np.take_along_axis(starts, order, 1)
    ends = np.maximum.accumulate(np.take_along_axis(ends, order, 1), axis=1)
    # In ascending order each interval adds what lies beyond all before it.
    begin = starts.copy()
    begin[:, 1:] = np.maximum(starts[:, 1:], ends[:, :-1])
    return np.maximum(ends - begin, 0.0).sum(1)


def _pairs(flakes: Flakes, azimuth: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Beam and flake of all pairs that may touch."""
    narrow = flakes.half_width <= DIVERGENCE
    near, wide = np.flatnonzero(narrow), np.flatnonzero(~narrow)
    beam, place = _within(flakes.angle[near], azimuth, 1.5 * DIVERGENCE)
    # A few flakes next to the sensor are seen under any angle: each against all beams.
    beams, wides = np.indices((len(azimuth), len(wide))).reshape(2, -1)
    return np.concatenate([beam, beams]), np.concatenate([near[place], wide[wides]])


def _within(
    angle: Array, azimuth: Array, width: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Beam and position in `angle`, which ascends, of all pairs no farther apart than `width`."""
    turn = np.concatenate([angle - 2 * np.pi, angle, angle + 2 * np.pi])
    start = np.searchsorted(turn, azimuth - width)
    lengths = np.searchsorted(turn, azimuth + width, side="right") - start
    beam = np.repeat(np.arange(len(azimuth)), lengths)
    place = np.arange(len(beam)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return beam, (start[beam] + place) % max(len(angle), 1)
