"""Both stages of PointRCNN: losses by formula, learning by heart, gradients of one stage alone."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.coders import PointCoder, RegionCoder
from clever.pipeline.detectors.box_batch import BoxBatch
from clever.pipeline.detectors.point_rcnn import PointRCNNHead
from clever.pipeline.detectors.region_head import (
    RegionHead,
    RegionSizes,
    refinement_losses,
    score_loss,
)
from clever.pipeline.detectors.regions import RegionTargets
from clever.student.points import PointBatch

SMALL = RegionSizes(16, 12, ((6, 0.5, 4, (12, 12)), (3, 1.0, 4, (12,))), (16,), 8)


def test_scores_are_learnt_where_regions_are_right_or_wrong() -> None:
    logits = torch.tensor([2.0, -1.0, 0.5, 3.0])
    overlaps = torch.tensor([0.9, 0.2, 0.5, 0.61])
    target, decided = torch.tensor([1.0, 0, 1]), torch.tensor([0, 1, 3])
    expected = functional.binary_cross_entropy(logits[decided].sigmoid(), target)
    assert score_loss(logits, overlaps).item() == pytest.approx(expected.item())
    assert score_loss(logits[2:3], overlaps[2:3]).item() == 0


def test_refinement_is_learnt_of_foreground_alone() -> None:
    regions = Boxes(torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3], [5, 5, 0, 4, 2, 1.5, 0]]))
    boxes = Boxes(torch.tensor([[1.4, 2, 0.1, 4.4, 2, 1.5, 0.3 + math.pi], [0, 0, 0, 9, 9, 9, 0]]))
    targets = RegionTargets(regions, torch.tensor([0.7, 0.5]), boxes)
    codes = torch.zeros(2, 7)
    by_code, by_corner = refinement_losses(codes, targets)
    # The object looks the other way: its codes and corners are those of its back.
    length = math.hypot(4, 2)
    own = [0.4 * math.cos(0.3) / length, -0.4 * math.sin(0.3) / length, 0.1 / 1.5,
           math.log(1.1), 0, 0, 0]  # fmt: skip
    expected = sum(
        abs(value) - 1 / 18 if abs(value) > 1 / 9 else 4.5 * value * value for value in own
    )
    assert by_code.item() == pytest.approx(expected, rel=1e-4)
    total = 0.0
    for ahead in (1, -1):
        for left in (1, -1):
            corner = torch.tensor([ahead * 2.0, left * 1.0])
            other = torch.tensor([ahead * 2.2, left * 1.0])
            c, s = math.cos(0.3), math.sin(0.3)
            matrix = torch.tensor([[c, -s], [s, c]])
            gap = matrix @ (other - corner) + torch.tensor([0.4, 0])
            distance = math.sqrt(float(gap.square().sum()) + 0.01)
            total += 2 * (0.5 * distance**2 if distance < 1 else distance - 0.5) / 8
    assert by_corner.item() == pytest.approx(total, rel=1e-4)
    exact = RegionCoder().encode(boxes, regions)
    assert sum(loss.item() for loss in refinement_losses(exact, targets)) < 1e-5
    nothing = RegionTargets(regions, torch.zeros(2), boxes)
    assert [loss.item() for loss in refinement_losses(codes, nothing)] == [0, 0]


def test_points_come_in_the_regions_own_frame() -> None:
    head = RegionHead(2, SMALL)
    region = Boxes(torch.tensor([[10.0, 0, 0, 4, 2, 2, math.pi / 2], [50, 0, 0, 1, 1, 1, 0]]))
    xyz = torch.tensor([[10.0, 1.5, 0.5], [0, 0, 0], [9.5, 0, 0]])
    features = torch.tensor([[1.0, 2], [3, 4], [5, 6]], requires_grad=True)
    pooled = head.pooled(region, xyz, torch.tensor([0.1, 0.2, 0.3]), features)
    assert pooled.shape == (2, 16, 7)
    depth = xyz[0].norm().item() / 70 - 0.5
    torch.testing.assert_close(pooled[0, 0], torch.tensor([1.5, 0, 0.5, 0.1, depth, 1, 2]))
    torch.testing.assert_close(pooled[0, 1, :3], torch.tensor([0, 0.5, 0]))
    torch.testing.assert_close(pooled[0, 2], pooled[0, 0])
    assert not pooled.requires_grad
    assert pooled[1].eq(0).all()
    assert head.pooled(region, xyz[:0], torch.zeros(0), features[:0]).eq(0).all()


def test_the_whole_head_has_openpcdets_layers() -> None:
    head = RegionHead(128)

    # Lift 5-128-128, merge 256-128, three abstractions and two perceptrons with batch norm;
    # beside them the linear layer that OpenPCDet does not have.
    def dense(*widths: int) -> int:
        return sum(a * b + b for a, b in itertools.pairwise(widths))

    expected = dense(5, 128, 128) + dense(256, 128)
    for widths in ((131, 128, 128, 128), (131, 128, 128, 256), (259, 256, 256, 512)):
        expected += dense(*widths) + sum(
            widths[1:]
        )  # a batch norm has two, of which the bias is one
    expected += sum(512 * 256 + 256 * 256 + 4 * 256 + dense(256, out) for out in (1, 7))
    expected += dense(128, 128)
    assert sum(parameter.numel() for parameter in head.parameters()) == expected


@pytest.fixture
def batch() -> tuple[PointBatch, list[BoxFrame]]:
    generator = torch.Generator().manual_seed(0)
    frames = []
    for number in range(2):
        rows = [[5.0 + number, 1, 0, 3, 1.6, 1.5, 0.2], [8, -3, 0, 3, 1.6, 1.5, 0]]
        box = Boxes(torch.tensor(rows))
        inside = box.centres[:, None] + (torch.rand(2, 40, 3, generator=generator) - 0.5)
        ground = torch.rand(150, 3, generator=generator) * torch.tensor([10.0, 10, 0])
        ground -= torch.tensor([0.0, 5, 1])
        cloud = torch.cat([inside.flatten(0, 1), ground])
        cloud = torch.cat([cloud, torch.rand(len(cloud), 1, generator=generator)], 1)
        frames.append(BoxFrame(cloud, box, torch.tensor([0, 1])))
    return PointBatch.from_clouds([frame.points for frame in frames]), frames


def drawn(frames: list[BoxFrame], key: int) -> BoxBatch:
    """The frames with keys for what is drawn of them."""
    return BoxBatch(["a", "b"], [key, -key], tuple(frames))


def test_both_stages_learn_and_the_second_leaves_the_first_alone(
    batch: tuple[PointBatch, list[BoxFrame]],
) -> None:
    points, frames = batch
    torch.manual_seed(0)
    head = PointRCNNHead(PointCoder(((3.0, 1.6, 1.5),) * 2), 6, SMALL, 16, 64, 32)
    features = torch.cat([points.xyz, torch.rand(len(points.xyz), 3)], 1).requires_grad_()
    losses = head.losses(features, points, drawn(frames, 1))
    assert losses.keys() == {"classes", "codes", "scores", "refinement", "corners"}
    again = head.losses(features, points, drawn(frames, 1))
    other = head.losses(features, points, drawn(frames, 3))
    assert again["scores"].item() == pytest.approx(losses["scores"].item(), abs=1e-6)
    assert other["scores"].item() != losses["scores"].item()
    (losses["scores"] + losses["refinement"] + losses["corners"]).backward()
    assert features.grad is None
    assert all(parameter.grad is None for parameter in head.head.parameters())
    assert all(parameter.grad is not None for parameter in head.refinement.parameters())
    optimiser = torch.optim.Adam(head.parameters(), 0.01)
    first = last = 0.0
    for step in range(25):
        total = torch.stack(list(head.losses(features, points, drawn(frames, step)).values())).sum()
        first, last = (total.item() if step == 0 else first), total.item()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert last < 0.6 * first
    results = head.eval().detections(features, points)
    assert len(results) == 2
    for result in results:
        assert not result.scores.requires_grad
        assert result.scores.diff().le(0).all()
        assert result.scores.min() >= 0.1


def test_an_empty_frame_has_no_boxes() -> None:
    head = PointRCNNHead(PointCoder(((3.0, 1.6, 1.5),)), 6, SMALL).eval()
    points = PointBatch.from_clouds([torch.zeros(0, 4)])
    (result,) = head.detections(torch.zeros(0, 6), points)
    assert len(result.scores) == 0
