"""What the echoes of dry ground tell of a sensor: its power and the weakest echo that it reports
(Hahner et al. 2022, arXiv 2203.15118, Sec. 3.2).

Intensities are in [0, 255].
"""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyfit, polyval
from numpy.typing import NDArray

POWER = 15.0
"""How much more power is sent than ground in front of the sensor returns."""
BINS, INTENSITIES, NEAR, FAR = 50, 2555, 10.0, 70.0
"""Bins of the histogram along distance and intensity; metres that it begins and ends at."""
DARKEST = 5.0
"""The weakest echoes at or below this intensity are left out of the fit."""
FEWEST_BINS = 3
"""With no more bins of distance than this the line of all echoes serves."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroundEchoes:
    """Echoes of points on dry ground.

    Attributes:
        distance: (G,) metres.
        cosine: (G,) of the angle of incidence on level ground.
        intensity: (G,) in [0, 255].
    """

    distance: Array
    cosine: Array
    intensity: Array

    @classmethod
    def of(cls, points: NDArray[np.floating], full: float) -> "GroundEchoes":
        """Of points (G, 4) with intensities in [0, 1]. Ground at the height of the sensor or above
        it has no angle of incidence on level ground; its cosine is that of the flattest ray
        below."""
        xyz = points[:, :3].astype(np.float64)
        distance = np.linalg.norm(xyz, axis=1)
        cosine = -xyz[:, 2] / np.maximum(distance, 1e-9)
        below = cosine > 0
        flattest = cosine[below].min() if below.any() else 1.0
        return cls(distance, np.where(below, cosine, flattest), full * points[:, 3].astype(float))

    def sent(self) -> Array:
        """(G,) power that is sent, by a line through I / cos a over the distance."""
        return POWER * polyval(self.distance, self._line())

    def threshold(self, noise_floor: float) -> Array:
        """(G,) weakest I / cos a that is reported: `noise_floor` times a line through the lowest
        bins of intensity that hold a point, over the distance."""
        normal = self.intensity / self.cosine
        limits = ((NEAR, FAR), (0.0, max(float(np.abs(normal).max()), 1e-9)))
        counts, edges, values = np.histogram2d(
            self.distance, normal, bins=(BINS, INTENSITIES), range=limits
        )
        lowest = values[(counts > 0).argmax(1)]  # 0 in a row without an echo
        rows = np.flatnonzero(lowest > DARKEST)
        line = self._line()
        if len(rows) > FEWEST_BINS:
            line = polyfit((edges[rows] + edges[rows + 1]) / 2, lowest[rows], 1)
        return noise_floor * polyval(self.distance, line)

    def _line(self) -> Array:
        """Coefficients of the line through I / cos a of all echoes, the constant one first."""
        return polyfit(self.distance, self.intensity / self.cosine, 1)
