"""Corners, points in boxes, angles."""

import math

import pytest
import torch

from clever.pipeline.detection.boxes import Boxes, turn, wrapped

from .box_samples import box, random_boxes


def test_corners_of_a_box_turned_by_a_quarter() -> None:
    corners = box(1, 2, 3, 4, 2, 1, math.pi / 2).corners()[0]
    # Ahead is +y now, left is -x: half the length goes along y, half the width along x.
    expected = [[x, y, z] for z in (2.5, 3.5) for x, y in ((0, 4), (0, 0), (2, 0), (2, 4))]
    torch.testing.assert_close(corners, torch.tensor(expected, dtype=torch.float64))
    below = corners[:4, :2]
    edges = below.roll(-1, 0) - below
    following = edges.roll(-1, 0)
    assert (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all()


def test_points_in_boxes_are_those_between_all_six_planes() -> None:
    boxes = random_boxes(20, 0)
    points = 2 * torch.randn(500, 3, dtype=torch.float64, generator=torch.manual_seed(1))
    corners = boxes.corners()
    inside = boxes.contain(points)
    for number in range(20):
        origin = corners[number, 2]  # behind, right, below
        bounded = torch.ones(500, dtype=torch.bool)
        for neighbour in (3, 1, 6):  # ahead, left, above
            side = corners[number, neighbour] - origin
            along = (points - origin) @ side / (side @ side)
            bounded &= (along >= 0) & (along <= 1)
        assert torch.equal(inside[number], bounded)
    assert 100 < inside.sum() < 9000


def test_a_point_on_the_surface_is_inside() -> None:
    one = box(0, 0, 0, 2, 2, 2, 0)
    points = torch.tensor([[1, 1, 1], [1.05, 0, 0], [0, 1.05, 0], [0, 0, -1.05], [1.2, 0, 0]])
    assert one.contain(points.double()).tolist() == [[True, False, False, False, False]]


def test_selection_and_parts() -> None:
    boxes = random_boxes(5, 2)
    assert torch.equal(boxes[torch.tensor([3, 1])].rows, boxes.rows[[3, 1]])
    assert len(boxes[boxes.rows[:, 0] > 100]) == 0
    rebuilt = torch.cat([boxes.centres, boxes.sizes, boxes.yaws[:, None]], 1)
    assert torch.equal(rebuilt, boxes.rows)


@pytest.mark.parametrize(
    "rows", [torch.zeros(7), torch.zeros(2, 8), torch.zeros(2, 7, dtype=torch.int64)]
)
def test_other_shapes_and_types_are_refused(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"boxes are \(N, 7\) real numbers"):
        Boxes(rows)


def test_angles_wrap_and_turn() -> None:
    angle = torch.tensor([0.0, math.pi, -math.pi, 3.5, 7.0, -4.0], dtype=torch.float64)
    ours = wrapped(angle)
    assert (ours >= -math.pi).all()
    assert (ours < math.pi).all()
    torch.testing.assert_close(torch.cos(ours), torch.cos(angle))
    torch.testing.assert_close(torch.sin(ours), torch.sin(angle))
    ahead = torch.tensor([1.0, 0.0], dtype=torch.float64)
    turned = turn(ahead.expand(6, 2), angle)
    torch.testing.assert_close(turned, torch.stack([angle.cos(), angle.sin()], 1))
