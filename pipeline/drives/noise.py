"""Tileable noise, the grain of every texture."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .raycast import Floats

SIZE = 512
"""Texels along a side of a noise tile."""


@lru_cache(maxsize=1)
def tiles() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(SIZE, SIZE) float32 tiles of zero mean and unit deviation: cloudy, clumps about 7 texels
    wide, and billows."""
    rng = np.random.default_rng(20240229)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    cloudy = 1 / np.maximum(frequency, 2 / SIZE) ** 1.15
    clumps = np.exp(-(((frequency - 1 / 7) / 0.07) ** 2))
    billows = 1 / np.maximum(frequency, 3 / SIZE) ** 1.75
    return _tile(rng, cloudy), _tile(rng, clumps), _tile(rng, billows)


def _tile(rng: np.random.Generator, spectrum: NDArray[np.float64]) -> NDArray[np.float32]:
    white = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
    white[0, 0] = 0
    tile = np.fft.irfft2(white * spectrum, s=(SIZE, SIZE))
    return (tile / tile.std()).astype(np.float32)


def cloudy(u: Floats, v: Floats) -> NDArray[np.float32]:
    """Cloudy noise at texel coordinates (u, v), repeating every `SIZE`."""
    return _at(tiles()[0], u, v)


def clumps(u: Floats, v: Floats) -> NDArray[np.float32]:
    """Clumpy noise at texel coordinates (u, v), repeating every `SIZE`."""
    return _at(tiles()[1], u, v)


def billows(u: Floats, v: Floats) -> NDArray[np.float32]:
    """Smooth billowing noise at texel coordinates (u, v), repeating every `SIZE`."""
    return _at(tiles()[2], u, v)


def _at(tile: NDArray[np.float32], u: Floats, v: Floats) -> NDArray[np.float32]:
    column = np.floor(u).astype(np.int32) & (SIZE - 1)
    row = np.floor(v).astype(np.int32) & (SIZE - 1)
    return tile[row, column]


def scramble(*cells: Floats) -> Floats:
    """A number in [0, 1) for each combination of up to three whole-numbered cells, (n,) each: the
    same for the same cells."""
    mixture = sum(
        np.sin(cell * factor)
        for cell, factor in zip(cells, (12.9898, 78.233, 37.719), strict=False)
    )
    value = np.abs(mixture) * 43758.5453
    return value - np.floor(value)
