"""Colours of predictions, truth and errors."""

import numpy as np

from clever.pipeline.pictures.labels import (
    PALETTE,
    RIGHT,
    UNKNOWN,
    WRONG,
    LabelledCloud,
    class_colours,
)

XYZ = np.zeros((5, 3))


def test_errors_are_red_and_points_without_label_neither() -> None:
    cloud = LabelledCloud(
        XYZ, np.array([0, 1, 2, 1, 0]), np.array([0, 2, 255, 1, 255]), 255, ("a", "b", "c")
    )
    panels = cloud.panels()
    colours = class_colours(3)
    assert list(panels) == ["prediction", "ground truth", "errors"]
    np.testing.assert_array_equal(panels["prediction"], colours[[0, 1, 2, 1, 0]])
    truth = [colours[0], colours[2], UNKNOWN, colours[1], UNKNOWN]
    np.testing.assert_array_equal(panels["ground truth"], truth)
    np.testing.assert_array_equal(panels["errors"], [RIGHT, WRONG, UNKNOWN, RIGHT, UNKNOWN])
    assert cloud.score() == "1 of 3 labelled points wrong"


def test_without_truth_there_is_the_prediction_alone() -> None:
    cloud = LabelledCloud(XYZ, np.array([0, 1, 2, 1, 0]), None, 255, ("a", "b", "c"))
    assert list(cloud.panels()) == ["prediction"]
    assert cloud.score() == "no ground truth"


def test_classes_have_colours_of_their_own_and_none_is_red() -> None:
    colours = class_colours(len(PALETTE) + 1)
    distances = np.linalg.norm(colours[:-1, None] - colours[None, :-1], axis=2)
    assert distances[~np.eye(len(PALETTE), dtype=bool)].min() > 0.1
    assert np.linalg.norm(colours - WRONG, axis=1).min() > 0.4
    np.testing.assert_array_equal(colours[-1], colours[0])
