"""Cases by hand in which one rule decides one number."""

import numpy as np
import pytest
import torch

from clever.pipeline.datasets.readers.kitti_objects import KittiObjects
from clever.pipeline.detection.kitti_boxes import camera_boxes
from clever.pipeline.detection.kitti_matching import (
    DIFFICULTIES,
    Difficulty,
    detection_roles,
    hit_scores,
    match_counts,
    truth_roles,
)
from clever.pipeline.detection.overlap import iou_3d

from .kitti_samples import objects

EASY, MODERATE, HARD = DIFFICULTIES


def test_difficulties_are_those_of_the_benchmark() -> None:
    assert Difficulty("easy", 40, 0, 0.15) == EASY
    assert Difficulty("moderate", 25, 1, 0.3) == MODERATE
    assert Difficulty("hard", 25, 2, 0.5) == HARD


def counts(
    truth: KittiObjects,
    detections: KittiObjects,
    category: str = "Car",
    difficulty: Difficulty = EASY,
    minimum: float = 0.5,
    threshold: float = 0.0,
    excused: np.ndarray | None = None,
) -> tuple[int, int, int]:
    """Hits, false alarms and misses of one frame in space."""
    overlaps = iou_3d(camera_boxes(truth), camera_boxes(detections)).numpy()
    assert detections.scores is not None
    roles = truth_roles(truth, category, difficulty)
    others = detection_roles(detections, category, difficulty)
    thresholds = np.array([threshold, 2.0])
    result = match_counts(overlaps, detections.scores, roles, others, minimum, thresholds, excused)
    # Above all scores there is nothing but misses.
    assert (result.hits[1], result.false_alarms[1]) == (0, 0)
    assert result.misses[1] >= result.misses[0]
    return int(result.hits[0]), int(result.false_alarms[0]), int(result.misses[0])


def test_a_hit_a_miss_a_false_alarm() -> None:
    truth = objects("Car Car", [0, 10])
    assert counts(truth, objects("Car Car", [0, 20], scores=[0.9, 0.8])) == (1, 1, 1)
    # Below the threshold a detection is neither.
    detections = objects("Car Car Car", [0, 10, 20], scores=[0.9, 0.4, 0.3])
    assert counts(truth, detections, threshold=0.5) == (1, 0, 1)
    assert counts(truth, detections, threshold=0.4) == (2, 0, 0)
    assert counts(truth, objects("", [], scores=[])) == (0, 0, 2)


def test_an_overlap_has_to_exceed_the_minimum() -> None:
    truth, near = objects("Car", [0]), objects("Car", [1], scores=[0.9])
    overlap = float(iou_3d(camera_boxes(truth), camera_boxes(near)))
    assert overlap == pytest.approx(3 / 5)
    assert counts(truth, near, minimum=0.599) == (1, 0, 0)
    assert counts(truth, near, minimum=overlap) == (0, 1, 1)
    assert near.scores is not None
    roles = truth_roles(truth, "Car", EASY), detection_roles(near, "Car", EASY)
    for minimum, hits in ((0.599, [0.9]), (overlap, [])):
        assert hit_scores(np.array([[overlap]]), near.scores, *roles, minimum) == hits


def test_a_second_detection_of_an_object_is_a_false_alarm() -> None:
    truth = objects("Car", [0])
    assert counts(truth, objects("Car Car", [0, 0.1], scores=[0.5, 0.9])) == (1, 1, 0)


def test_the_largest_overlap_is_taken_for_counts_and_the_highest_score_for_thresholds() -> None:
    """The surer detection at 0.5 m hits both objects; the other one the first alone."""
    truth = objects("Car Car", [0, 1])
    detections = objects("Car Car", [0.5, 0], scores=[0.9, 0.3])
    assert counts(truth, detections, minimum=0.65) == (2, 0, 0)
    overlaps = iou_3d(camera_boxes(truth), camera_boxes(detections)).numpy()
    assert detections.scores is not None
    roles = truth_roles(truth, "Car", EASY), detection_roles(detections, "Car", EASY)
    assert hit_scores(overlaps, detections.scores, *roles, 0.65) == [0.9]


def test_of_equal_overlaps_or_scores_the_first_is_taken() -> None:
    truth = objects("Car Car", [0, 1])
    detections = objects("Car Car", [-0.5, 0.5], scores=[0.9, 0.9])
    assert counts(truth, detections, minimum=0.65) == (2, 0, 0)
    swapped = detections[np.array([False, True])]
    assert counts(truth, swapped, minimum=0.65) == (1, 0, 1)


