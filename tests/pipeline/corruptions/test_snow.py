"""Flakes and their echoes against rays, loops and closed forms."""

from collections.abc import Callable

import numpy as np
import pytest

from clever.pipeline.corruptions.flakes import (
    Flakes,
    draw_flakes,
    first_shares,
    hits,
    mean_diameter,
    occupancy,
    rain_rate,
)
from clever.pipeline.corruptions.registry import corrupt, dose_of
from clever.pipeline.corruptions.snow import focus, snow, strongest_echo
from clever.pipeline.corruptions.sweep import Sweep

DIVERGENCE, LARGEST, REACH = 3e-3, 0.02, 80.0
"""Of a beam in radians; diameter of a flake, and of the disc that holds them, metres."""
PULSE = 2.99792458
"""Metres."""


@pytest.mark.parametrize(
    ("rate", "velocity", "rain", "share"),
    [(0.5, 2.0, 2.2384, 6.94e-7), (1.0, 1.6, 8.848, 1.736e-6), (2.5, 1.6, 34.975, 4.34e-6)],
)
def test_rates_are_those_of_the_published_files(
    rate: float, velocity: float, rain: float, share: float
) -> None:
    assert rain_rate(rate, velocity) == pytest.approx(rain, rel=1e-4)
    assert occupancy(rate, velocity) == pytest.approx(share, rel=1e-3)
    assert mean_diameter(rate, velocity) == pytest.approx(0.01 / 25.5 * rain**0.48, rel=1e-3)


def test_flakes_cover_their_share_evenly() -> None:
    flakes = draw_flakes(np.random.default_rng(0), 2.5, 1.6)
    radius = flakes.distance * np.sin(flakes.half_width)
    area = np.pi * (radius**2).sum()
    assert area == pytest.approx(occupancy(2.5, 1.6) * np.pi * REACH**2, rel=1e-3)
    assert radius.max() < LARGEST / 2
    assert (np.diff(flakes.angle) >= 0).all()
    assert flakes.angle.min() >= 0
    assert flakes.angle.max() < 2 * np.pi
    # Even in the plane: a quarter lies within half the reach, and in each quarter turn.
    assert (flakes.distance < REACH / 2).mean() == pytest.approx(0.25, abs=0.01)
    assert (flakes.angle < np.pi / 2).mean() == pytest.approx(0.25, abs=0.01)
    # A ball of diameter d is cut in a disc of r^2 = d^2 / 6 in the mean, with E[d^2] = 2 scale^2.
    scale = mean_diameter(2.5, 1.6)
    assert (radius**2).mean() == pytest.approx(scale**2 / 3, rel=0.05)


def test_large_flakes_are_drawn_again() -> None:
    flakes = draw_flakes(np.random.default_rng(0), 60.0, 1.6)
    radius = flakes.distance * np.sin(flakes.half_width)
    assert mean_diameter(60.0, 1.6) > 0.015
    assert 0.009 < radius.max() <= LARGEST / 2


def by_rays(flakes: Flakes, azimuth: float, surface: float, rays: int = 4001) -> dict[int, float]:
    """Share of a beam whose rays meet each flake first; -1: the surface."""
    middle = (np.arange(rays) + 0.5) / rays - 0.5
    shares: dict[int, float] = {}
    order = np.argsort(flakes.distance)
    for angle in azimuth + middle * DIVERGENCE:
        first = -1
        for flake in order:
            offset = (flakes.angle[flake] - angle + np.pi) % (2 * np.pi) - np.pi
            if abs(offset) < flakes.half_width[flake] and flakes.distance[flake] < surface:
                first = int(flake)
                break
        shares[first] = shares.get(first, 0) + 1 / rays
    return shares


def test_hidden_shares_are_those_of_single_rays() -> None:
    draw = np.random.default_rng(3)
    near = 0.002 * draw.uniform(-1, 1, 14) % (2 * np.pi)
    angle = np.sort(np.concatenate([near, [3.0, 3.0005]]))
    count = len(angle)
    flakes = Flakes(angle, draw.uniform(2, 40, count), draw.uniform(0.00005, 0.0009, count))
    wide = flakes.half_width.copy()
    wide[4] = 0.02
    flakes = Flakes(flakes.angle, flakes.distance, wide)
    azimuth = np.array([0.0, 2 * np.pi - 0.0015, 0.001, 3.0, 1.0, 0.0])
    surface = np.array([60.0, 25.0, 8.0, 60.0, 60.0, 1.0])
    result = hits(flakes, azimuth, surface)
    for beam in range(len(azimuth)):
        expected = by_rays(flakes, azimuth[beam], surface[beam])
        own = result.beam == beam
        assert result.free[beam] == pytest.approx(expected.pop(-1, 0.0), abs=1e-3)
        ours = dict(zip(result.distance[own].tolist(), result.share[own].tolist(), strict=True))
        theirs = {float(flakes.distance[flake]): share for flake, share in expected.items()}
        for distance in ours.keys() | theirs.keys():
            assert ours.get(distance, 0) == pytest.approx(theirs.get(distance, 0), abs=1e-3)
        assert (np.diff(result.distance[own]) >= 0).all()
    assert (result.free[4], result.free[5]) == (1, 1)
    assert len(hits(flakes, azimuth[4:], surface[4:]).beam) == 0


