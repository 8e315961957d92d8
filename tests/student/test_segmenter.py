"""`load_segmenter(folder)(points)`: labels and confidence of every point."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import clever
from clever.errors import CleverError
from clever.student.checkpoint import save_student
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import (
    NO_LABEL,
    Segmenter,
    TrainedSegmenter,
    Training,
    segmenter_digest,
)
from clever.student.tta import mean_probabilities

TRAINING = Training(
    dataset="toy",
    version=None,
    class_names=("floor", "wall", "sky"),
    batch_norm=False,
    head="linear probe",
    initialisation="random initialisation",
    frames="train 00 (3 scans)",
    scenes=("00",),
    details="50 epochs",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.5)
    probe = LinearProbe(student.out_channels, 3)
    with torch.no_grad():  # features of random weights are small: let the labels differ
        probe.linear.weight *= 1000
    Segmenter(student, probe).save(tmp_path / "run", TRAINING)
    return tmp_path / "run"


@pytest.fixture
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform([-8, -8, -1, 0], [8, 8, 2, 1], (400, 4)).astype(np.float32)


def test_labels_and_confidence_are_those_of_the_softmax(run: Path, points: np.ndarray) -> None:
    labels, confidence = clever.load_segmenter(run)(points)
    segmenter, training = clever.load_segmenter(run)
    assert training == TRAINING
    with torch.no_grad():
        logits = segmenter(PointBatch.from_clouds([torch.from_numpy(points)])).numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert (labels.dtype, confidence.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(labels, logits.argmax(1))
    np.testing.assert_allclose(confidence, shares.max(1), rtol=1e-5)
    assert len(set(labels.tolist())) > 1  # or the test shows little
    from_tensor = clever.load_segmenter(run)(torch.from_numpy(points).double())
    np.testing.assert_array_equal(from_tensor[0], labels)


def test_points_of_a_voxel_share_its_prediction(run: Path) -> None:
    """The network sees one point of each voxel; the others get what it says of it."""
    corners = np.array([[0.1, 0.1, 0.1], [3.1, 0.1, 0.1], [0.1, 4.1, 0.1]], np.float32)
    few = np.column_stack([corners, [0.1, 0.5, 0.9]]).astype(np.float32)
    doubled = np.concatenate([few, few + np.array([0.2, 0.1, 0.3, 0], np.float32)])
    segmenter = clever.load_segmenter(run)
    labels, confidence = segmenter(few)
    more_labels, more_confidence = segmenter(doubled)
    np.testing.assert_array_equal(more_labels, np.tile(labels, 2))
    np.testing.assert_array_equal(more_confidence, np.tile(confidence, 2))


def test_with_tta_the_mean_of_ten_passes(run: Path, points: np.ndarray) -> None:
    trained = clever.load_segmenter(run)
    labels, confidence = trained(points, tta=True)
    with torch.no_grad():
        batch = PointBatch.from_clouds([torch.from_numpy(points)])
        shares = mean_probabilities(trained.segmenter, batch).numpy()
    np.testing.assert_array_equal(labels, shares.argmax(1))
    np.testing.assert_array_equal(confidence, shares.max(1))
    assert not np.array_equal(confidence, trained(points)[1])


def test_rows_that_are_not_finite_have_no_label(run: Path, points: np.ndarray) -> None:
    trained = clever.load_segmenter(run)
    labels, confidence = trained(points)
    gaps = np.insert(points, [0, 5, 400], np.nan, axis=0)
    gaps[6, 1] = 1.0  # one that is NaN in part
    result, shares = trained(gaps)
    gap_rows = [0, 6, 402]
    assert result[gap_rows].tolist() == [NO_LABEL] * 3
    assert np.isnan(shares[gap_rows]).all()
    np.testing.assert_array_equal(np.delete(result, gap_rows), labels)
    np.testing.assert_array_equal(np.delete(shares, gap_rows), confidence)
    none, nothing = trained(np.full((2, 4), np.nan))
    assert none.tolist() == [NO_LABEL] * 2
    assert np.isnan(nothing).all()
    assert trained(np.zeros((0, 4)))[0].shape == (0,)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda points: points[:, :3], r"have the shape \(400, 3\), not \(N, 4\)"),
        (lambda points: points[0], r"have the shape \(4,\), not \(N, 4\)"),
        (lambda points: points * [1, 1, 1, 255], r"intensities from 0\.\d+ to 25\d.*; bring them"),
        (lambda points: points - [0, 0, 0, 0.5], r"intensities from -0\.49\d+ to 0\.49"),
        (lambda points: points * [1e5, 1, 1, 1], "remove its farthest points"),
    ],
)
def test_other_points_are_refused(
    run: Path, points: np.ndarray, change: Callable[[np.ndarray], np.ndarray], complaint: str
) -> None:
    with pytest.raises(CleverError, match=complaint):
        clever.load_segmenter(run)(change(points))


def test_weights_of_no_use_are_named(run: Path, points: np.ndarray) -> None:
    segmenter, training = clever.load_segmenter(run)
    with torch.no_grad():
        segmenter.classifier.linear.bias.fill_(torch.nan)
    with pytest.raises(CleverError, match="output is not finite"):
        TrainedSegmenter(segmenter, training)(points)


def test_the_digest_tells_student_and_classifier(run: Path, tmp_path: Path) -> None:
    digest = segmenter_digest(run)
    segmenter, training = clever.load_segmenter(run)
    segmenter.save(tmp_path / "again", training)
    assert segmenter_digest(tmp_path / "again") == digest
    other = build_student("minkunet-tiny", 0.5)
    save_student(tmp_path / "again", other, {})
    changed = segmenter_digest(tmp_path / "again")
    Segmenter(other, LinearProbe(other.out_channels, 3)).save(tmp_path / "again", training)
    assert len({digest, changed, segmenter_digest(tmp_path / "again")}) == 3