@pytest.mark.parametrize(("category", "neighbour"), [("Car", "Van"), ("Pedestrian",
    "Person_sitting")])  # fmt: skip
def test_a_neighbouring_class_is_neither_missed_nor_a_false_alarm(
    category: str, neighbour: str
) -> None:
    truth = objects(f"{neighbour} {neighbour}", [0, 10])
    assert counts(truth, objects(category, [0], scores=[0.9]), category) == (0, 0, 0)
    # The other way round there is no mercy, nor for another class.
    truth = objects("Cyclist", [0])
    assert counts(truth, objects(category, [0], scores=[0.9]), category) == (0, 1, 0)
    detection = objects("Cyclist", [0], scores=[0.9])
    assert counts(objects(neighbour, [0]), detection, "Cyclist") == (0, 1, 0)


@pytest.mark.parametrize(
    ("difficulty", "height", "occluded", "truncated"),
    [(EASY, 40, 0, 0.15), (MODERATE, 25, 1, 0.3), (HARD, 25, 2, 0.5)],
)
def test_difficulty_is_height_occlusion_and_truncation(
    difficulty: Difficulty, height: float, occluded: float, truncated: float
) -> None:
    """At the limits an object counts (its height has to be above); beyond it is ignored."""
    sure = objects("Car", [0], scores=[0.9])
    limit = height + 0.1, occluded, truncated
    assert counts(_seen("Car", [0], *limit), sure, difficulty=difficulty) == (1, 0, 0)
    for beyond in (
        (height, occluded, truncated),
        (height + 0.1, occluded + 1, truncated),
        (height + 0.1, occluded, truncated + 0.01),
    ):
        truth = _seen("Car Car", [0, 9], *beyond)
        assert counts(truth, sure, difficulty=difficulty) == (0, 0, 0)


def _seen(
    names: str, places: list[float], height: float, occluded: float, truncated: float
) -> KittiObjects:
    return objects(names, places, heights=height, occluded=occluded, truncated=truncated)


def test_a_detection_lower_than_the_minimum_is_ignored() -> None:
    truth = objects("Car", [0])
    low = objects("Car Car", [0, 9], scores=[0.9, 0.9], heights=39.9)
    assert counts(truth, low) == (0, 0, 0)  # the object is not missed either
    assert counts(truth, objects("Car Car", [0, 9], scores=[0.9, 0.9], heights=40)) == (1, 1, 0)
    # A counted detection goes before an ignored one, whatever their overlaps.
    both = objects("Car Car", [0, 0.5], scores=[0.9, 0.1], heights=[30, 50])
    assert counts(truth, both) == (1, 0, 0)
    # A low detection of another class is ignored too, and can be taken for the object.
    assert counts(truth, objects("Cyclist", [0], scores=[0.9], heights=30)) == (0, 0, 0)
    assert counts(truth, objects("Cyclist", [0], scores=[0.9], heights=50)) == (0, 0, 1)


def test_one_ignored_detection_saves_one_object() -> None:
    truth = objects("Car Car", [0, 0.5])
    assert counts(truth, objects("Car", [0.2], scores=[0.9], heights=30)) == (0, 0, 1)


def test_excused_detections_are_no_false_alarms() -> None:
    detections = objects("Car Car Car", [0, 10, 20], scores=[0.9, 0.9, 0.9])
    excused = np.array([True, True, False])
    assert counts(objects("Car", [0]), detections, excused=excused) == (1, 1, 0)


def test_names_match_in_any_case() -> None:
    assert counts(objects("car", [0]), objects("CAR", [0], scores=[0.9])) == (1, 0, 0)


def test_camera_boxes_are_kittis() -> None:
    """Corners as the development kit draws them: (cos x + sin z, -sin x + cos z) about y."""
    one = objects("Car", [3.0])
    one.rotations[:] = 0.7
    corners = camera_boxes(one).corners()[0]
    cosine, sine = np.cos(0.7), np.sin(0.7)
    expected = {
        (round(3 + cosine * a + sine * b, 9), round(20 - sine * a + cosine * b, 9), -1 + h)
        for a in (2, -2) for b in (1, -1) for h in (0.0, 2.0)
    }  # fmt: skip
    ours = {(round(x, 9), round(y, 9), round(z, 9)) for x, y, z in corners.tolist()}
    assert ours == expected
    torch.testing.assert_close(corners[0], corners[4] - torch.tensor([0.0, 0, 2]).double())
