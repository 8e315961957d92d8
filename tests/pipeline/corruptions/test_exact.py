"""The five corruptions that are published step by step: counts, shares and moments."""

from collections.abc import Callable

import numpy as np
import pytest

from clever.errors import CleverError
from clever.pipeline.corruptions.cross_sensor import lost_rings
from clever.pipeline.corruptions.registry import (
    CORRUPTIONS,
    LASERS,
    SEVERITIES,
    corrupt,
    dose_of,
    stream,
)
from clever.pipeline.corruptions.sweep import GROUND, Sweep, vehicle_classes
from clever.pipeline.datasets import IGNORE
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset

Make = Callable[..., Sweep]


@pytest.mark.parametrize(("sigma", "count"), [(0.2, 400), (0.3, 100)])
def test_motion_blur_has_one_shift_a_sweep_and_a_small_jitter_a_point(
    make_sweep: Make, sigma: float, count: int
) -> None:
    sweep, shifts = make_sweep(), []
    dose = dose_of("motion_blur", "light", "nuscenes", {"motion_blur.sigma": (sigma, sigma, sigma)})
    for number in range(count):
        result = corrupt(sweep, dose, seed=0, frame=str(number))
        offset = (result.points[:, :3] - sweep.points[:, :3]).astype(np.float64)
        shifts.append(offset.mean(0))
        if number == 0:
            np.testing.assert_allclose(offset.std(0), sigma * np.array([0.1, 0.1, 0.05]), rtol=0.08)
            np.testing.assert_array_equal(result.points[:, 3], sweep.points[:, 3])
            np.testing.assert_array_equal(result.source, np.arange(len(sweep)))
    error = sigma / np.sqrt(count)
    np.testing.assert_allclose(np.mean(shifts, 0), 0, atol=4 * error)
    np.testing.assert_allclose(np.std(shifts, 0), sigma, atol=3 * error)


