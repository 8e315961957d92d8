"""Which clouds are left out of a training, by their bounds."""

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.student.clouds.extents import extent_fault
from clever.student.points import PointBatch
from clever.student.registry import build_student


def bounds(*cloud: tuple[float, float, float]) -> np.ndarray:
    points = np.array(cloud, np.float32)
    return np.stack([points.min(0), points.max(0)])


@pytest.mark.parametrize("far", [(9000, 0, 0), (0, -9000, 0), (0, 0, 9000), (1e30, 0, 0)])
def test_far_points_are_known_before_the_first_step(far: tuple[float, float, float]) -> None:
    cloud = bounds((0, 0, 0), far)
    assert "too far for 65536 voxels of 0.05 m" in extent_fault(cloud, 0.05, 4)
    assert extent_fault(bounds((0, 0, 0), (80, -60, 3)), 0.05, 4) == ""
    assert not extent_fault(bounds((0, 0, 0), (9000, 0, 0)), 1.0, 4)


def test_the_limit_has_room_for_turns_mixing_and_scale() -> None:
    limit = 2**16 * 0.05 / 2 / 1.1
    assert extent_fault(bounds((0, 0, 0), (limit * 0.999, 0, 0)), 0.05, 4) == ""
    assert extent_fault(bounds((0, 0, 0), (limit * 1.001, 0, 0)), 0.05, 4)
    assert extent_fault(bounds((0, 0, 0), (limit * 0.75, limit * 0.75, 0)), 0.05, 4)


@pytest.mark.parametrize("width", [0.01, 0.7, 0.9, 3.0])
def test_small_clouds_are_those_that_a_student_refuses(width: float) -> None:
    cloud = np.array([[0.01, 0.01, 0.01, 0.5], [0.01 + width, 0.01, 0.01, 0.5]], np.float32)
    student = build_student("minkunet-tiny", 0.05).train()
    halvings = student.backbone.halvings
    fault = extent_fault(bounds(*cloud[:, :3].tolist()), 0.05, halvings)
    try:
        student.voxels(PointBatch.from_clouds([torch.from_numpy(cloud)]))
        refused = False
    except CleverError:
        refused = True
    assert bool(fault) == refused == (width < 0.05 * 2**halvings)
    assert extent_fault(bounds(*cloud[:, :3].tolist()), 0.05, None) == ""
