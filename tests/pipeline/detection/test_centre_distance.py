"""nuScenes' average precision against nuscenes-devkit, and by hand."""

import numpy as np
import pytest
import torch

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.centre_distance import centre_precisions
from clever.pipeline.detection.detections import Detections


def rows(places: torch.Tensor) -> Boxes:
    """Boxes at (N, 2) places."""
    return Boxes(torch.cat([places, torch.ones(len(places), 5)], 1))


def truth_frame(places: list[list[float]], classes: list[int]) -> BoxFrame:
    return BoxFrame(
        torch.zeros(0, 4), rows(torch.tensor(places).reshape(-1, 2)), torch.tensor(classes).long()
    )


def result(places: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    boxes = rows(torch.tensor(places).reshape(-1, 2))
    return Detections(
        boxes, torch.tensor(scores, dtype=torch.float32), torch.tensor(classes).long()
    )


def random_frames(seed: int) -> tuple[list[BoxFrame], list[Detections]]:
    """Six frames of crowded objects of two classes, detections about most of them."""
    rng = np.random.default_rng(seed)
    truth, results = [], []
    for _ in range(6):
        places, classes = rng.uniform(0, 12, (8, 2)), rng.integers(0, 2, 8)
        near = places + rng.normal(0, 1, (8, 2))
        near = np.concatenate([near, rng.uniform(0, 12, (3, 2))])
        kinds = np.concatenate([classes, rng.integers(0, 2, 3)])
        truth.append(truth_frame(places.tolist(), classes.tolist()))
        results.append(result(near.tolist(), rng.permutation(11).tolist(), kinds.tolist()))
    for number, one in enumerate(results):
        one.scores.copy_((one.scores * 6 + number + 1) / 100)  # no two alike
    return truth, results


def test_precision_equals_the_devkits() -> None:
    algo = pytest.importorskip("nuscenes.eval.detection.algo", reason="needs nuscenes-devkit")
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.utils import center_distance
    from nuscenes.eval.detection.data_classes import DetectionBox

    def devkit_boxes(frames: list[BoxFrame] | list[Detections]) -> EvalBoxes:
        boxes = EvalBoxes()
        for number, frame in enumerate(frames):
            scores = frame.scores if isinstance(frame, Detections) else torch.full((99,), -1.0)
            boxes.add_boxes(
                str(number),
                [
                    DetectionBox(
                        sample_token=str(number),
                        translation=(*row[:2].tolist(), 0.0),
                        size=(1.0, 1.0, 1.0),
                        rotation=(1.0, 0.0, 0.0, 0.0),
                        detection_name=("car", "truck")[category],
                        detection_score=float(score),
                    )
                    for row, category, score in zip(
                        frame.boxes.rows, frame.classes.tolist(), scores, strict=False
                    )
                ],
            )
        return boxes

    truth, results = random_frames(0)
    ours = centre_precisions(truth, results, 2)
    for category, name in enumerate(("car", "truck")):
        for place, distance in enumerate((0.5, 1, 2, 4)):
            data = algo.accumulate(
                devkit_boxes(truth), devkit_boxes(results), name, center_distance, distance
            )
            expected = algo.calc_ap(data, 0.1, 0.1)
            assert ours[category, place] == pytest.approx(expected, abs=1e-9)
    assert len(set(ours.ravel().tolist())) > 5


def test_each_object_is_hit_once_and_nearer_than_the_distance() -> None:
    one = truth_frame([[0, 0]], [0])
    assert centre_precisions([one], [result([[0.3, 0.4]], [0.9], [0])], 1).tolist() == [
        pytest.approx([0, 1, 1, 1])
    ]  # a gap of exactly 0.5 is no hit
    # The surer of two is the hit, the other a false alarm behind it: precision is 1 but at recall
    # 1, which both have, where it is 1/2 (0.1 off, of 0.9).
    double = result([[0, 0], [0, 0.1]], [0.9, 0.8], [0, 0])
    expected = (89 + 4 / 9) / 90
    np.testing.assert_allclose(centre_precisions([one], [double], 1), expected)
    # A surer false alarm: precision rises from 0 to 1/2 along a line, recall / 2, of which what is
    # above 0.1 counts: the sum of j / 200 for j = 0 ... 80.
    alarm = result([[0, 0], [9, 9]], [0.8, 0.9], [0, 0])
    expected = 80 * 81 / 2 / 200 / 90 / 0.9
    np.testing.assert_allclose(centre_precisions([one], [alarm], 1), expected)


def test_nothing_to_hit_and_nothing_hit() -> None:
    one, none = truth_frame([[0, 0]], [0]), result([], [], [])
    ours = centre_precisions([one], [none], 2)
    assert ours[0].tolist() == [0] * 4
    assert np.isnan(ours[1]).all()
    other = result([[0, 0]], [0.9], [1])
    assert centre_precisions([one], [other], 1).tolist() == [[0] * 4]
    assert np.isnan(centre_precisions([], [], 1)).all()
