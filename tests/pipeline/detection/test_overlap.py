"""Overlaps against polygons of shapely, sampled points, closed forms and invariances."""

import math

import pytest
import torch

from clever.pipeline.detection import overlap
from clever.pipeline.detection.boxes import Boxes, turn
from clever.pipeline.detection.overlap import bev_iou, image_iou, iou_3d, shared_area

from .box_samples import box, random_boxes


def test_overlap_equals_shapely() -> None:
    shapely = pytest.importorskip("shapely", reason="shapely is the reference of this test")
    first, second = random_boxes(30, 0), random_boxes(40, 1)
    polygons, others = (
        [shapely.Polygon(corners[:4, :2].tolist()) for corners in boxes.corners()]
        for boxes in (first, second)
    )
    bev, space = bev_iou(first, second), iou_3d(first, second)
    for n, polygon in enumerate(polygons):
        for m, other in enumerate(others):
            shared = polygon.intersection(other).area
            expected = shared / polygon.union(other).area
            assert float(bev[n, m]) == pytest.approx(expected, abs=1e-12)
            low = max(float(b.corners()[i, :, 2].min()) for b, i in ((first, n), (second, m)))
            high = min(float(b.corners()[i, :, 2].max()) for b, i in ((first, n), (second, m)))
            volume = shared * max(high - low, 0)
            whole = float(first.sizes[n].prod() + second.sizes[m].prod()) - volume
            assert float(space[n, m]) == pytest.approx(volume / whole, abs=1e-12)
    assert (bev > 0.1).sum() > 100
    assert (bev == 0).sum() > 50
    assert (space > 0.1).sum() > 30


def test_overlap_in_space_equals_the_share_of_sampled_points() -> None:
    first, second = random_boxes(6, 2, spread=1.0), random_boxes(6, 3, spread=1.0)
    draws = torch.rand(100_000, 3, dtype=torch.float64, generator=torch.manual_seed(4))
    points = 10 * draws - 5
    inside, other = first.contain(points).double(), second.contain(points).double()
    both = inside @ other.T
    either = inside.sum(1)[:, None] + other.sum(1)[None, :] - both
    ours = iou_3d(first, second)
    # Four and a half standard deviations of a share among so many points.
    assert ((ours - both / either).abs() <= 4.5 * (0.25 / either).sqrt()).all()
    assert either.median() > 1000
    assert ours.max() > 0.2


def test_squares_turned_by_an_eighth_share_an_octagon() -> None:
    square, turned = box(5, -3, 0, 2, 2, 2, 0.3), box(5, -3, 0, 2, 2, 2, 0.3 + math.pi / 4)
    octagon = 8 * (math.sqrt(2) - 1)  # of inradius 1
    assert shared_area(square, turned).item() == pytest.approx(octagon, abs=1e-12)
    assert bev_iou(square, turned).item() == pytest.approx(octagon / (8 - octagon), abs=1e-12)
    # Half as high above: half of the volume below is shared.
    raised = Boxes(turned.rows + torch.tensor([0, 0, 1.0, 0, 0, 0, 0]))
    assert iou_3d(square, raised).item() == pytest.approx(octagon / (16 - octagon), abs=1e-12)


@pytest.mark.parametrize("yaw", [0.0, 0.1, math.pi / 2, 1.0, -2.5, 40.0])
def test_equal_boxes_and_common_edges(yaw: float) -> None:
    """What breaks polygon clipping: vertices and edges that coincide."""
    one = box(40, 13, 0, 4, 2, 1, yaw)
    ahead = turn(torch.tensor([[1.0, 0.0]], dtype=torch.float64), one.yaws)
    for shift, expected in ((0, 1), (1, 3 / 5), (2, 1 / 3), (4, 0), (5, 0)):
        moved = one.rows.clone()
        moved[:, :2] += shift * ahead
        assert bev_iou(one, Boxes(moved)).item() == pytest.approx(expected, abs=1e-12)
    opposite = one.rows.clone()
    opposite[:, 6] += math.pi
    assert iou_3d(one, Boxes(opposite)).item() == pytest.approx(1, abs=1e-12)
    inner = one.rows.clone()
    inner[:, 3:6] /= 2
    assert bev_iou(one, Boxes(inner)).item() == pytest.approx(1 / 4, abs=1e-12)
    assert iou_3d(one, Boxes(inner)).item() == pytest.approx(1 / 8, abs=1e-12)


def test_overlap_is_symmetric_and_a_common_motion_does_not_change_it() -> None:
    first, second = random_boxes(15, 5), random_boxes(15, 6)
    ours = iou_3d(first, second)
    torch.testing.assert_close(iou_3d(second, first), ours.T, rtol=0, atol=1e-12)
    angle, shift = torch.tensor(0.7, dtype=torch.float64), torch.tensor([30.0, -20.0, 2.0])
    first_moved, second_moved = (
        Boxes(
            torch.cat(
                [
                    torch.cat([turn(b.centres[:, :2], angle), b.centres[:, 2:]], 1) + shift,
                    b.sizes,
                    b.yaws[:, None] + angle,
                ],
                1,
            )
        )
        for b in (first, second)
    )
    torch.testing.assert_close(iou_3d(first_moved, second_moved), ours, rtol=0, atol=1e-12)
    torch.testing.assert_close(bev_iou(first, first).diagonal(), torch.ones(15).double())


def test_parts_and_float32_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_boxes(12, 7), random_boxes(12, 8)
    ours = bev_iou(first, second)
    monkeypatch.setattr(overlap, "_PAIRS_AT_ONCE", 7)
    assert torch.equal(bev_iou(first, second), ours)
    single = bev_iou(Boxes(first.rows.float()), Boxes(second.rows.float()))
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, ours, rtol=0, atol=1e-5)


def test_empty_boxes_and_none() -> None:
    one = box(0, 0, 0, 2, 2, 2, 0)
    empty = torch.zeros(0, 7, dtype=torch.float64)
    assert bev_iou(one, Boxes(empty)).shape == (1, 0)
    for size in ((0, 0, 0), (0, 2, 2), (2, 2, 0)):
        flat = box(0, 0, 0, *size, 0)
        assert iou_3d(one, flat).item() == iou_3d(flat, flat).item() == 0


def test_rectangles_of_an_image() -> None:
    first = torch.tensor([[0.0, 0, 4, 2], [10, 10, 12, 12]])
    second = torch.tensor([[2.0, 1, 6, 5], [0, 0, 4, 2], [4, 0, 8, 2]])
    expected = torch.tensor([[2 / 22, 1, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(image_iou(first, second), expected)
    expected = torch.tensor([[2 / 8, 1, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(image_iou(first, second, over="first"), expected)
