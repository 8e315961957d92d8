"""Occupancy pictures: what is seen from above and from the side."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clever.pipeline.pictures.occupancy import (
    HEIGHTS,
    THICK,
    OccupancyAnswers,
    from_above,
    from_side,
    occupancy_panels,
)


def make_answers(count: int = 500, seed: int = 0) -> OccupancyAnswers:
    rng = np.random.default_rng(seed)
    place = rng.uniform([-9, -9, -2], [9, 9, 2], (count, 3))
    kind = rng.integers(0, 3, count)
    return OccupancyAnswers(place, kind, kind == 1, rng.uniform(0, 1, count))


def test_from_above_the_bodies_of_things_are_seen() -> None:
    answers = make_answers()
    own, points = from_above(answers, answers.place[:7])
    low, high = HEIGHTS
    expected = [i for i, height in enumerate(answers.place[:, 2]) if low < height < high]
    assert own.predicted.tolist() == answers.predicted[expected].tolist()
    assert len(points) == sum(index < 7 for index in expected)


@pytest.mark.parametrize("centre", [(3.0, 4.0, -1.0), (-2.0, 0.0, 0.5)])
def test_from_the_side_a_slice_along_the_ray_is_seen(centre: tuple[float, float, float]) -> None:
    answers, middle = make_answers(), np.array(centre)
    angle = np.arctan2(middle[1], middle[0])
    distance = np.hypot(answers.place[:, 0], answers.place[:, 1])
    bearing = np.arctan2(answers.place[:, 1], answers.place[:, 0]) - angle
    near = np.abs(distance * np.sin(bearing)) < THICK / 2
    assert 10 < near.sum() < 100
    own, points = from_side(answers, middle[None], middle)
    np.testing.assert_allclose(own.place[:, 0], (distance * np.cos(bearing))[near])
    np.testing.assert_array_equal(own.place[:, 1], answers.place[near, 2])
    np.testing.assert_array_equal(own.filled, answers.filled[near])
    np.testing.assert_allclose(points, [[np.hypot(*middle[:2]), middle[2], 0]], atol=1e-12)


def test_the_picture_shows_truth_and_prediction(tmp_path: Path) -> None:
    answers = make_answers()
    right = 0.1 + 0.8 * answers.filled
    for name, predicted in (("same", right), ("other", 1 - right)):
        own = OccupancyAnswers(answers.place, answers.kind, answers.filled, predicted)
        occupancy_panels(own, answers.place, np.array([3.0, 4, 0]), "x", tmp_path / f"{name}.png")
    same, other = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)
        for name in ("same", "other")
    )
    half = same.shape[1] // 2
    panels = slice(110, -60)  # below the caption, above the legend
    assert (same[panels, :half] == other[panels, :half]).all()
    assert (same[panels, half:] != other[panels, half:]).any()
    assert own.right() == "in front 0.0%, behind 0.0%, on the line of sight 0.0%"
