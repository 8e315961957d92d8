"""Suppression against a loop over sorted boxes."""

import pytest
import torch

from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.overlap import bev_iou, iou_3d
from clever.pipeline.detection.suppression import suppressed

from .box_samples import box, random_boxes


def slow(boxes: Boxes, scores: torch.Tensor, overlap: float) -> list[int]:
    survivors: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -float(scores[i])):
        one = boxes[torch.tensor([index])]
        if all(bev_iou(one, boxes[torch.tensor([k])]).item() <= overlap for k in survivors):
            survivors.append(index)
    return survivors


def test_suppression_equals_a_loop() -> None:
    boxes = random_boxes(40, 0)
    scores = torch.rand(40, generator=torch.manual_seed(1))
    for overlap in (0.05, 0.3, 0.7):
        expected = slow(boxes, scores, overlap)
        assert suppressed(boxes, scores, overlap).tolist() == expected
        assert suppressed(boxes, scores, overlap, survivors=3).tolist() == expected[:3]
    best = scores.argsort(descending=True)[:10]
    expected = best[torch.tensor(slow(boxes[best], scores[best], 0.1))].tolist()
    assert suppressed(boxes, scores, 0.1, candidates=10).tolist() == expected
    assert 1 < len(expected) < 10


def test_a_box_that_went_suppresses_none() -> None:
    """Of three in a row, the middle one goes and the last, which only the middle one touches,
    remains; equal scores go by order; an overlap of exactly the limit remains."""
    row = Boxes(torch.cat([box(x, 0, 0, 4, 2, 2, 0).rows for x in (0, 2, 4)]))
    assert suppressed(row, torch.tensor([0.9, 0.8, 0.7]), 0.2).tolist() == [0, 2]
    assert suppressed(row, torch.tensor([0.5, 0.5, 0.5]), 0.2).tolist() == [0, 2]
    limit = bev_iou(row[:1], row[1:2]).item()
    assert suppressed(row, torch.tensor([0.7, 0.8, 0.9]), limit).tolist() == [2, 1, 0]
    assert suppressed(row[:0], torch.zeros(0), 0.2).tolist() == []


def test_the_limit_holds_between_blocks() -> None:
    """Blocks hold 64 boxes: the first one's decide about the last box alone."""
    row = Boxes(torch.cat([box(x, 0, 0, 4, 2, 2, 0).rows for x in (*range(0, 6400, 100), 2)]))
    scores, limit = torch.linspace(0.9, 0.1, 65), bev_iou(row[:1], row[64:]).item()
    assert suppressed(row, scores, limit).tolist() == list(range(65))
    assert suppressed(row, scores, limit - 1e-9).tolist() == list(range(64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same() -> None:
    boxes, others = random_boxes(60, 2), random_boxes(50, 3)
    scores = torch.rand(60, generator=torch.manual_seed(4))
    moved = Boxes(boxes.rows.cuda())
    ours = iou_3d(moved, Boxes(others.rows.cuda())).cpu()
    torch.testing.assert_close(ours, iou_3d(boxes, others), rtol=0, atol=1e-12)
    expected = suppressed(boxes, scores, 0.3)
    assert torch.equal(suppressed(moved, scores.cuda(), 0.3).cpu(), expected)
