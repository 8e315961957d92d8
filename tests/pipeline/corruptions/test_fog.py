"""Fog against the integral by another method, and point by point."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from clever.pipeline.corruptions.fog import crossover, fog, fog_table
from clever.pipeline.corruptions.sweep import Sweep

ALPHAS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.06)
LIGHT_SPEED, PULSE_WIDTH, BETA_0 = 299_792_458.0, 20e-9, 1e-6 / np.pi


def response(distance: float, alpha: float) -> float:
    """The fog's echo at a distance, by adaptive quadrature."""

    def part(time: float) -> float:
        r = distance - LIGHT_SPEED * time / 2
        seen = min(max((r - 0.9) / 0.1, 0), 1)
        if not seen:
            return 0.0
        pulse = np.sin(np.pi * time / (2 * PULSE_WIDTH)) ** 2
        return pulse * np.exp(-2 * alpha * r) * seen / r**2

    # The crossover has its corners where r is 0.9 and 1.
    corners = [2 * (distance - r) / LIGHT_SPEED for r in (1.0, 0.9)]
    inside = [time for time in corners if 0 < time < 2 * PULSE_WIDTH]
    return quad(part, 0, 2 * PULSE_WIDTH, points=inside or None, limit=200, epsabs=1e-16)[0]


def test_the_receiver_sees_nothing_before_90_cm_and_all_from_1_m() -> None:
    seen = crossover(np.array([0.0, 0.9, 0.92, 0.95, 1.0, 50.0]))
    np.testing.assert_allclose(seen, [0, 0, 0.2, 0.5, 1, 1], atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.06])
def test_table_holds_the_strongest_echo_before_a_surface(alpha: float) -> None:
    where, strength = fog_table(alpha)
    assert where.shape == strength.shape == (2001,)
    grid = np.linspace(0, 200, 2000)
    for entry in (5, 13, 25, 38, 60, 2000):
        before = grid[grid <= entry / 10 + 1e-9]
        near = before[before < 12]  # the echo falls off from about 4 m on
        values = np.array([response(r, alpha) for r in near])
        best = int(values.argmax())
        assert strength[entry] == pytest.approx(values[best], rel=1e-3, abs=1e-14)
        if values[best] > 0:
            assert where[entry] == pytest.approx(near[best], abs=0.11)
    assert (np.diff(strength) >= 0).all()
    assert (where <= np.arange(2001) / 10 + 1e-9).all()
    assert where[60:].max() == where[60:].min()


def point_sweep(distances: list[float], intensity: list[float]) -> Sweep:
    """Points along x."""
    points = np.zeros((len(distances), 4), np.float32)
    points[:, 0], points[:, 3] = distances, intensity
    none = np.zeros(len(points), np.int16)
    return Sweep(points, none, none.astype(bool), none - 1)


class Fixed:
    """Draws an attenuation, and the divisor at a share of its range."""

    def __init__(self, alpha: float, share: float) -> None:
        self.alpha, self.share = alpha, share

    def choice(self, values: tuple[float, ...]) -> float:
        assert values == ALPHAS
        return self.alpha

    def uniform(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return low + self.share * (high - low)


@pytest.mark.parametrize("alpha", [0.0, 0.06])
@pytest.mark.parametrize("beta", [0.008, 0.2])
def test_every_point_is_the_stronger_of_surface_and_fog(alpha: float, beta: float) -> None:
    distances = [0.5, 2.0, 7.04, 18.0, 33.3, 80.0, 260.0]
    shares = [0.9, 0.02, 0.1, 0.5, 0.04, 1.0, 0.3]
    sweep = point_sweep(distances, shares)
    result = fog(sweep, Fixed(alpha, 0.75), beta=beta)  # type: ignore[arg-type]
    where, strength = fog_table(alpha)
    scattered = 0
    for row, (distance, share) in enumerate(zip(distances, shares, strict=True)):
        clean = 255 * float(np.float32(share))
        surface = round(float(np.exp(-2 * alpha * distance) * clean))
        entry = min(round(10 * round(distance, 1)), 2000)
        echo = strength[entry] * clean * distance**2 * beta / BETA_0
        if echo > surface:
            # R / U with U at three quarters between R - 10 and R + 10.
            place = distance * (where[entry] / distance) * (distance / (distance + 5))
            scattered += 1
        else:
            place, echo = distance, surface
        assert result.inserted[row] == (place != distance)
        assert result.points[row, 0] == pytest.approx(place, rel=1e-5)
        assert 255 * result.points[row, 3] == pytest.approx(echo, rel=1e-4, abs=1e-4)
    assert 0 < scattered < len(distances) or beta == 0.008
    np.testing.assert_array_equal(result.pulse, np.arange(len(sweep)))


def test_noise_can_throw_an_echo_behind_the_sensor() -> None:
    result = fog(point_sweep([6.0], [0.5]), Fixed(0.0, 0.1), beta=5.0)  # type: ignore[arg-type]
    where, _ = fog_table(0.0)
    assert result.inserted.all()
    assert result.points[0, 0] == pytest.approx(6.0 * where[60] / (6.0 - 8.0), rel=1e-5)


def test_attenuation_is_drawn_of_six_for_a_sweep(make_sweep: Callable[..., Sweep]) -> None:
    sweep = point_sweep([50.0], [1.0])
    brightness = {
        round(float(fog(sweep, np.random.default_rng(seed), beta=0.0).points[0, 3] * 255))
        for seed in range(200)
    }
    assert brightness == {round(255 * float(np.exp(-100 * alpha))) for alpha in ALPHAS}
    more = [
        fog(make_sweep(200), np.random.default_rng(0), beta=beta).inserted.mean()
        for beta in (0.008, 0.05, 0.2)
    ]
    assert more[0] < more[1] < more[2]
