"""Objects of other frames put into a frame."""

from collections.abc import Sequence

import pytest
import torch

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.object_bank import ObjectBank
from clever.pipeline.detection.overlap import bev_iou


def one_frame(seed: int, places: Sequence[tuple[float, float]], classes: list[int]) -> BoxFrame:
    """Boxes of 2 x 1 x 1 m, each with ten points; points of the ground everywhere, intensity
    `seed`."""
    generator = torch.manual_seed(seed)
    rows = torch.tensor([[x, y, 0.6, 2, 1, 1, 0.3] for x, y in places]).reshape(-1, 7)
    xyz = torch.rand(len(places), 10, 3, generator=generator) * 0.5 - 0.25 + rows[:, None, :3]
    ground = torch.rand(2000, 3, generator=generator) * torch.tensor([40.0, 40, 1.2])
    xyz = torch.cat([xyz.reshape(-1, 3), ground - torch.tensor([20.0, 20, 0])])
    points = torch.cat([xyz, torch.full((len(xyz), 1), float(seed))], 1)
    return BoxFrame(points, Boxes(rows), torch.tensor(classes, dtype=torch.int64))


@pytest.fixture(scope="module")
def bank() -> ObjectBank:
    """Twelve objects of class 0 on a line, six of class 1 on another; two meet."""
    first = one_frame(1, [(3 * n - 18, 5) for n in range(12)], [0] * 12)
    second = one_frame(2, [(4 * n - 12, -5) for n in range(5)] + [(-12, -5.2)], [1] * 6)
    return ObjectBank.of([first, second])


FRAME = one_frame(3, [(0, 5), (0, 10)], [0, 1])


def test_the_bank_has_every_object_with_enough_points(bank: ObjectBank) -> None:
    assert len(bank) == 18
    assert bank.classes.tolist() == [0] * 12 + [1] * 6
    for row, points in zip(bank.rows, bank.points, strict=True):
        assert Boxes(row[None]).contain(points[:, :3]).all()
        assert len(points) >= 10
    assert [float(points[0, 3]) for points in bank.points] == [1.0] * 12 + [2.0] * 6
    least = min(map(len, bank.points))
    alone = one_frame(1, [(3 * n - 18, 5) for n in range(12)], [0] * 12)
    counts = alone.points_inside()
    for minimum in (least, int(counts.max()), int(counts.max()) + 1):
        assert len(ObjectBank.of([alone], minimum)) == int((counts >= minimum).sum())
    # Ten points of the first object, then four and five of the second.
    for count, objects in ((14, 1), (15, 2)):
        few = BoxFrame(alone.points[:count], alone.boxes, alone.classes)
        assert len(ObjectBank.of([few])) == objects
    empty = ObjectBank.of([])
    assert len(empty) == 0
    assert torch.equal(empty.add_to(FRAME, {0: 5}, 0).points, FRAME.points)


def test_objects_come_with_their_points_and_none_collide(bank: ObjectBank) -> None:
    ours = bank.add_to(FRAME, {0: 20, 1: 20}, 0)
    # All of class 0 but the one at x = 0, which the frame's own meets; of the two of class 1 that
    # meet, one.
    assert ours.classes.tolist() == [0, 1] + [0] * 11 + [1] * 5
    assert torch.equal(ours.boxes.rows[:2], FRAME.boxes.rows)
    assert (bev_iou(ours.boxes, ours.boxes).fill_diagonal_(0) == 0).all()
    for row, category in zip(ours.boxes.rows[2:], ours.classes[2:], strict=True):
        place = torch.nonzero((bank.rows == row).all(1)).item()
        inside = ours.points[Boxes(row[None]).contain(ours.points[:, :3])[0]]
        # None of the frame's own is left in the box.
        assert torch.equal(inside.sort(0).values, bank.points[int(place)].sort(0).values)
        assert bank.classes[int(place)] == category
    own = ours.points[ours.points[:, 3] == 3]
    covered = ours.boxes[2:]
    free = ~covered.contain(FRAME.points[:, :3]).any(0)
    assert torch.equal(own, FRAME.points[free])


def test_a_frame_gets_what_it_lacks(bank: ObjectBank) -> None:
    ours = bank.add_to(FRAME, {0: 4, 1: 1}, 1)
    assert 2 <= int((ours.classes == 0).sum()) <= 4
    assert (ours.classes == 1).sum() == 1
    assert len(bank.add_to(FRAME, {0: 1}, 1).classes) == 2
    assert len(bank.add_to(FRAME, {0: 0, 2: 9}, 1).classes) == 2


def test_the_key_decides_it(bank: ObjectBank) -> None:
    ours = bank.add_to(FRAME, {0: 4}, 0)
    assert torch.equal(bank.add_to(FRAME, {0: 4}, 0).points, ours.points)
    # What another class gets does not matter.
    both = bank.add_to(FRAME, {0: 4, 1: 3}, 0)
    assert torch.equal(both.boxes.rows[both.classes == 0], ours.boxes.rows[ours.classes == 0])
    for key in (1, 2, 3):
        assert not torch.equal(bank.add_to(FRAME, {0: 4}, key).points, ours.points)
