"""Targets and losses written out as loops; boxes of points."""

import math

import pytest
import torch

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.coders import PointCoder
from clever.pipeline.detectors.point_head import (
    BACKGROUND,
    SHELL,
    PointMaps,
    PointTargets,
    class_loss,
    code_loss,
    joined,
    point_detections,
    point_targets,
)

from ..detection.box_samples import box, random_boxes

CODER = PointCoder()


def test_points_are_of_their_first_box_in_a_shell_or_background() -> None:
    boxes = random_boxes(6, 0, spread=2.0)
    classes = torch.tensor([2, 0, 1, 1, 0, 2])
    xyz = torch.randn(600, 3, generator=torch.manual_seed(1)).double() * 2.5
    frame = BoxFrame(torch.zeros(0, 4), boxes, classes)
    ours = point_targets(xyz, frame, CODER)
    expected, owners = [], []
    for point in xyz:
        inside = boxes.contain(point[None])[:, 0].tolist()
        wider = Boxes(boxes.rows + torch.tensor([0, 0, 0, 0.2, 0.2, 0.2, 0])).contain(point[None])
        if any(inside):
            owners.append(inside.index(True))
            expected.append(int(classes[owners[-1]]))
        else:
            expected.append(SHELL if wider.any() else BACKGROUND)
    assert ours.classes.tolist() == expected
    assert {BACKGROUND, SHELL, 0, 1, 2} == set(expected)
    owner = torch.tensor(owners)
    codes = CODER.encode(boxes[owner], xyz[ours.classes >= 0], classes[owner])
    torch.testing.assert_close(ours.codes, codes.float())
    none = point_targets(xyz, BoxFrame(frame.points, boxes[:0], classes[:0]), CODER)
    assert (none.classes == BACKGROUND).all()
    assert none.codes.shape == (0, 8)
    both = joined([ours, none])
    assert len(both.classes) == 1200
    assert torch.equal(both.codes, ours.codes)


def test_class_loss_is_the_formula() -> None:
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.1], [9.0, 9.0]])
    classes = torch.tensor([1, BACKGROUND, 0, SHELL])
    total = 0.0
    for row, category in ((0, 1), (1, -1), (2, 0)):
        for column in range(2):
            chance = 1 / (1 + math.exp(-float(logits[row, column])))
            if column == category:
                total -= 0.25 * (1 - chance) ** 2 * math.log(chance)
            else:
                total -= 0.75 * chance**2 * math.log(1 - chance)
    assert class_loss(logits, classes).item() == pytest.approx(total / 2, rel=1e-5)
    alone = class_loss(logits[1:2], classes[1:2])
    chances = [1 / (1 + math.exp(-value)) for value in (2.0, 0.3)]
    expected = -sum(0.75 * chance**2 * math.log(1 - chance) for chance in chances)
    assert alone.item() == pytest.approx(expected, rel=1e-5)


def test_code_loss_is_smooth_l1_of_points_of_a_class() -> None:
    codes = torch.zeros(3, 8)
    codes[0] += 7
    targets = torch.zeros(2, 8)
    targets[0, 2], targets[1, 5] = 0.05, -1.0
    ours = code_loss(codes, PointTargets(torch.tensor([BACKGROUND, 1, 0]), targets))
    expected = 0.5 * 0.05**2 * 9 + (1 - 0.5 / 9)
    assert ours.item() == pytest.approx(expected / 2, rel=1e-5)
    none = PointTargets(torch.full((3,), BACKGROUND), targets[:0])
    assert code_loss(codes, none).item() == 0


def test_exact_codes_give_the_boxes() -> None:
    boxes = Boxes(torch.cat([box(9, 2, 0, 4, 2, 2, 0.4).rows, box(0, -9, 0, 1, 1, 2, 2.0).rows]))
    classes = torch.tensor([0, 1])
    xyz = boxes.centres.repeat(4, 1) + 0.1 * torch.randn(8, 3, generator=torch.manual_seed(0))
    owner = torch.arange(8) % 2
    codes = CODER.encode(boxes[owner], xyz, classes[owner]).float()
    logits = torch.full((8, 3), -4.0)
    logits[torch.arange(8), classes[owner]] = torch.arange(8) / 10
    logits[7] = -3  # its score is too low
    ours = point_detections(PointMaps(logits, codes), xyz, CODER)
    assert ours.classes.tolist() == [0, 1]
    assert ours.scores.tolist() == pytest.approx([1 / (1 + math.exp(-s)) for s in (0.6, 0.5)])
    torch.testing.assert_close(ours.boxes.rows.double(), boxes.rows, atol=1e-5, rtol=0)
    every = point_detections(PointMaps(logits, codes), xyz, CODER, overlap=1.0, survivors=3)
    assert every.classes.tolist() == [0, 1, 0]
    few = point_detections(PointMaps(logits, codes), xyz, CODER, overlap=1.0, candidates=2)
    assert len(few.boxes) == 2
    none = point_detections(PointMaps(logits, codes), xyz, CODER, least_score=0.99)
    assert len(none.boxes) == 0
