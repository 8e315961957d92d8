"""Colours of predictions, truth and errors."""

import numpy as np

from clever.pipeline.pictures.class_colours import class_colours
from clever.pipeline.pictures.labels import RIGHT, UNKNOWN, WRONG, LabelledCloud

XYZ = np.zeros((5, 3))


def test_errors_are_red_and_points_without_label_neither() -> None:
    cloud = LabelledCloud(
        XYZ, np.array([0, 1, 2, 1, 0]), np.array([0, 2, 255, 1, 255]), 255, ("a", "b", "c")
    )
    panels = cloud.panels()
    colours = class_colours(("a", "b", "c")) / 255
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
