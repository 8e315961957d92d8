"""The confusion matrix of an evaluation as numbers and as a picture."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from clever.pipeline.evaluate import SegmentationResult, write_confusion
from clever.pipeline.pictures.confusion import confusion_figure, shares
from clever.pipeline.pictures.figures import INK


def test_shares_of_the_labels() -> None:
    np.testing.assert_array_equal(
        shares([[1, 3, 0], [0, 0, 0], [0, 0, 5]]),
        [[0.25, 0.75, 0], [np.nan] * 3, [0, 0, 1]],
    )


def test_numbers_and_picture(tmp_path: Path) -> None:
    result = SegmentationResult(
        protocol="p",
        mean="all",
        miou=0.2,
        iou={"car": 0.5, "road, wet": None},
        confusion=[[3, 1], [0, 0]],
        points=4,
        frames=1,
        unlabelled=0,
        bad=[],
    )
    write_confusion(tmp_path, result)
    assert list(csv.reader((tmp_path / "confusion.csv").open())) == [
        ["label \\ prediction", "car", "road, wet"],
        ["car", "3", "1"],
        ["road, wet", "0", "0"],
    ]
    assert imread(tmp_path / "confusion.png").ndim == 3


def test_every_cell_is_the_share_of_its_label_s_points() -> None:
    confusion = [[600, 398, 2], [0, 0, 0], [1, 0, 199]]
    figure = confusion_figure(confusion, ["a", "b", "c"], "title")
    axes = figure.axes[0]
    percent = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(percent, [[60, 39.8, 0.2], [np.nan] * 3, [0.5, 0, 99.5]])
    assert axes.images[0].get_clim() == (0, 100)
    cells = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert cells == {  # (column, row); nothing where it would round to 0
        (0, 0): ("60", "white"),
        (1, 0): ("40", INK),
        (2, 2): ("100", "white"),
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  1,000", "b  0", "c  200"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label, with its points")
