"""Lens distortion: from directions of an ideal pinhole camera to those that the image shows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

LensModel = Literal["radial-tangential", "fisheye"]
_COUNTS: dict[LensModel, tuple[int, ...]] = {"radial-tangential": (4, 5, 8), "fisheye": (4,)}
_ASIDE = 1e-12
"""Directions closer to the axis than this have no angle around it."""


@dataclass(frozen=True, slots=True)
class Lens:
    """Distortion of a lens, by OpenCV's two models and in OpenCV's order.

    Attributes:
        model: ``radial-tangential`` (k1 k2 p1 p2, k3, k4 k5 k6; Brown-Conrady, rational with k4 to
            k6) or ``fisheye`` (k1 k2 k3 k4; Kannala-Brandt).
        coefficients: 4, 5 or 8 numbers of the first model, 4 of the second.
    """

    model: LensModel
    coefficients: tuple[float, ...]

    def fault(self) -> str:
        """Why this cannot be a lens; empty where it can."""
        if self.model not in _COUNTS:
            return f"its lens model {self.model!r} is none of {', '.join(_COUNTS)}"
        counts = _COUNTS[self.model]
        if len(self.coefficients) not in counts:
            expected = " or ".join(map(str, counts))
            return (
                f"its {self.model} lens has {len(self.coefficients)} coefficients, not {expected}"
            )
        if not np.isfinite(self.coefficients).all():
            return "its lens has coefficients that are not finite"
        return ""

    def limit(self) -> float:
        """Largest distance from the axis at which the model still spreads outwards.

        Beyond it the polynomial bends back and would put points far outside the field of view into
        the image. In units of x / z for ``radial-tangential``, radians for ``fisheye``; infinite
        where it never bends back.
        """
        s = Polynomial([0.0, 1.0])  # the squared distance
        if self.model == "fisheye":
            k = self.coefficients
            # The derivative of a (1 + k1 s + k2 s^2 + k3 s^3 + k4 s^4) by the angle a, s = a^2.
            slope = 1 + 3 * k[0] * s + 5 * k[1] * s**2 + 7 * k[2] * s**3 + 9 * k[3] * s**4
            return _first_root(slope)
        above, below = self._radial()
        # The derivative of r above(s) / below(s) by r, times below^2, with s = r^2.
        slope = (above + 2 * s * above.deriv()) * below - 2 * s * above * below.deriv()
        return min(_first_root(slope), _first_root(below))

    def distort(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the image shows points.

        Args:
            directions: (N, 3) float64 points in the camera frame (x right, y down, z forward), any
                length.

        Returns:
            (N, 2) float64 coordinates in an image of focal length 1, NaN beyond `limit` and, for
            ``radial-tangential``, behind the camera.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.model == "fisheye":
                return self._fisheye(directions)
            return self._radial_tangential(directions)

    def _fisheye(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        aside = np.hypot(directions[:, 0], directions[:, 1])
        angle = np.arctan2(aside, directions[:, 2])
        powers = Polynomial([1.0, *self.coefficients])(angle**2)
        # Length of the distorted angle, along the direction across the axis.
        scale = np.where(aside > _ASIDE, angle * powers / np.maximum(aside, _ASIDE), 0.0)
        scale[angle > self.limit()] = np.nan
        return directions[:, :2] * scale[:, None]

    def _radial_tangential(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = (directions[:, :2] / directions[:, 2:]).T
        squared = x * x + y * y
        above, below = self._radial()
        radial = above(squared) / below(squared)
        p1, p2 = self.coefficients[2:4]
        result = np.column_stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
                y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
            ]
        )
        result[~((directions[:, 2] > 0) & (squared <= self.limit() ** 2))] = np.nan
        return result

    def _radial(self) -> tuple[Polynomial, Polynomial]:
        """Numerator and denominator of the radial factor, in the squared distance."""
        k1, k2, _, _, k3, k4, k5, k6 = (*self.coefficients, *[0.0] * 4)[:8]
        return Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])


def _first_root(polynomial: Polynomial) -> float:
    """Square root of the smallest positive real root; infinite where there is none."""
    roots = polynomial.trim().roots()
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.maximum(np.abs(roots), 1)) & (roots.real > 0)]
    return float(np.sqrt(real.min())) if real.size else np.inf
