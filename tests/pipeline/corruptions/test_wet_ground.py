"""Wet ground and what dry ground tells of a sensor, against closed forms."""

from collections.abc import Callable

import numpy as np
import pytest

from clever.pipeline.corruptions.ground_echoes import GroundEchoes
from clever.pipeline.corruptions.ground_plane import ground_plane
from clever.pipeline.corruptions.sweep import Sweep
from clever.pipeline.corruptions.wet_ground import reflectances, through_film, wet_ground

AIR, WATER = 1.0003, 1.33


def test_fresnel_at_three_angles() -> None:
    upright = ((AIR - WATER) / (AIR + WATER)) ** 2
    brewster = np.arctan(WATER / AIR)
    across, along = reflectances(np.array([0.0, brewster, np.pi / 2 - 1e-7]))
    assert across[0] == pytest.approx(upright)
    assert along[0] == pytest.approx(upright)
    assert along[1] == pytest.approx(0, abs=1e-12)
    assert across[1] > upright
    assert (across[2], along[2]) == pytest.approx((1, 1), abs=1e-5)


def test_power_through_a_film_is_a_geometric_series() -> None:
    angle, ground = np.array([0.0, 0.7, 1.4]), np.array([0.05, 0.4, 1.0])
    expected = []
    for mirrored in reflectances(angle):
        total = np.zeros(3)
        for bounces in range(400):
            total += (1 - mirrored) ** 2 * ground * (ground * mirrored) ** bounces
        expected.append(total)
    np.testing.assert_allclose(through_film(angle, ground), np.maximum(*expected), rtol=1e-9)
    assert through_film(np.array([0.3]), np.array([0.5])) < 0.5


def ground_sweep(count: int = 3000, seed: int = 0, slope: float = 0.2) -> Sweep:
    """Points on level ground 2 m below the sensor whose I / cos a is a line over the distance, with
    a spread, and 50 points above it."""
    draw = np.random.default_rng(seed)
    flat = draw.uniform(4, 60, count)
    turn = draw.uniform(0, 2 * np.pi, count)
    distance = np.hypot(flat, 2)
    normal = (40 + slope * distance) * draw.uniform(0.5, 1.5, count)
    points = np.zeros((count + 50, 4), np.float32)
    points[:count, 0], points[:count, 1] = flat * np.cos(turn), flat * np.sin(turn)
    points[:count, 2], points[:count, 3] = -2, normal * 2 / distance / 255
    points[count:] = [5, 1, 1, 0.3]
    ground = np.arange(len(points)) < count
    none = np.zeros(len(points), np.int16)
    return Sweep(points, none, ground, none - 1)


def test_power_and_threshold_are_lines_through_the_echoes() -> None:
    sweep = ground_sweep(60_000)
    echoes = GroundEchoes.of(sweep.points[sweep.ground], 255.0)
    np.testing.assert_allclose(echoes.cosine, 2 / echoes.distance, rtol=1e-5)
    line = 40 + 0.2 * echoes.distance
    np.testing.assert_allclose(echoes.sent(), 15 * line, rtol=0.02)
    np.testing.assert_allclose(echoes.threshold(1.0), 0.5 * line, rtol=0.03)
    np.testing.assert_allclose(echoes.threshold(0.3), 0.3 * echoes.threshold(1.0))


def test_threshold_is_a_line_through_the_middles_of_bins() -> None:
    place = np.arange(20)
    distance = 10.1 + 1.2 * place  # next to the lower end of each of 20 bins of 1.2 m
    normal = 20 + 2.0 * place**1.5
    brighter = np.column_stack([normal, normal + 3, normal + 40]).ravel()
    echoes = GroundEchoes(np.repeat(distance, 3), np.full(60, 0.5), brighter / 2)
    width = brighter.max() / 2555
    lowest = np.floor(normal / width) * width
    slope, level = np.polyfit(10.6 + 1.2 * place, lowest, 1)
    expected = 0.4 * (slope * echoes.distance + level)
    np.testing.assert_allclose(echoes.threshold(0.4), expected, rtol=1e-9)


def test_threshold_of_few_bins_is_the_line_of_all_echoes() -> None:
    draw = np.random.default_rng(0)
    distance = draw.uniform(12.5, 15.9, 500)  # three bins of 1.2 m
    echoes = GroundEchoes(distance, np.full(500, 0.2), 4 + distance)
    np.testing.assert_allclose(echoes.threshold(0.5), 0.5 * 5 * (4 + distance))
    near = GroundEchoes(draw.uniform(1, 9, 500), np.full(500, 0.5), np.full(500, 8.0))
    np.testing.assert_allclose(near.threshold(1.0), 16.0)
    dark = GroundEchoes(draw.uniform(10, 70, 500), np.full(500, 0.5), np.full(500, 2.4))
    dark.intensity[0] = 200.0
    np.testing.assert_allclose(dark.threshold(1.0), dark.sent() / 15)


def test_ground_above_the_sensor_counts_as_the_flattest() -> None:
    points = np.array([[3.0, 0, -4, 1], [10, 0, -1, 1], [10, 0, 1, 1], [0, 0, 0, 1]])
    echoes = GroundEchoes.of(points, 255.0)
    flattest = 1 / np.sqrt(101)
    np.testing.assert_allclose(echoes.cosine, [0.8, flattest, flattest, flattest])
    np.testing.assert_allclose(echoes.intensity, 255)
    assert GroundEchoes.of(points[2:3], 255.0).cosine.tolist() == [1.0]


