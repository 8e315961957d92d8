"""Flips, rotations and scales of points with their boxes."""

import math

import numpy as np
import pytest
import torch

from clever.pipeline.datasets.boxes import LabelledBoxes
from clever.pipeline.detection.box_augmentation import BoxAugmentation, moved
from clever.pipeline.detection.box_frame import BoxFrame, box_frame
from clever.pipeline.detection.overlap import iou_3d

from .box_samples import box, random_boxes


@pytest.fixture
def frame() -> BoxFrame:
    generator = torch.manual_seed(0)
    points = torch.cat(
        [3 * torch.randn(400, 3, generator=generator), torch.rand(400, 1, generator=generator)], 1
    )
    boxes = random_boxes(6, 1, spread=3)
    return BoxFrame(points.double(), boxes, torch.arange(6) % 3)


@pytest.mark.parametrize(
    "motion", [(True, 0.0, 1.0), (False, 0.7, 1.0), (False, 0.0, 1.05), (True, -0.5, 0.95)]
)
def test_points_stay_in_their_boxes(frame: BoxFrame, motion: tuple[bool, float, float]) -> None:
    ours = moved(frame, *motion)
    inside = frame.boxes.contain(frame.points[:, :3])
    assert torch.equal(ours.boxes.contain(ours.points[:, :3]), inside)
    assert inside.sum() > 30
    torch.testing.assert_close(
        iou_3d(ours.boxes, ours.boxes), iou_3d(frame.boxes, frame.boxes), rtol=0, atol=1e-12
    )
    assert torch.equal(ours.points[:, 3], frame.points[:, 3])
    assert torch.equal(ours.classes, frame.classes)


def test_the_motion_is_flip_then_turn_then_scale() -> None:
    one = BoxFrame(
        torch.tensor([[3.0, 4, 1, 0.5]]).double(), box(1, 2, 3, 4, 2, 1.5, 0.3), torch.tensor([0])
    )
    ours = moved(one, True, math.pi / 2, 2.0)
    # (3, 4) becomes (3, -4), then (4, 3), then twice that.
    assert ours.points[0].tolist() == pytest.approx([8, 6, 2, 0.5])
    expected = [4, 2, 6, 8, 4, 3, math.pi / 2 - 0.3]
    assert ours.boxes.rows[0].tolist() == pytest.approx(expected)
    # The frame itself is as it was.
    assert one.points[0].tolist() == [3, 4, 1, 0.5]
    assert moved(one, False, 0.0, 1.0).boxes.rows[0].tolist() == one.boxes.rows[0].tolist()


def test_the_key_decides_it(frame: BoxFrame) -> None:
    augment = BoxAugmentation()
    ours = augment(frame, 3)
    assert torch.equal(augment(frame, 3).boxes.rows, ours.boxes.rows)
    assert torch.equal(augment(frame, 3).points, ours.points)
    assert not torch.equal(augment(frame, 4).boxes.rows, ours.boxes.rows)


def test_draws_fill_their_ranges() -> None:
    one = BoxFrame(torch.zeros(0, 4), box(10, 0, 0, 2, 1, 1, 0.1), torch.tensor([0]))
    rows = torch.cat([BoxAugmentation()(one, n).boxes.rows for n in range(400)])
    factors = rows[:, 3] / 2
    assert 0.95 <= factors.min() < 0.952
    assert 1.048 < factors.max() <= 1.05
    angles = torch.atan2(rows[:, 1], rows[:, 0])
    assert -math.pi / 4 <= angles.min() < -0.75
    assert 0.75 < angles.max() <= math.pi / 4
    flips = (rows[:, 6] - angles).lt(0).double().mean()
    assert 0.42 < flips < 0.58
    never = BoxAugmentation(flip_p=0, rotation=0, scale=(1, 1))(one, 0)
    torch.testing.assert_close(never.boxes.rows, one.boxes.rows)


def test_boxes_of_other_classes_are_left_out() -> None:
    rows = random_boxes(4, 3).rows.numpy()
    labels = LabelledBoxes(("Car", "Van", "Cyclist", "Car"), rows)
    points = torch.tensor([[*rows[0, :3], 0.5], [*rows[2, :3], 0.5], [99, 0, 0, 0]]).float()
    ours = box_frame(points, labels, ("Car", "Pedestrian", "Cyclist"))
    assert ours.classes.tolist() == [0, 2, 0]
    np.testing.assert_allclose(ours.boxes.rows, rows[[0, 2, 3]], rtol=1e-6)
    assert ours.points_inside()[:2].min() >= 1
    assert ours.points is points
