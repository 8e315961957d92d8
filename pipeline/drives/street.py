"""The ground: a street along an arc, its side streets, kerbs, verges and pavements.

World frame: x along the street at its start, y to the left, z up, metres; the roadway is z = 0.
Street coordinates are s, the arc length along the centre line, and d, the distance to its left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .raycast import Floats, Rays

ROAD, PAVEMENT, GRASS = 24, 26, 27
"""Raw nuScenes categories: flat.driveable_surface, flat.sidewalk, flat.terrain."""
KERB = 0.12
"""Height of everything that is not roadway, metres."""
_KERB_WIDTH = 0.18
_CORNER = 4.0
_REACH = 70.0


@dataclass(frozen=True, slots=True)
class Street:
    """Cross-section and plan of the ground.

    Attributes:
        curvature: 1 / m, positive to the left, never zero.
        lanes: driving lanes a direction.
        lane_width: metres.
        parking: width of the parking strip on both sides, 0 for none.
        verge: width of the grass between kerb and pavement.
        pavement: width of the pavement.
        crossings: s of the side streets' centres.
        side_half: half the width of a side street.
    """

    curvature: float
    lanes: int
    lane_width: float
    parking: float
    verge: float
    pavement: float
    crossings: tuple[float, ...]
    side_half: float = 3.6

    @property
    def half_width(self) -> float:
        """Distance from the centre line to the kerb."""
        return self.lanes * self.lane_width + self.parking

    @property
    def frontage(self) -> float:
        """Distance from the kerb to the far edge of the pavement."""
        return self.verge + self.pavement

    def to_world(self, s: float, d: float) -> tuple[float, float, float]:
        """x, y and heading (radians) at street coordinates."""
        heading = self.curvature * s
        x = np.sin(heading) / self.curvature - d * np.sin(heading)
        y = (1 - np.cos(heading)) / self.curvature + d * np.cos(heading)
        return float(x), float(y), float(heading)

    def to_street(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """s and d of world points; the form for d keeps its accuracy as the curvature vanishes."""
        k = self.curvature
        along, across = k * x, 1 - k * y
        d = (2 * y - k * (x * x + y * y)) / (1 + np.sqrt(along * along + across * across))
        return np.arctan2(along, across) / k, d

    def outside(self, s: Floats, d: Floats) -> Floats:
        """Metres outside the roadway, negative on it; street corners are rounded."""
        main = np.abs(d) - self.half_width
        distance = main
        for centre in self.crossings:
            side = np.maximum(np.abs(s - centre) - self.side_half, np.abs(d) - _REACH)
            a, b = np.maximum(_CORNER - main, 0), np.maximum(_CORNER - side, 0)
            corner = (
                _CORNER - np.sqrt(a * a + b * b) + np.maximum(np.minimum(main, side) - _CORNER, 0)
            )
            distance = np.minimum(
                distance, np.minimum(side, np.where((main > 0) & (side > 0), corner, main))
            )
        return distance

    def category(self, outside: Floats, z: Floats) -> NDArray[np.uint8]:
        """Raw category of ground points `outside` metres from the roadway; kerbs, also their faces,
        are pavement."""
        edge = np.where(z > 0.5e-3, np.maximum(outside, 0), -1)
        paved = (edge < _KERB_WIDTH) | ((edge >= self.verge) & (edge < self.frontage))
        return np.where(edge < 0, ROAD, np.where(paved, PAVEMENT, GRASS)).astype(np.uint8)

    def intersect(self, rays: Rays, nearest: Floats) -> Floats:
        """1 / t of the first ground hit where it may beat `nearest`, else 0; needs an origin above
        the kerbs."""
        origin, down = rays.pose[:3, 3], -rays.linear(rays.pose[2, :3])
        top = down / float(origin[2] - KERB)
        found = np.zeros(rays.shape, rays.x.dtype)
        chosen = np.flatnonzero((top > nearest) & (top > 0))
        if len(chosen) == 0:
            return found
        direction = [rays.linear(row).reshape(-1)[chosen] for row in rays.pose[:2, :3]]
        s_top = top.reshape(-1)[chosen]
        s_low = s_top * ((float(origin[2]) - KERB) / float(origin[2]))
        high, low = (self._outside(rays, direction, s) for s in (s_top, s_low))
        s_hit = np.where(high >= 0, s_top, s_low)
        face = np.flatnonzero((high < 0) & (low >= 0))
        s_hit[face] = self._kerb_face(
            rays, [part[face] for part in direction], s_top[face], s_low[face]
        )
        found.reshape(-1)[chosen] = s_hit
        return found

    def _outside(self, rays: Rays, direction: list[Floats], s: Floats) -> Floats:
        x, y = (float(o) + part / s for o, part in zip(rays.pose[:2, 3], direction, strict=True))
        return self.outside(*self.to_street(x, y))

    def _kerb_face(
        self, rays: Rays, direction: list[Floats], s_road: Floats, s_block: Floats
    ) -> Floats:
        """Bisect for where a ray that passes above the roadway runs into the block behind its
        kerb."""
        for _ in range(24):
            middle = (s_road + s_block) / 2
            above_road = self._outside(rays, direction, middle) < 0
            s_road = np.where(above_road, middle, s_road)
            s_block = np.where(above_road, s_block, middle)
        return s_block
