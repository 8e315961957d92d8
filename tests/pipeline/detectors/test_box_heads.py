"""Both heads behind their interface: on features that say where a point is in its box, they learn a
frame by heart."""

import pytest
import torch

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.centre_distance import centre_precisions
from clever.pipeline.detection.coders import PointCoder
from clever.pipeline.detectors.box_batch import BoxBatch
from clever.pipeline.detectors.box_heads import BoxHead, CentreBoxHead, PointBoxHead
from clever.pipeline.detectors.centre_map import CentreMap
from clever.student.points import PointBatch

from ..detection.box_samples import box

GRID = CentreMap(1.0, (-8.0, -8.0), columns=16, rows=16)
SIZES = ((4.0, 2.0, 1.5), (1.0, 1.0, 1.8))


@pytest.fixture(scope="module")
def batch() -> tuple[PointBatch, list[BoxFrame], torch.Tensor]:
    """Three scenes (one empty of boxes) of points in boxes and of ground, and features: the point
    in the frame of its box, the box's size and heading."""
    generator = torch.manual_seed(0)
    frames = []
    for rows in (
        [box(3, 2, 0, 4.2, 1.9, 1.5, 0.5).rows, box(-4, -3, 0, 0.9, 1.1, 1.7, 2.0).rows],
        [],
        [box(-2, 5, 0, 3.8, 2.1, 1.6, -1.2).rows],
    ):
        boxes = Boxes(torch.cat([torch.zeros(0, 7).double(), *rows]).float())
        classes = (boxes.rows[:, 3] < 2).long()
        corners = torch.rand(len(boxes), 60, 3, generator=generator) - 0.5
        ahead, left = boxes.yaws.cos(), boxes.yaws.sin()
        xy = corners[..., :2] * boxes.sizes[:, None, :2]
        turned = torch.stack(
            [
                ahead[:, None] * xy[..., 0] - left[:, None] * xy[..., 1],
                left[:, None] * xy[..., 0] + ahead[:, None] * xy[..., 1],
                corners[..., 2] * boxes.sizes[:, None, 2],
            ],
            -1,
        )
        ground = torch.rand(80, 3, generator=generator) * torch.tensor([16.0, 16, 0.2])
        xyz = torch.cat([(turned + boxes.centres[:, None]).reshape(-1, 3),
                         ground - torch.tensor([8.0, 8, 1.4])])  # fmt: skip
        frames.append(BoxFrame(torch.cat([xyz, torch.zeros(len(xyz), 1)], 1), boxes, classes))
    points = PointBatch.from_clouds([frame.points for frame in frames])
    features = torch.zeros(len(points), 10)
    start = 0
    for frame in frames:
        inside = frame.boxes.contain(frame.points[:, :3])
        for number, row in enumerate(frame.boxes.rows):
            own = torch.nonzero(inside[number]).flatten() + start
            offset = row[:3] - points.xyz[own]
            said = torch.cat([row[3:6], row[6:].cos(), row[6:].sin(), torch.ones(1)])
            features[own] = torch.cat([offset, said.expand(len(own), 6), features[own, :1]], 1)
        start += len(frame.points)
    return points, frames, features


@pytest.mark.parametrize("kind", ["centre", "point"])
def test_a_head_learns_frames_by_heart(
    batch: tuple[PointBatch, list[BoxFrame], torch.Tensor], kind: str
) -> None:
    points, frames, features = batch
    torch.manual_seed(0)
    head: BoxHead = (
        CentreBoxHead(GRID, 10, 2) if kind == "centre" else PointBoxHead(PointCoder(SIZES), 10)
    )
    optimiser = torch.optim.Adam(head.parameters(), 0.005)
    first = last = 0.0
    for step in range(60):
        losses = head.losses(features, points, BoxBatch([""] * 3, [step] * 3, tuple(frames)))
        total = torch.stack(list(losses.values())).sum()
        first, last = (total.item() if step == 0 else first), total.item()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert last < first / 5
    assert all(parameter.grad is not None for parameter in head.parameters())
    results = head.detections(features, points)
    assert len(results) == 3
    assert not results[0].boxes.rows.requires_grad
    precision = centre_precisions(frames, results, 2)
    assert precision[:, 1:].min() > 0.8
