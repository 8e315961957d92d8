"""Scattered features and targets, against loops and the equations written out."""

import math

import pytest
import torch

from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detectors.centre_map import CentreMap, peak_radius
from clever.student.points import PointBatch

from ..detection.box_samples import box, random_boxes

GRID = CentreMap(0.5, (-4.0, -2.0), columns=16, rows=8)


def test_a_cell_has_the_largest_values_of_its_points() -> None:
    generator = torch.manual_seed(0)
    clouds = [(torch.rand(count, 4, generator=generator) - 0.5) * 12 for count in (150, 0, 90)]
    points = PointBatch.from_clouds(clouds)
    features = torch.randn(240, 3, generator=generator) - 1
    ours = GRID.scatter(features, points)
    expected = torch.full((3, 3, 8, 16), -math.inf)
    for xyz, scene, row in zip(points.xyz.tolist(), points.scene.tolist(), features, strict=True):
        column, line = math.floor((xyz[0] + 4) / 0.5), math.floor((xyz[1] + 2) / 0.5)
        if 0 <= column < 16 and 0 <= line < 8:
            cell = expected[scene, :, line, column]
            cell.copy_(torch.maximum(cell, row))
    expected[expected == -math.inf] = 0
    assert torch.equal(ours, expected)
    assert (ours[1] == 0).all()
    assert (ours[0] != 0).sum() > 60


def test_the_gradient_reaches_the_largest_alone() -> None:
    points = PointBatch.from_clouds([torch.tensor([[0.1, 0.1, 0, 0], [0.2, 0.2, 0, 0]])])
    features = torch.tensor([[1.0], [2.0]], requires_grad=True)
    GRID.scatter(features, points).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[0], [1]]


def test_radius_is_the_smallest_of_three_roots() -> None:
    for length, width in ((40.0, 16.0), (8.0, 8.0), (1.0, 1.0), (120.0, 30.0)):
        total, area = length + width, length * width
        first = (total + math.sqrt(total**2 - 4 * area * 0.9 / 1.1)) / 2
        second = (2 * total + math.sqrt(4 * total**2 - 16 * 0.9 * area)) / 2
        third = (-0.2 * total + math.sqrt(0.04 * total**2 + 1.6 * 0.9 * area)) / 2
        expected = max(2, int(min(first, second, third)))
        assert peak_radius(torch.tensor([[length, width]])).tolist() == [expected]
    assert peak_radius(torch.tensor([[40.0, 16.0]])).item() > 2


def test_targets_are_peaks_at_the_centres() -> None:
    boxes = Boxes(torch.cat([box(0.1, 0.6, 1, 2, 1, 1.5, 0.3).rows, box(9, 0, 0, 2, 1, 1, 0).rows]))
    targets = GRID.targets(
        [boxes, boxes[:0]], [torch.tensor([1, 0]), torch.zeros(0).long()], count=2
    )
    assert targets.heat.shape == (2, 2, 8, 16)
    # x = 0.1 is in column 8, y = 0.6 in row 5; the box at x = 9 is off the map.
    assert targets.cells.tolist() == [[0, 5, 8]]
    torch.testing.assert_close(targets.codes, GRID.coder.encode(boxes[:1]).float())
    assert (targets.heat[0, 0] == 0).all()
    assert (targets.heat[1] == 0).all()
    radius, deviation = 2, 5 / 6
    for row in range(8):
        for column in range(16):
            down, along = row - 5, column - 8
            inside = max(abs(down), abs(along)) <= radius
            expected = math.exp(-(down**2 + along**2) / (2 * deviation**2)) if inside else 0
            assert float(targets.heat[0, 1, row, column]) == pytest.approx(expected, abs=1e-6)


def test_peaks_of_neighbours_do_not_add() -> None:
    boxes = random_boxes(5, 0, spread=1.0)
    classes = torch.zeros(5, dtype=torch.int64)
    ours = GRID.targets([boxes], [classes], 1).heat[0, 0]
    alone = [GRID.targets([boxes[n : n + 1]], [classes[:1]], 1).heat[0, 0] for n in range(5)]
    assert torch.equal(ours, torch.stack(alone).amax(0))
    assert ours.max() == 1
