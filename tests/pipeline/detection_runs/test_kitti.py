"""KITTI's benchmark: what camera 2 sees, and measures of the files that are written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.datasets.boxes import LabelledBoxes
from clever.pipeline.datasets.kitti import KittiDataset
from clever.pipeline.datasets.readers.kitti_objects import read_objects
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.detections import Detections
from clever.pipeline.detection_runs.benchmarks import benchmark_of
from clever.pipeline.detection_runs.kitti import MEAN, FrontView, KittiBenchmark

from .kitti_tree import SIZE, make_tree, rows_of


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrontView:
    root = make_tree(tmp_path_factory.mktemp("kitti"), 45, 1)
    return KittiBenchmark().frames(KittiDataset(root))


def test_points_are_those_that_fall_into_the_image(frames: FrontView) -> None:
    whole, ours = frames.dataset.points(1), frames.points(1)
    expected = []
    for x, y, z, intensity in whole:  # camera: x right, y down, z ahead
        right, down, ahead = -y, -z - 0.1, x - 0.3
        if ahead > 0:
            u, v = 300 * right / ahead + 300, 300 * down / ahead + 100
            if 0 <= u < SIZE[0] and 0 <= v < SIZE[1]:
                expected.append([x, y, z, intensity])
    np.testing.assert_array_equal(ours, np.array(expected, np.float32))
    assert 200 < len(ours) < len(whole) - 40


def perfect(frames: FrontView, index: int, shift: float = 0.0) -> Detections:
    rows = torch.from_numpy(rows_of(index)).float()
    rows[:, 0] += shift
    return Detections(Boxes(rows), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]))


def test_the_truth_measures_100_and_its_files_read_back(frames: FrontView, tmp_path: Path) -> None:
    results = {index: perfect(frames, index) for index in range(45)}
    tables = KittiBenchmark().measure(frames, results, tmp_path)
    titles = [table.title for table in tables]
    assert titles[0] == "3D AP_R40 %, overlaps 0.7 / 0.5 / 0.5 (strict)"
    assert titles[1] == "3D AP_R40 %, overlaps 0.5 / 0.25 / 0.25 (loose)"
    assert [title.partition(" ")[0] for title in titles[2:]] == ["bird's-eye-view"] * 2
    for table in tables:
        assert table.scores["Car, moderate"] == pytest.approx(100)
        assert table.scores["Pedestrian, easy"] == pytest.approx(100)
        assert table.scores["Cyclist, hard"] is None
        assert list(table.scores)[-1] == MEAN
        assert table.scores[MEAN] == pytest.approx(100)
        assert not table.note
    names = sorted(path.name for path in tmp_path.glob("results/*"))
    assert names == [f"{number:06}.txt" for number in range(45)]
    own = read_objects("", tmp_path / "results/000001.txt", scored=True)
    truth = frames.dataset.objects(1)
    assert own.names == truth.names
    np.testing.assert_allclose(own.bottoms, truth.bottoms, atol=1e-5)
    np.testing.assert_allclose(own.image_boxes, truth.image_boxes, atol=1e-3)


def test_a_shift_is_loose_for_cars_alone(frames: FrontView, tmp_path: Path) -> None:
    results = {index: perfect(frames, index, 0.8) for index in range(45)}
    strict, loose, *_ = KittiBenchmark().measure(frames, results, tmp_path)
    # Boxes 3.9 m long and 0.8 m apart along x overlap by about a half, pedestrians not at all.
    assert strict.scores["Car, hard"] == 0
    assert loose.scores["Car, hard"] == pytest.approx(100)
    assert loose.scores["Pedestrian, hard"] == 0
    assert loose.scores[MEAN] == pytest.approx(50)


def test_no_detection_is_a_file_without_lines(frames: FrontView, tmp_path: Path) -> None:
    none = Detections(Boxes(torch.zeros(0, 7)), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    tables = KittiBenchmark().measure(frames, {0: none}, tmp_path)
    assert tables[0].scores["Car, easy"] == 0
    assert tables[0].note.startswith("fewer than 40 objects, so that no detector reaches 100: Car,")
    assert "Pedestrian, hard (1)" in tables[0].note
    assert (tmp_path / "results/000000.txt").read_text() == ""


def test_objects_that_are_too_hidden_are_not_banked(frames: FrontView) -> None:
    assert KittiBenchmark().banked(frames, 0).tolist() == [True, True]
    path = frames.dataset._root / "training/label_2/000002.txt"
    text = path.read_text()
    path.write_text(text.replace("Pedestrian 0 0", "Pedestrian 0 3"))
    try:
        assert KittiBenchmark().banked(frames, 2).tolist() == [True, False]
    finally:
        path.write_text(text)


def test_sizes_are_openpcdets_and_other_datasets_are_refused() -> None:
    assert KittiBenchmark().sizes([np.ones((2, 3))])[0] == (3.9, 1.6, 1.56)
    with pytest.raises(CleverError, match=r"^`dataset=folder`: detectors are trained on kitti"):
        benchmark_of("folder")


def test_boxes_of_a_mask_keep_their_parts_together() -> None:
    boxes = LabelledBoxes(("a", "b", "c"), np.arange(21.0).reshape(3, 7), np.arange(3))
    part = boxes[np.array([True, False, True])]
    assert (part.names, part.rows[:, 0].tolist()) == (("a", "c"), [0, 14])
    assert part.points is not None
    assert part.points.tolist() == [0, 2]
    assert LabelledBoxes(("a",), np.zeros((1, 7)))[np.array([True])].points is None