@pytest.mark.parametrize("side", [1, -1])
def test_motion_blur_clips_its_jitter_at_three_sigma(make_sweep: Make, side: int) -> None:
    class Far:
        """Draws fifty deviations every time."""

        def normal(self, mean: float, sigma: float, shape: int | tuple[int, ...]) -> np.ndarray:
            return np.full(shape, mean + side * 50.0 if isinstance(shape, tuple) else mean)

    sweep = make_sweep()
    result = CORRUPTIONS["motion_blur"].function(sweep, Far(), sigma=0.2)
    offset = result.points[:, :3] - sweep.points[:, :3]
    limits = side * np.array([0.6, 0.6, 0.5])
    np.testing.assert_allclose(offset, np.broadcast_to(limits, offset.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("sensor", "severity", "draws", "rings"),
    [
        ("nuscenes", "light", 8, range(2, 29)),
        ("nuscenes", "heavy", 24, range(2, 29)),
        ("semantickitti", "moderate", 32, range(4, 59)),
    ],
)
def test_beam_missing_draws_lasers_with_replacement(
    make_sweep: Make, sensor: str, severity: str, draws: int, rings: range
) -> None:
    count = 32 if sensor == "nuscenes" else 64
    sweep = make_sweep(azimuths=3, rings=count)
    dose = dose_of("beam_missing", severity, sensor)  # type: ignore[arg-type]
    losses = np.zeros(count)
    for number in range(1500):
        result = corrupt(sweep, dose, seed=0, frame=str(number))
        left = set(sweep.ring[result.pulse].tolist())
        assert len(result) == 3 * len(left)
        losses += [ring not in left for ring in range(count)]
    share = 1 - (1 - 1 / len(rings)) ** draws  # that a laser is drawn at least once
    expected = np.array([share if ring in rings else 0.0 for ring in range(count)])
    np.testing.assert_allclose(losses / 1500, expected, atol=0.06)
    np.testing.assert_allclose(losses.sum() / 1500, share * len(rings), rtol=0.02)
    assert not losses[expected == 0].any()


@pytest.mark.parametrize(
    ("beams", "step", "count", "first"),
    [
        (32, 4, 8, [1, 5, 9, 13]),
        (32, 2, 16, [1, 3, 5, 7]),
        (32, 1.33, 24, [1, 2, 3, 4, 6]),
        (64, 4, 16, [1, 5]),
        (64, 2, 32, [1, 3]),
        (64, 1.33, 48, [1, 2, 3, 4, 6, 7]),
    ],
)
def test_rings_lost_between_sensors(beams: int, step: float, count: int, first: list[int]) -> None:
    rings = lost_rings(beams, step)
    assert len(set(rings.tolist())) == len(rings) == count
    assert rings[: len(first)].tolist() == first
    assert rings.max() < beams


@pytest.mark.parametrize(("severity", "left"), [("light", 24), ("moderate", 16), ("heavy", 8)])
def test_cross_sensor_leaves_every_second_point_of_the_rings(
    make_sweep: Make, severity: str, left: int
) -> None:
    sweep = make_sweep(azimuths=5)
    dose = dose_of("cross_sensor", severity, "nuscenes")  # type: ignore[arg-type]
    result = corrupt(sweep, dose, seed=0, frame="a")
    lost = set(lost_rings(32, dose.strength["step"]).tolist())
    rows = [row for row, ring in enumerate(sweep.ring) if ring not in lost]
    assert result.pulse.tolist() == rows[::2]
    assert len(rows) == 5 * left
    np.testing.assert_array_equal(result.points, sweep.points[rows[::2]])
    assert not result.inserted.any()


@pytest.mark.parametrize(("sensor", "full"), [("nuscenes", 255.0), ("semantickitti", 1.0)])
def test_crosstalk_moves_a_share_in_four_dimensions(
    make_sweep: Make, sensor: str, full: float
) -> None:
    sweep = make_sweep(azimuths=400)
    dose = dose_of("crosstalk", "light", sensor)  # type: ignore[arg-type]
    result = corrupt(sweep, dose, seed=1, frame="a")
    assert dose.strength["full"] == full
    assert result.inserted.sum() == int(dose.strength["share"] * len(sweep))
    difference = (result.points - sweep.points)[result.inserted] * [1, 1, 1, full]
    np.testing.assert_allclose(difference.std(0), 3, rtol=0.35)
    np.testing.assert_allclose(difference.std(), 3, rtol=0.12)
    stays = ~result.inserted
    np.testing.assert_array_equal(result.points[stays], sweep.points[stays])
    assert (result.source[result.inserted] == -1).all()
    assert (result.source[stays] == np.flatnonzero(stays)).all()


@pytest.mark.parametrize(("severity", "share"), [("light", 0.75), ("moderate", 0.85)])
def test_incomplete_echo_thins_out_vehicles_of_more_than_ten_points(
    make_sweep: Make, severity: str, share: float
) -> None:
    sweep = make_sweep()
    dose = dose_of("incomplete_echo", severity, "nuscenes")  # type: ignore[arg-type]
    result = corrupt(sweep, dose, seed=0, frame="a")
    classes, before = np.unique(sweep.vehicle, return_counts=True)
    after = [(sweep.vehicle[result.pulse] == number).sum() for number in classes]
    assert classes.tolist() == [-1, 3, 7]
    assert before[2] == 10
    assert after == [before[0], before[1] - int(share * before[1]), 10]
    eleven = Sweep(sweep.points, sweep.ring, sweep.ground, np.full(len(sweep), -1, np.int16))
    eleven.vehicle[:11] = 4
    left = corrupt(eleven, dose, seed=0, frame="a").pulse
    assert (left < 11).sum() == 11 - int(share * 11)


def test_vehicles_are_those_of_both_datasets() -> None:
    names = ("car", "road", "bus", "pedestrian", "bicyclist", "other-vehicle")
    labels = np.array([0, 1, 2, 3, 4, 5, IGNORE], np.uint8)
    assert vehicle_classes(labels, names, 7).tolist() == [0, -1, 2, -1, -1, 5, -1]
    assert vehicle_classes(None, names, 2).tolist() == [-1, -1]


def test_classes_are_those_of_the_published_generators() -> None:
    """Ids from 1: of the 16 classes of nuScenes and the 19 of SemanticKITTI."""
    vehicles = {NuScenesDataset: [2, 3, 4, 5, 6, 9, 10], SemanticKittiDataset: [1, 2, 3, 4, 5]}
    wet = {NuScenesDataset: [11, 12, 13], SemanticKittiDataset: [9, 10, 11, 12]}
    for dataset, ids in vehicles.items():
        labels = np.arange(len(dataset.class_names), dtype=np.uint8)
        classes = vehicle_classes(labels, dataset.class_names, len(labels))
        assert (np.flatnonzero(classes >= 0) + 1).tolist() == ids
        names = [name in GROUND for name in dataset.class_names]
        assert (np.flatnonzero(names) + 1).tolist() == wet[dataset]


def test_strengths_are_the_published_ones() -> None:
    shared = {
        "fog": {"beta": (0.008, 0.05, 0.2)},
        "snow": {
            "rate": (0.5, 1, 2.5), "velocity": (2, 1.6, 1.6),
            "focal_distance": (12.5,) * 3, "focal_slope": (1.35,) * 3,
        },
        "motion_blur": {"sigma": (0.2, 0.25, 0.3)},
        "incomplete_echo": {"share": (0.75, 0.85, 0.95)},
    }  # fmt: skip
    water = (0.2, 1, 1.2)
    nuscenes = {
        "wet_ground": {"water": water, "noise_floor": (0.2, 0.3, 0.7)},
        "beam_missing": {"beams": (8, 16, 24), "first": (2,) * 3, "last": (28,) * 3},
        "crosstalk": {"share": (0.03, 0.05, 0.07), "full": (255,) * 3},
        "cross_sensor": {"beams": (32,) * 3, "step": (4, 2, 1.33)},
    }
    kitti = {
        "wet_ground": {"water": water, "noise_floor": (0.3, 0.3, 0.7)},
        "beam_missing": {"beams": (16, 32, 48), "first": (4,) * 3, "last": (58,) * 3},
        "crosstalk": {"share": (0.006, 0.008, 0.01), "full": (1,) * 3},
        "cross_sensor": {"beams": (64,) * 3, "step": (4, 2, 1.33)},
    }
    for sensor, own in {"nuscenes": nuscenes, "semantickitti": kitti}.items():
        for name, levels in {**shared, **own}.items():
            for place, severity in enumerate(("light", "moderate", "heavy")):
                expected = {part: values[place] for part, values in levels.items()}
                dose = dose_of(name, severity, sensor)  # type: ignore[arg-type]
                assert dose.strength == expected
    assert LASERS == {"nuscenes": 32, "semantickitti": 64}


def test_draws_depend_on_seed_corruption_severity_and_frame_alone(make_sweep: Make) -> None:
    sweep = make_sweep()
    light, heavy = (dose_of("crosstalk", level, "nuscenes") for level in ("light", "heavy"))
    first = corrupt(sweep, light, seed=0, frame="a")
    stream(5, "else").normal(size=100)
    corrupt(sweep, heavy, seed=0, frame="b")
    again = corrupt(sweep, light, seed=0, frame="a")
    np.testing.assert_array_equal(first.points, again.points)
    for other in (
        corrupt(sweep, light, seed=1, frame="a"),
        corrupt(sweep, light, seed=0, frame="b"),
    ):
        assert set(np.flatnonzero(first.inserted)) != set(np.flatnonzero(other.inserted))
    draws = {
        stream(0, name, severity, "a").normal() for name in CORRUPTIONS for severity in SEVERITIES
    }
    assert len(draws) == len(CORRUPTIONS) * len(SEVERITIES)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("sensor", ["nuscenes", "semantickitti"])
def test_every_corruption_gives_finite_points_and_leaves_the_sweep_alone(
    make_sweep: Make, name: str, sensor: str
) -> None:
    sweep = make_sweep(azimuths=80)
    before = sweep.points.copy()
    for severity in SEVERITIES:
        dose = dose_of(name, severity, sensor)  # type: ignore[arg-type]
        result = corrupt(sweep, dose, seed=0, frame="a")
        assert np.isfinite(result.points).all()
        assert result.points.dtype == np.float32
        assert len(result.points) == len(result.pulse) == len(result.inserted) <= len(sweep)
        assert len(set(result.pulse.tolist())) == len(result)
        labels = result.labels(np.arange(len(sweep)).astype(np.uint8))
        assert (labels[result.inserted] == IGNORE).all()
        stays = ~result.inserted
        np.testing.assert_array_equal(labels[stays], result.pulse[stays].astype(np.uint8))
    np.testing.assert_array_equal(sweep.points, before)


def test_strengths_can_be_changed_and_are_told() -> None:
    dose = dose_of(
        "fog", "heavy", "nuscenes", {"fog.beta": (1.0, 2.0, 3.5), "snow.rate": (9, 9, 9)}
    )
    assert dose.strength == {"beta": 3.5}
    assert str(dose) == "fog heavy (beta 3.5)"
    assert dose_of("snow", "light", "nuscenes", {"snow.rate": (9, 8, 7)}).strength["rate"] == 9
    with pytest.raises(CleverError, match=r"fog\.alpha.*there is no such parameter.*fog\.beta"):
        dose_of("snow", "heavy", "nuscenes", {"fog.alpha": (1, 1, 1)})
