"""nuScenes boxes: which count, and measures of the file that is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.datasets.boxes import LabelledBoxes
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.detections import Detections
from clever.pipeline.detection_runs.nuscenes import RANGES, NuScenesBenchmark

NAMES = ("car", "pedestrian", "pedestrian", "animal", "car", "traffic_cone")
"""The second pedestrian is too far, the second car holds no point, animals are no class."""
PLACES = ((10.0, 5.0), (3.0, -9.0), (39.0, 20.0), (4.0, 4.0), (20.0, 0.0), (0.0, 29.0))


class Frames:
    """Stands for a dataset: two frames alike."""

    name = "other"
    frame_ids = ("a", "b")

    def boxes(self, index: int) -> LabelledBoxes:
        rows = np.concatenate([PLACES, np.tile([0, 2, 1, 1.5, 0.4], (6, 1))], 1)
        return LabelledBoxes(NAMES, rows, np.array([9, 9, 9, 9, 0, 1]))


def detections(shift: float) -> Detections:
    """The three boxes that count and the pedestrian that is too far, moved along x."""
    rows = np.concatenate([PLACES, np.tile([0, 2, 1, 1.5, 0.4], (6, 1))], 1)[[0, 1, 2, 5]]
    rows[:, 0] += shift
    classes = torch.tensor([list(RANGES).index(name) for name in np.array(NAMES)[[0, 1, 2, 5]]])
    return Detections(Boxes(torch.from_numpy(rows).float()), torch.ones(4) * 0.7, classes)


def test_the_truth_measures_100(tmp_path: Path) -> None:
    results = {0: detections(0), 1: detections(0)}
    by_class, by_distance = NuScenesBenchmark().measure(Frames(), results, tmp_path)  # type: ignore
    assert by_class.scores["car"] == pytest.approx(100)
    assert by_class.scores["truck"] is None
    assert list(by_class.scores)[-1] == "mAP"
    assert by_class.scores["mAP"] == by_distance.scores["mAP"] == pytest.approx(100)
    content = json.loads((tmp_path / "detections.json").read_text())
    assert content["b"][0]["name"] == "car"
    np.testing.assert_allclose(content["b"][0]["box"], [10, 5, 0, 2, 1, 1.5, 0.4], rtol=1e-6)


def test_detections_a_metre_off_count_from_two_metres_on(tmp_path: Path) -> None:
    results = {0: detections(1.001), 1: detections(1.001)}
    by_class, by_distance = NuScenesBenchmark().measure(Frames(), results, tmp_path)  # type: ignore
    assert by_distance.scores["1 m"] == 0
    assert by_distance.scores["2 m"] == pytest.approx(100)
    assert by_class.scores["mAP"] == pytest.approx(50)


def test_sizes_are_means_of_the_training_boxes() -> None:
    benchmark = NuScenesBenchmark()
    boxes = [np.zeros((0, 3))] * 10
    boxes[0] = np.array([[4.0, 2, 1], [5, 1, 2]])
    assert benchmark.sizes(boxes)[:2] == ((4.5, 1.5, 1.5), (1.0, 1.0, 1.0))
    assert len(benchmark.bank) == len(benchmark.class_names) == 10
    assert benchmark.banked(Frames(), 0).all()  # type: ignore[arg-type]


def test_other_datasets_are_refused() -> None:
    with pytest.raises(CleverError, match="is not laid out as nuScenes"):
        NuScenesBenchmark().frames(Frames())  # type: ignore[arg-type]
