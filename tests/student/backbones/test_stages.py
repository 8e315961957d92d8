"""Decoder stages: which there are, and which of their voxels holds each of the finest."""

from collections.abc import Callable

import pytest
import torch

from clever.errors import CleverError
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.student import stage_name


@pytest.mark.parametrize("name", ["minkunet-tiny", "ptv3-tiny", "waffleiron-tiny"])
def test_stages_end_in_the_output_and_hold_every_voxel(
    name: str, make_batch: Callable[..., PointBatch]
) -> None:
    torch.manual_seed(0)
    student = build_student(name, 0.4).eval()  # type: ignore[arg-type]
    points = make_batch(300, 0, 500)
    voxels = student.voxels(points)
    with torch.no_grad():
        features = student.encode(points, voxels)
        stages = student.encode_stages(points, voxels)
    count = len(student.backbone.stage_channels)
    finest = student.backbone.halvings == 0
    halvings = [0] * count if finest else list(range(count - 1, -1, -1))
    assert [stage.halvings for stage in stages] == halvings
    assert [stage.features.shape[1] for stage in stages] == list(student.backbone.stage_channels)
    assert torch.equal(stages[-1].features, features)
    for stage in stages:
        rows = {tuple(row): number for number, row in enumerate(stage.coords.tolist())}
        assert len(rows) == len(stage.features) == len(stage.coords)
        expected = [
            rows[(scene, *(place // 2**stage.halvings for place in places))]
            for scene, *places in voxels.coords.tolist()
        ]
        assert stage.holders(voxels).tolist() == expected
        assert set(expected) == set(range(len(rows)))
    names = [stage_name(number) for number in range(count)]
    assert names[:2] == ["last", "last-1"]
    assert student.stage_channels(1) == student.backbone.stage_channels[-2]
    with pytest.raises(CleverError, match=f"has no decoder stage last-{count}; it has last,"):
        student.stage_channels(count)


def test_a_batch_without_points_has_empty_stages(make_batch: Callable[..., PointBatch]) -> None:
    student = build_student("minkunet-tiny", 0.4).eval()
    points = make_batch(0)
    stages = student.encode_stages(points, student.voxels(points))
    assert [tuple(stage.features.shape) for stage in stages] == [(0, 32), (0, 32), (0, 24), (0, 64)]
    assert [stage.halvings for stage in stages] == [3, 2, 1, 0]
    student = build_student("waffleiron-tiny", 0.4).eval()
    stages = student.encode_stages(points, student.voxels(points))
    assert [tuple(stage.features.shape) for stage in stages] == [(0, 64)] * 3
    assert [stage.halvings for stage in stages] == [0, 0, 0]


def test_stages_of_a_waffleiron_are_equal_parts_of_its_layers(
    make_batch: Callable[..., PointBatch],
) -> None:
    torch.manual_seed(0)
    student = build_student("waffleiron-tiny", 0.4)
    points = make_batch(300)
    draws = Draws(points, [0])
    voxels = student.voxels(points, draws)
    student.encode_stages(points, voxels, draws)[-2].features.square().sum().backward()
    for side in (student.backbone.spatial, student.backbone.channel):
        assert isinstance(side, torch.nn.ModuleList)
        reached = [any(p.grad is not None for p in part.parameters()) for part in side]
        assert reached == [True] * 6 + [False] * 3


def test_a_coarser_stage_is_trained_by_what_hangs_on_it(
    make_batch: Callable[..., PointBatch],
) -> None:
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.4)
    points = make_batch(300)
    draws = Draws(points, [0])
    voxels = student.voxels(points, draws)
    stage = student.encode_stages(points, voxels, draws)[-2]
    stage.features.index_select(0, stage.holders(voxels)).square().sum().backward()
    decoder = student.backbone.decoder
    assert isinstance(decoder, torch.nn.ModuleList)
    reached = [any(p.grad is not None for p in part.parameters()) for part in decoder]
    assert reached == [True, True, True, False]
