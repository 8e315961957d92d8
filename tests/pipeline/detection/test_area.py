"""Where boxes are looked for, and drawn points."""

import torch

from clever.pipeline.detection.area import Area, drawn_points
from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes

AREA = Area((0.0, -1.0, -2.0), (4.0, 1.0, 2.0))


def test_points_and_boxes_off_the_area_go() -> None:
    xyz = torch.tensor([[0.0, 0, 0], [4, 1, 2], [-0.1, 0, 0], [1, 1.1, 0], [1, 0, -2.1]])
    assert AREA.contains(xyz).tolist() == [True, True, False, False, False]
    cloud = torch.cat([xyz, torch.arange(5.0)[:, None]], 1)
    sizes = torch.tensor([3.0, 2, 1, 0.5]).expand(5, 4)
    frame = AREA.frame(BoxFrame(cloud, Boxes(torch.cat([xyz, sizes], 1)), torch.arange(5)))
    assert frame.points[:, 3].tolist() == [0, 1]
    assert frame.classes.tolist() == [0, 1]
    assert torch.equal(frame.boxes.centres, xyz[:2])


def test_far_points_are_always_among_those_drawn() -> None:
    cloud = torch.zeros(100, 4)
    cloud[:, 3] = torch.arange(100)
    cloud[::10, 0] = 40.0  # next to it is nearer
    cloud[1::10, 0] = 39.9
    drawn = drawn_points(cloud, 30, key=5)
    assert len(drawn) == 30
    assert set(range(0, 100, 10)) <= {int(value) for value in drawn[:, 3]}
    assert drawn[:, 3].diff().gt(0).all()  # in their order
    assert torch.equal(drawn, drawn_points(cloud, 30, key=5))
    assert not torch.equal(drawn, drawn_points(cloud, 30, key=6))
    far = drawn_points(cloud, 4, key=5)
    assert far[:, 0].eq(40).all()
    assert drawn_points(cloud, 100, key=5) is cloud
    assert drawn_points(cloud, None, key=5) is cloud


def test_near_points_are_drawn_alike() -> None:
    cloud = torch.zeros(10, 4)
    cloud[:, 3] = torch.arange(10)
    counts = torch.zeros(10)
    for key in range(400):
        counts[drawn_points(cloud, 5, key)[:, 3].long()] += 1
    assert counts.sub(200).abs().max() < 50
