"""Regions of interest: drawn by the rules, pooled and grouped as loops do it."""

import numpy as np
import pytest
import torch

from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.detections import Detections
from clever.pipeline.detection.overlap import iou_3d
from clever.pipeline.detectors.region_points import (
    ball_neighbours,
    farthest_points,
    gathered,
    pooled_points,
)
from clever.pipeline.detectors.regions import region_targets

from ..detection.box_samples import random_boxes


def shifted(shifts: list[float]) -> Boxes:
    """Boxes 4 m long that are so far along x from one at the origin: their overlap with it is
    (4 - d) / (4 + d)."""
    rows = torch.tensor([[shift, 0, 0, 4, 2, 1.5, 0] for shift in shifts])
    return Boxes(rows.float().reshape(-1, 7))


def frame(classes: list[int], shifts: list[float]) -> BoxFrame:
    return BoxFrame(torch.zeros(0, 4), shifted(shifts), torch.tensor(classes, dtype=torch.int64))


def proposals(shifts: list[float], classes: list[int]) -> Detections:
    return Detections(shifted(shifts), torch.linspace(0.9, 0.1, len(shifts)), torch.tensor(classes))


def test_regions_have_the_objects_of_their_own_class() -> None:
    ours = proposals([0.0, 0.2, 0.0], [0, 0, 1])
    targets = region_targets(ours, frame([0, 1], [0.1, 50]), 40, key=3)
    for row, overlap, box in zip(
        targets.regions.rows, targets.overlaps, targets.boxes.rows, strict=True
    ):
        if overlap > 0:
            assert box[0] == pytest.approx(0.1)
            expected = iou_3d(Boxes(row[None]), Boxes(box[None])).item()
            assert overlap.item() == pytest.approx(expected)
        else:  # the second class's object is far away
            assert torch.equal(row, box)
    assert {round(overlap, 3) for overlap in targets.overlaps.tolist()} == {0.951, 0.0}


def test_half_is_foreground_and_four_fifths_of_the_rest_are_hard() -> None:
    shifts = [0.05 * place for place in range(20)]  # overlaps 1 to 0.62
    shifts += [1.5, 2, 2.5] + [50.0] * 4  # hard: 0.45 to 0.23; easy: 0
    ours = proposals(shifts, [0] * len(shifts))
    targets = region_targets(ours, frame([0], [0]), 20, key=1)
    kind = targets.overlaps
    assert (kind >= 0.55).sum() == 10
    assert len(set(targets.regions.rows[kind >= 0.55][:, 0].tolist())) == 10  # each once
    assert ((kind < 0.55) & (kind >= 0.1)).sum() == 3  # no more than there are
    assert (kind < 0.1).sum() == 7
    again, other = (region_targets(ours, frame([0], [0]), 20, key) for key in (1, 2))
    assert torch.equal(targets.regions.rows, again.regions.rows)
    assert not torch.equal(targets.regions.rows, other.regions.rows)


def test_there_are_no_more_hard_ones_than_four_fifths() -> None:
    # Overlaps of 1, then 0.54 to 0.14, then 0.
    shifts = [0.0] * 10 + [1.2 + 0.2 * place for place in range(10)] + [50.0] * 4
    targets = region_targets(proposals(shifts, [0] * 24), frame([0], [0]), 20, key=1)
    kind = targets.overlaps
    assert (kind >= 0.55).sum() == 10
    assert ((kind < 0.55) & (kind >= 0.1)).sum() == 8
    assert (kind < 0.1).sum() == 2


@pytest.mark.parametrize(
    ("shifts", "low", "high"), [([0.0, 0.1], 0.55, 1.1), ([2.0, 2.5], 0.1, 0.55), ([9.0], 0, 0.1)]
)
def test_one_kind_alone_is_repeated(shifts: list[float], low: float, high: float) -> None:
    ours = proposals(shifts, [0] * len(shifts))
    targets = region_targets(ours, frame([0], [0]), 12, key=1)
    assert len(targets.overlaps) == 12
    assert targets.overlaps.ge(low).logical_and(targets.overlaps.lt(high)).all()


def test_frames_without_objects_or_proposals() -> None:
    none = region_targets(proposals([1.0, 2.0], [0, 1]), frame([], []), 6, key=0)
    assert none.overlaps.tolist() == [0] * 6
    empty = Detections(Boxes(torch.zeros(0, 7)), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert len(region_targets(empty, frame([0], [0]), 6, key=0).overlaps) == 0


def test_points_are_pooled_as_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    boxes = random_boxes(12, seed=0)
    xyz = torch.from_numpy(rng.normal(size=(300, 3)) * 3).to(boxes.rows)
    boxes.rows[0, 0] = 99
    places, filled = pooled_points(boxes, xyz, 7)
    inside = boxes.contain(xyz)
    for row, own, has in zip(inside, places, filled, strict=True):
        members = torch.nonzero(row).flatten().tolist()
        assert has == bool(members)
        if members:
            first = members[:7]
            assert own.tolist() == [first[place % len(first)] for place in range(7)]
    assert not filled[0]
    assert places[0].tolist() == [0] * 7
    assert inside.sum(1).max() > 7


def test_farthest_points_and_neighbours_are_those_of_loops() -> None:
    rng = torch.Generator().manual_seed(0)
    xyz = torch.rand(3, 40, 3, generator=rng)
    xyz[2] = 0  # a region without points
    chosen = farthest_points(xyz, 8)
    for cloud, own in zip(xyz[:2], chosen[:2], strict=True):
        expected = [0]
        for _ in range(7):
            gaps = torch.cdist(cloud, cloud[expected]).amin(1)
            expected.append(int(gaps.argmax()))
        assert own.tolist() == expected
    assert chosen[2].tolist() == [0] * 8
    centres = gathered(xyz, chosen)
    assert torch.equal(centres[1, 3], xyz[1, chosen[1, 3]])
    places = ball_neighbours(xyz, centres, 0.3, 4)
    for cloud, middle, own in zip(xyz, centres, places, strict=True):
        for centre, members in zip(middle, own, strict=True):
            near = torch.nonzero((cloud - centre).norm(dim=1) < 0.3).flatten().tolist()[:4]
            assert members.tolist() == near + [near[0]] * (4 - len(near))
    far = ball_neighbours(xyz[:1], torch.full((1, 1, 3), 9.0), 0.3, 4)
    assert far.tolist() == [[[0, 0, 0, 0]]]
