"""Edges of a camera image as two fields: how sharply brightness changes across and down."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter, zoom

WIDTH = 960
"""Pixels to which wider images are reduced."""
FINEST, SPREAD = 1.0, 2.5
"""Standard deviations in reduced pixels: of the smoothing before the derivative, and of the halo
around an edge in which a point still counts as near it."""
SURROUNDINGS = 25
"""The strength of an edge is relative to the mean within the width divided by this, around it."""
FLOOR = 0.3
"""Root of grey values a pixel that is added to that mean: noise of an even wall is no edge."""


@dataclass(frozen=True, slots=True)
class ImageEdges:
    """Edge strength of an image, relative to its surroundings; the mean of a field is 1.

    Attributes:
        fields: (h, w, 2) float32: of edges crossed by going across, and by going down.
        scale: pixels of the fields in one of the image.
    """

    fields: NDArray[np.float32]
    scale: float
    _framed: NDArray[np.complex64] = field(init=False, repr=False)
    """(h + 2, w + 2) both fields as one number, in a frame of chance: one look-up a place."""

    def __post_init__(self) -> None:
        height, width, _ = self.fields.shape
        framed = np.ones((height + 2, width + 2, 2), np.float32)
        framed[1:-1, 1:-1] = self.fields
        object.__setattr__(self, "fields", framed[1:-1, 1:-1])
        object.__setattr__(self, "_framed", framed.view(np.complex64)[..., 0])

    def at(self, uv: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., E) float64 edge strength at pixels, 1 outside the image: as good as chance.

        Args:
            uv: (..., E, 2) continuous pixels of the image.
            direction: (E, 2) unit vectors in the image, across the edge that is expected.
        """
        height, width = self._framed.shape
        # Pixel centres lie at integers in both. The frame stands for all that lies outside, or
        # nowhere.
        x, y = (uv[..., 0] + 0.5) * self.scale, (uv[..., 1] + 0.5) * self.scale
        for place, end in ((x, width - 1), (y, height - 1)):
            place += 1
            np.fmax(np.fmin(place, end, out=place), 0, out=place)
        index = y.astype(np.int32)
        index *= width
        index += x.astype(np.int32)
        strength, across = self._framed.reshape(-1).take(index), direction[:, 0] ** 2
        return strength.real * across + strength.imag * (1 - across)


def image_edges(image: NDArray[np.uint8]) -> ImageEdges:
    """Edges of an image (H, W, 3) uint8."""
    grey = image.astype(np.float32).mean(2)
    scale = min(1.0, WIDTH / grey.shape[1])
    if scale < 1:
        size = np.round(np.array(grey.shape) * scale)
        smooth = gaussian_filter(grey, 0.5 / scale, truncate=2.0)
        grey = zoom(smooth, size / grey.shape, order=1, grid_mode=True, mode="nearest")
    # How brightness changes along columns and along rows.
    changes = [
        gaussian_filter1d(
            gaussian_filter1d(grey, FINEST, axis=axis, order=1), FINEST, axis=1 - axis
        )
        for axis in (1, 0)
    ]
    return ImageEdges(np.stack([_relative(change) for change in changes], 2), scale)


def _relative(derivative: NDArray[np.floating]) -> NDArray[np.float32]:
    """Strength of the edges of a derivative (h, w) relative to their surroundings, mean 1."""
    # The root: a strong edge shall not outweigh ten weak ones.
    strength = gaussian_filter(np.sqrt(np.abs(derivative)), SPREAD, truncate=3.0)
    window = 2 * (derivative.shape[1] // SURROUNDINGS) + 1  # odd: it has a middle
    relative = strength / (uniform_filter(uniform_filter(strength, window), window) + FLOOR)
    mean = float(relative.mean())
    # An image without any edge says nothing: 1 everywhere.
    return (relative / mean if mean > 0 else np.ones_like(relative)).astype(np.float32)