@pytest.mark.parametrize(("water", "covered"), [(0.2, 1 / 6), (1.0, 5 / 6), (1.2, 1), (3.0, 1)])
def test_wet_echoes_by_the_formula(water: float, covered: float) -> None:
    sweep = ground_sweep()
    sweep.points[:3, 3] *= 40  # reflectors, brighter than what is thought to be sent
    result = wet_ground(sweep, np.random.default_rng(0), water=water, noise_floor=0.0)
    rows = np.flatnonzero(sweep.ground)
    distance = np.linalg.norm(sweep.points[rows, :3].astype(float), axis=1)
    cosine, clean = 2 / distance, 255 * sweep.points[rows, 3].astype(float)
    slope, level = np.polyfit(distance, clean / cosine, 1)
    sent = 15 * (slope * distance + level)
    dry = clean / cosine / sent
    assert (dry > 1).sum() == 3
    assert (dry < 0.05).sum() > 100
    angle = np.arccos(cosine)
    film = through_film(angle, np.clip(dry, 0.05, 1))
    expected = sent * cosine * ((1 - covered) * dry + covered * film / angle)
    expected = np.minimum(expected, clean)
    # Points off the ground come first, as they were.
    np.testing.assert_array_equal(result.points[:50], sweep.points[3000:])
    np.testing.assert_array_equal(result.pulse, [*range(3000, 3050), *range(3000)])
    np.testing.assert_allclose(255 * result.points[50:, 3], expected, rtol=1e-4)
    np.testing.assert_array_equal(result.points[50:, :3], sweep.points[:3000, :3])
    assert not result.inserted.any()
    assert (expected < clean - 0.01).mean() > 0.3


def test_echoes_below_the_threshold_are_removed() -> None:
    sweep = ground_sweep()
    all_wet = wet_ground(sweep, np.random.default_rng(0), water=1.2, noise_floor=0.0)
    result = wet_ground(sweep, np.random.default_rng(0), water=1.2, noise_floor=0.7)
    echoes = GroundEchoes.of(sweep.points[sweep.ground], 255.0)
    weakest = echoes.threshold(0.7) * echoes.cosine
    reported = 255 * all_wet.points[50:, 3].astype(float) > weakest
    assert 0.02 < 1 - reported.mean() < 0.98
    np.testing.assert_array_equal(result.pulse[50:], np.flatnonzero(reported))


def test_little_ground_stays_dry() -> None:
    for count, same in ((999, True), (1000, False)):
        sweep = ground_sweep(count)
        result = wet_ground(sweep, np.random.default_rng(0), water=1.2, noise_floor=0.0)
        assert np.array_equal(result.points, sweep.points) is same


def test_dark_ground_divides_by_nothing() -> None:
    sweep = ground_sweep()
    sweep.points[:, 3] = 0
    result = wet_ground(sweep, np.random.default_rng(0), water=1.2, noise_floor=0.7)
    assert np.isfinite(result.points).all()


def test_ground_of_a_plane(make_sweep: Callable[..., Sweep]) -> None:
    draw = np.random.default_rng(0)
    flat = np.column_stack([draw.uniform(-30, 30, (4000, 2)), np.zeros(4000)])
    flat[:, 2] = -1.8 + 0.05 * flat[:, 0] + draw.normal(0, 0.03, 4000)  # a slope of 5 %
    wall = np.column_stack(
        [np.full(2000, 12.0), draw.uniform(-9, 9, 2000), draw.uniform(0, 5, 2000)]
    )
    points = np.concatenate([flat, wall])
    ground = ground_plane(points, np.random.default_rng(1))
    assert ground[:4000].all()
    assert not ground[4000:].any()
    again = ground_plane(points, np.random.default_rng(1))
    np.testing.assert_array_equal(ground, again)
    for none in (points[4000:], points[:2], points[:0]):
        assert not ground_plane(none, np.random.default_rng(1)).any()
    line = np.column_stack([np.linspace(3, 20, 50), np.zeros(50), np.full(50, -1.8)])
    assert not ground_plane(line, np.random.default_rng(1)).any()


def test_planes_that_are_no_ground_have_no_say() -> None:
    draw = np.random.default_rng(0)

    def plane(count: int, low: float, high: float, height: float, slope: float = 0) -> np.ndarray:
        turn, reach = draw.uniform(0, 2 * np.pi, count), draw.uniform(low, high, count)
        x, y = reach * np.cos(turn), reach * np.sin(turn)
        return np.column_stack([x, y, height + slope * x])

    ground = plane(600, 5, 35, -1.8)
    larger = {
        "above the sensor": plane(3000, 5, 35, 2.0),
        "on the car": plane(3000, 0.1, 1.9, -0.5),
        "far away": plane(3000, 41, 60, -6.0),
        "a bank of 30 degrees": plane(1200, 5, 10, -9.0, np.tan(np.pi / 6)),
    }
    for name, other in larger.items():
        part = ground_plane(np.concatenate([ground, other]), np.random.default_rng(0))
        assert part[:600].all(), name
        assert part[600:].mean() < 0.2, name
    # What belongs to the ground lies within 0.3 m of it.
    beside = np.array([[9.0, 9, -1.8 + step] for step in (-0.4, -0.2, 0.2, 0.4)])
    part = ground_plane(np.concatenate([ground, beside]), np.random.default_rng(0))
    assert part[600:].tolist() == [False, True, True, False]
    # Points at the sensor's height are not below it.
    level = plane(400, 5, 35, 0.0)
    assert not ground_plane(level, np.random.default_rng(0)).any()
