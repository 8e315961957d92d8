"""Average precision against a slow loop, and closed forms."""

import math

import numpy as np
import pytest

from clever.pipeline.datasets.readers.kitti_objects import KittiObjects
from clever.pipeline.detection.kitti_average_precision import (
    AveragePrecision,
    Measure,
    average_precisions,
    score_thresholds,
)

from .kitti_samples import NO_OBJECTS, objects, random_objects
from .slow_kitti import slow_precisions


def test_the_table_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    truth = [random_objects(rng, 7, False) for _ in range(12)] + [random_objects(rng, 0, False)]
    detections = [random_objects(rng, 9, True) for _ in range(12)] + [random_objects(rng, 2, True)]
    table = average_precisions(truth, detections, ("Car", "Pedestrian"))
    assert len(table) == 2 * 3 * 3 * 2
    values = []
    for row in table:
        place = ("easy", "moderate", "hard").index(row.difficulty)
        level = "strict" if row.measure == "image" else row.level
        minimum = {"strict": (0.7, 0.5), "loose": (0.5, 0.25)}[level][row.category != "Car"]
        expected = slow_precisions(row.measure, truth, detections, row.category, place, minimum)
        if row.objects:
            assert (row.r40, row.r11) == pytest.approx(expected, abs=1e-9), row
            values.append(row.r40)
        else:
            assert math.isnan(row.r40)
            assert math.isnan(row.r11)
    assert len(set(values)) > 9
    assert max(values) > 20


def one_class(
    truth: list[KittiObjects], detections: list[KittiObjects], measure: Measure = "3d"
) -> AveragePrecision:
    """Easy, strict."""
    return average_precisions(truth, detections, ("Car",), (measure,))[0]


def test_every_object_detected_is_100_and_false_alarms_thin_it() -> None:
    truth = [objects("Car", [0])] * 80
    scores = np.linspace(0.9, 0.1, 80)
    perfect = [objects("Car", [0], scores=[score]) for score in scores]
    assert one_class(truth, perfect) == AveragePrecision(
        "Car", "3d", "easy", "strict", 100, 100, 80
    )
    # A false alarm surer than each hit: precision is 1/2 everywhere.
    doubtful = [objects("Car Car", [0, 30], scores=[score, score]) for score in scores]
    assert one_class(truth, doubtful).r40 == pytest.approx(50)
    # Half of the objects: recalls 0 to 1/2, 21 of the 41, 20 of the 40, 6 of the 11.
    half = perfect[:40] + [NO_OBJECTS] * 40
    ours = one_class(truth, half)
    assert (ours.r40, ours.r11) == pytest.approx((50, 600 / 11))
    # Surer false alarms than any hit, in frames of their own.
    alarms = [objects("Car", [30], scores=[1.0])] * 80
    ours = one_class([*truth, *[NO_OBJECTS] * 80], [*perfect, *alarms])
    # The precision at all 80 hits, 1/2, is the best: made monotone from the right.
    assert ours.r40 == pytest.approx(50)


def test_regions_nobody_labelled_excuse_in_the_image_alone() -> None:
    truth = [objects("Car DontCare", [0, 30])] * 80
    detections = [objects("Car Car", [0, 30.2], scores=[s, s]) for s in np.linspace(0.9, 0.1, 80)]
    assert one_class(truth, detections, "image").r40 == pytest.approx(100)
    assert one_class(truth, detections, "3d").r40 == pytest.approx(50)
    # 0.7 of the detection has to lie in the region: 100 pixels, moved by 35.
    far = [objects("Car Car", [0, 30.7], scores=[s, s]) for s in np.linspace(0.9, 0.1, 80)]
    assert one_class(truth, far, "image").r40 == pytest.approx(50)


def test_strict_and_loose_overlaps() -> None:
    truth = [objects("Car Pedestrian Cyclist", [0, 30, 60])] * 80
    scores = np.linspace(0.9, 0.1, 80)
    detections = [
        objects("Car Pedestrian Cyclist", [1, 31.5, 61.5], scores=[score] * 3) for score in scores
    ]  # overlaps 3/5 and 5/11 in space, 1/3 and 1/7 in the image
    table = average_precisions(truth, detections, measures=("bev", "3d"))
    for row in table:
        assert row.r40 == pytest.approx(100 if row.level == "loose" else 0)
    image = average_precisions(truth, detections, measures=("image",))
    assert {row.r40 for row in image} == {0}


def test_thresholds_are_the_scores_nearest_to_forty_steps_of_recall() -> None:
    scores = [float(score) for score in range(80, 0, -1)]
    # Of 80 objects every second score; the first is nearest to recall 0.
    assert score_thresholds(scores, 80).tolist() == [80, *range(79, 0, -2)]
    assert score_thresholds(scores[:3], 3).tolist() == scores[:3]
    assert score_thresholds([3, 9, 5], 60).tolist() == [9, 5, 3]
    assert len(score_thresholds(scores, 80)) == 41
    assert score_thresholds([], 10).tolist() == []


def test_labels_are_no_detections() -> None:
    with pytest.raises(ValueError, match="need scores"):
        one_class([objects("Car", [0])], [objects("Car", [0])])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        one_class([objects("Car", [0])], [])