def test_later_intervals_get_what_is_free() -> None:
    beam = np.array([0, 0, 0, 0, 1, 1])
    low = np.array([0.2, 0.0, 0.1, 0.5, 0.0, 0.5])
    high = np.array([0.4, 0.3, 0.9, 0.6, 0.5, 1.0])
    shares = first_shares(beam, low, high)
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.5, 0.0, 0.5, 0.5], atol=1e-12)
    assert len(first_shares(beam[:0], low[:0], high[:0])) == 0


def test_strongest_echo_is_that_of_loops() -> None:
    draw = np.random.default_rng(1)
    angle = np.sort(draw.uniform(0, 0.01, 40))
    flakes = Flakes(angle, draw.uniform(0.85, 12, 40), draw.uniform(0.0001, 0.0006, 40))
    azimuth, surface = np.array([0.002, 0.005, 0.008, 4.0]), np.array([11.0, 3.0, 9.0, 20.0])
    intensity = np.array([0.4, 30.0, 0.0, 12.0])
    flake_hits = hits(flakes, azimuth, surface)
    power, place = strongest_echo(flake_hits, surface, intensity)
    for beam in range(4):
        echoes = [(surface[beam], intensity[beam] * flake_hits.free[beam])]
        for own in np.flatnonzero(flake_hits.beam == beam):
            r = flake_hits.distance[own]
            seen = min(max((r - 0.9) / 0.1, 0), 1)
            echoes.append((r, 0.9 * 255 * flake_hits.share[own] * seen / r**2))
        best = (0.0, 0.0)
        for cell in range(1230):
            total = 0.0
            for r, strength in echoes:
                if r <= cell / 10 <= r + PULSE:
                    total += strength * np.sin(np.pi * (cell / 10 - r) / PULSE) ** 2
            best = max(best, (total, -cell / 10))
        assert power[beam] == pytest.approx(best[0], rel=1e-6)
        assert place[beam] == pytest.approx(-best[1] - PULSE / 2, abs=1e-6)
    assert (flake_hits.beam == 0).sum() > 2


def test_out_of_focus_is_brighter() -> None:
    distance = np.array([0.0, 14.5, 30.0, 120.0])
    offset = (1 - 14.5 / 131) ** 2
    expected = 255 * 1.35 * np.abs(offset - np.array([1, (1 - 14.5 / 120) ** 2, 0.5625, 0]))
    np.testing.assert_allclose(focus(distance, 14.5, 1.35), expected)
    assert not focus(distance, 14.5, 0.0).any()


def test_snow_moves_points_to_flakes_and_removes_weak_ones(
    make_sweep: Callable[..., Sweep],
) -> None:
    sweep = make_sweep(azimuths=300)
    result = corrupt(sweep, dose_of("snow", "heavy", "nuscenes"), seed=0, frame="a")
    before, after = (
        np.linalg.norm(points[:, :3].astype(float), axis=1)
        for points in (sweep.points[result.pulse], result.points)
    )
    moved = result.inserted
    assert 0.02 < moved.mean() < 0.6
    assert (after[moved] <= before[moved] + 0.25).all()
    assert (np.abs(after - before)[moved] >= 0.2 - 1e-4).all()
    np.testing.assert_array_equal(result.points[~moved, :3], sweep.points[result.pulse[~moved], :3])
    # Along the ray: directions stay.
    rays = result.points[moved, :3] / after[moved, None]
    np.testing.assert_allclose(
        rays, sweep.points[result.pulse[moved], :3] / before[moved, None], atol=1e-5
    )
    # Intensities of beams that met a flake are whole numbers of [0, 255].
    levels = 255 * result.points[moved, 3]
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert levels.min() >= 0
    assert levels.max() <= 255


def test_a_sensor_without_correction_sees_fewer_flakes(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(azimuths=300)
    shares = [
        snow(
            sweep,
            np.random.default_rng(0),
            rate=0.5,
            velocity=2.0,
            focal_distance=14.5,
            focal_slope=slope,
        ).inserted.mean()
        for slope in (0.0, 1.35)
    ]
    assert shares[0] < shares[1] / 2


def test_without_ground_nothing_is_removed(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep()
    bare = Sweep(sweep.points, sweep.ring, np.zeros(len(sweep), np.bool_), sweep.vehicle)
    result = corrupt(bare, dose_of("snow", "light", "nuscenes"), seed=0, frame="a")
    assert len(result) == len(sweep)


def test_beams_of_points_next_to_the_sensor_stay() -> None:
    points = np.zeros((400, 4), np.float32)
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    points[:, 0], points[:, 1], points[:, 3] = 0.5 * np.cos(turn), 0.5 * np.sin(turn), 0.4
    none = np.zeros(400, np.int16)
    sweep = Sweep(points, none, none.astype(bool), none - 1)
    result = snow(
        sweep,
        np.random.default_rng(0),
        rate=40.0,
        velocity=0.1,
        focal_distance=14.5,
        focal_slope=1.35,
    )
    np.testing.assert_allclose(result.points, points, rtol=1e-6)
    assert not result.inserted.any()
