"""A small sweep with everything that a corruption looks at."""

from collections.abc import Callable

import numpy as np
import pytest

from clever.pipeline.corruptions.sweep import Sweep


@pytest.fixture
def make_sweep() -> Callable[..., Sweep]:
    """Points all around a sensor 1.8 m above level ground: rings from below, ground at the lower
    ones, things of two classes of vehicles at the others."""

    def make(azimuths: int = 40, rings: int = 32, seed: int = 0) -> Sweep:
        draw = np.random.default_rng(seed)
        azimuth = np.tile(np.linspace(0, 2 * np.pi, azimuths, endpoint=False), (rings, 1))
        elevation = np.radians(np.linspace(-30, 10, rings))[:, None] + 0 * azimuth
        flat = 1.8 / np.tan(np.radians(np.linspace(30, 3, rings)))
        distance = np.where(elevation < -0.05, 1.8 / np.sin(np.maximum(-elevation, 0.05)), 20.0)
        distance = np.minimum(distance, flat.max()) * draw.uniform(0.98, 1.02, distance.shape)
        xyz = np.stack(
            [
                distance * np.cos(elevation) * np.cos(azimuth),
                distance * np.cos(elevation) * np.sin(azimuth),
                distance * np.sin(elevation),
            ],
            -1,
        ).reshape(-1, 3)
        intensity = draw.uniform(0.02, 0.6, (len(xyz), 1))
        points = np.concatenate([xyz, intensity], 1).astype(np.float32)
        ring = np.repeat(np.arange(rings), azimuths)
        ground = ring < rings // 2
        vehicle = np.full(len(points), -1, np.int16)
        others = np.flatnonzero(~ground)
        vehicle[others[: len(others) // 2]] = 3
        vehicle[others[-FEW:]] = 7
        return Sweep(points, ring, ground, vehicle)

    return make


FEW = 10
"""Points of the class of vehicles that is too small to be touched."""
