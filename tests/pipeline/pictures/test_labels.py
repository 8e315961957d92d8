"""Colours of predictions, truth and errors."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from clever.pipeline.pictures import labels
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
    assert cloud.verdicts() == {
        "errors: wrong": WRONG, "errors: right": RIGHT, "no label": UNKNOWN
    }  # fmt: skip
    whole = LabelledCloud(XYZ[:2], np.array([0, 1]), np.array([0, 2]), 255, ("a", "b", "c"))
    assert list(whole.verdicts()) == ["errors: wrong", "errors: right"]


def test_without_truth_there_is_the_prediction_alone() -> None:
    cloud = LabelledCloud(XYZ, np.array([0, 1, 2, 1, 0]), None, 255, ("a", "b", "c"))
    assert list(cloud.panels()) == ["prediction"]
    assert cloud.score() == "no ground truth"
    assert cloud.verdicts() == {}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_legend_says_what_the_colours_of_errors_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled: bool
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(labels, "save_figure", lambda figure, path: figures.append(figure))
    truth = np.array([0, 2, 255, 1, 255]) if labelled else None
    cloud = LabelledCloud(XYZ, np.array([0, 1, 0, 1, 0]), truth, 255, ("a", "b", "c", "wrong"))
    labels.label_panels(cloud, "t", tmp_path / "x.png")
    (legend,) = figures[0].legends
    errors = ["errors: wrong", "errors: right", "no label"] if labelled else []
    classes = ["a", "b", "c"] if labelled else ["a", "b"]
    assert [text.get_text() for text in legend.get_texts()] == [*classes, *errors]
    colours = [handle.get_color() for handle in legend.get_lines()]
    assert colours[len(classes) :] == ([WRONG, RIGHT, UNKNOWN] if labelled else [])
