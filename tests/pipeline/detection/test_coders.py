"""Codes of boxes: the formulae written out, and back."""

import math

import pytest
import torch

from clever.pipeline.detection.boxes import Boxes, wrapped
from clever.pipeline.detection.coders import CentreCoder, PointCoder, RegionCoder

from .box_samples import box, random_boxes


def check_same(ours: Boxes, boxes: Boxes) -> None:
    torch.testing.assert_close(ours.rows[:, :6], boxes.rows[:, :6])
    torch.testing.assert_close(wrapped(ours.yaws - boxes.yaws), torch.zeros_like(boxes.yaws))


def test_point_code_is_the_formula_and_goes_back() -> None:
    one = box(11, 2, -0.5, 4.2, 1.7, 1.5, 0.4)
    point = torch.tensor([[10.0, 2.5, -0.8]], dtype=torch.float64)
    diagonal = math.hypot(3.9, 1.6)
    expected = [1 / diagonal, -0.5 / diagonal, 0.3 / 1.56, math.log(4.2 / 3.9)]
    expected += [math.log(1.7 / 1.6), math.log(1.5 / 1.56), math.cos(0.4), math.sin(0.4)]
    code = PointCoder().encode(one, point, torch.tensor([0]))
    assert code[0].tolist() == pytest.approx(expected, abs=1e-12)
    boxes, points = random_boxes(9, 0), random_boxes(9, 1).centres
    classes = torch.arange(9) % 3
    codes = PointCoder().encode(boxes, points, classes)
    check_same(PointCoder().decode(codes, points, classes), boxes)
    # A longer vector of cos and sin is the same heading; a code of zeros is the mean size.
    codes[:, 6:] *= 3
    check_same(PointCoder().decode(codes, points, classes), boxes)
    mean = PointCoder().decode(torch.zeros(3, 8), torch.zeros(3, 3), torch.arange(3))
    torch.testing.assert_close(
        mean.sizes, torch.tensor([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]])
    )


def test_region_code_is_the_formula_in_the_regions_frame() -> None:
    region = box(10, 5, 1, 4, 3, 2, math.pi / 2)
    one = box(9, 7, 1.5, 8, 3, 1, math.pi / 2 + 0.2)
    expected = [2 / 5, 1 / 5, 0.25, math.log(2), 0, math.log(0.5), 0.2]
    ours = RegionCoder().encode(one, region)[0].tolist()
    assert ours == pytest.approx(expected, abs=1e-12)
    check_same(RegionCoder().decode(torch.tensor([expected]).double(), region), one)
    # A box that looks back is coded by its back.
    back = box(9, 7, 1.5, 8, 3, 1, math.pi / 2 + 0.2 + math.pi)
    assert RegionCoder().encode(back, region)[0].tolist() == pytest.approx(expected, abs=1e-12)
    boxes, regions = random_boxes(50, 2), random_boxes(50, 3)
    codes = RegionCoder().encode(boxes, regions)
    assert (codes[:, 6] >= -math.pi / 2).all()
    assert (codes[:, 6] < math.pi / 2).all()
    ours = RegionCoder().decode(codes, regions)
    torch.testing.assert_close(ours.rows[:, :6], boxes.rows[:, :6])
    difference = torch.remainder(ours.yaws - boxes.yaws + 1, math.pi)
    torch.testing.assert_close(difference, torch.ones_like(difference))
    assert (codes[:, 6] < 0).any()
    assert (ours.yaws.abs() <= math.pi + 1e-9).all()


def test_centre_code_is_the_formula_and_goes_back() -> None:
    coder = CentreCoder(0.5, (-10.0, -20.0))
    one = box(1.2, -3.4, 0.7, 4, 2, 1.5, -2.0)
    assert coder.cells(one).tolist() == [[22, 33]]  # 11.2 / 0.5 = 22.4, 16.6 / 0.5 = 33.2
    expected = [0.4, 0.2, 0.7, math.log(4), math.log(2), math.log(1.5)]
    expected += [math.sin(-2.0), math.cos(-2.0)]
    assert coder.encode(one)[0].tolist() == pytest.approx(expected, abs=1e-12)
    boxes = random_boxes(20, 4, spread=30)
    check_same(coder.decode(coder.encode(boxes), coder.cells(boxes)), boxes)
    assert (coder.cells(boxes) < 0).any()


def test_widths_are_those_of_the_codes() -> None:
    boxes = random_boxes(2, 5)
    classes, cells = torch.zeros(2, dtype=torch.int64), CentreCoder(1.0, (0.0, 0.0))
    assert PointCoder().encode(boxes, boxes.centres, classes).shape[1] == PointCoder().width
    assert RegionCoder().encode(boxes, boxes).shape[1] == RegionCoder().width
    assert cells.encode(boxes).shape[1] == cells.width
