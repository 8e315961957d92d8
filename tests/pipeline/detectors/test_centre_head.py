"""Losses written out, peaks, and a head that learns a frame by heart."""

import math

import pytest
import torch

from clever.pipeline.detection.boxes import Boxes, wrapped
from clever.pipeline.detection.overlap import bev_iou
from clever.pipeline.detectors.centre_head import (
    CentreHead,
    CentreMaps,
    code_loss,
    detections,
    heat_loss,
)
from clever.pipeline.detectors.centre_map import CentreMap, CentreTargets

from ..detection.box_samples import box

GRID = CentreMap(0.5, (-4.0, -2.0), columns=16, rows=8)
BOXES = Boxes(
    torch.cat([box(-2.1, 0.6, 1, 2, 1, 1.5, 0.3).rows, box(2.3, -0.4, 0, 3, 1, 1, 2.5).rows])
)
CLASSES = torch.tensor([1, 0])


def test_heat_loss_is_the_formula() -> None:
    heat = torch.tensor([[[[1.0, 0.6], [0.0, 1.0]]]])
    logits = torch.tensor([[[[0.3, -0.2], [1.5, -2.0]]]])
    chance = [1 / (1 + math.exp(-value)) for value in (0.3, -0.2, 1.5, -2.0)]
    expected = (1 - chance[0]) ** 2 * math.log(chance[0])
    expected += 0.4**4 * chance[1] ** 2 * math.log(1 - chance[1])
    expected += chance[2] ** 2 * math.log(1 - chance[2])
    expected += (1 - chance[3]) ** 2 * math.log(chance[3])
    assert heat_loss(logits, heat).item() == pytest.approx(-expected / 2, rel=1e-6)
    nothing = heat_loss(logits, torch.zeros_like(heat)).item()
    expected = sum(p**2 * math.log(1 - p) for p in chance)
    assert nothing == pytest.approx(-expected, rel=1e-6)
    assert heat_loss(torch.full_like(heat, -200.0), heat).isfinite()


def test_code_loss_reads_the_cells_of_the_boxes() -> None:
    codes = torch.arange(2 * 8 * 8 * 16.0).view(2, 8, 8, 16)
    cells = torch.tensor([[1, 3, 5], [0, 7, 0]])
    targets = torch.stack([codes[1, :, 3, 5] + 0.5, codes[0, :, 7, 0] - 0.25])
    ours = code_loss(codes, CentreTargets(torch.zeros(0), cells, targets))
    assert ours.item() == pytest.approx((8 * 0.5 + 8 * 0.25) / 2)
    none = CentreTargets(torch.zeros(0), cells[:0], targets[:0])
    assert code_loss(codes, none).item() == 0


def exact_maps() -> CentreMaps:
    """Maps that say what the targets say."""
    targets = GRID.targets([BOXES], [CLASSES], 2)
    codes = torch.zeros(1, 8, 8, 16)
    frame, row, column = targets.cells.unbind(1)
    codes[frame, :, row, column] = targets.codes
    return CentreMaps(torch.logit(targets.heat * 0.8 + 0.01), codes)


def test_peaks_of_the_targets_are_the_boxes() -> None:
    maps = exact_maps()
    maps.heat[0, 0] += 0.1  # the second box is surer
    (ours,) = detections(maps, GRID, least_score=0.3)
    assert ours.classes.tolist() == [0, 1]
    torch.testing.assert_close(ours.boxes.rows.double(), BOXES.rows[[1, 0]], atol=1e-5, rtol=0)
    assert ours.scores.tolist() == pytest.approx(
        [1 / (1 + math.exp(-math.log(0.81 / 0.19) - 0.1)), 0.81], abs=1e-6
    )
    (first,) = detections(maps, GRID, most=1, least_score=0.3)
    assert first.classes.tolist() == [0]
    (none,) = detections(maps, GRID, least_score=0.9)
    assert len(none.boxes) == len(none.scores) == 0


def test_a_head_learns_a_frame_by_heart() -> None:
    torch.manual_seed(0)
    head = CentreHead(6, 2, width=16, depth=2)
    features = torch.randn(1, 6, 8, 16)
    targets = GRID.targets([BOXES], [CLASSES], 2)
    start = head(features).heat.sigmoid().mean().item()
    assert 0.05 < start < 0.2
    optimiser = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(150):
        maps = head(features)
        loss = heat_loss(maps.heat, targets.heat) + 0.5 * code_loss(maps.codes, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    (ours,) = detections(CentreMaps(*(part.detach() for part in head(features))), GRID)
    order = ours.classes[:2].argsort(descending=True)
    assert ours.classes[:2][order].tolist() == CLASSES.tolist()
    ours_boxes = ours.boxes[order]
    assert bev_iou(ours_boxes, BOXES).diagonal().min() > 0.7
    assert wrapped(ours_boxes.yaws - BOXES.yaws).abs().max() < 0.2
