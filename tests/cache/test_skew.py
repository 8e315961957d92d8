"""A skewed camera matrix: honoured wherever points are projected, refused where it is no skew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clever.cache.calibration_checks import LARGEST_SKEW, matrix_fault
from clever.cache.frame import Camera, Frame
from clever.cache.lens import Lens
from clever.cache.occlusion import hidden_points
from clever.cache.projection import project, visible_pairs
from clever.errors import FrameError
from clever.pipeline.alignment.view import _pixels

FX, FY, CX, CY, SKEW = 120.0, 118.0, 79.5, 44.5, 9.0
LENS = Lens("radial-tangential", (-0.12, 0.03, 0.002, -0.001))


def camera(skew: float = SKEW, lens: Lens | None = None) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.05, -0.08, 0.03]).as_matrix()
    pose[:3, 3] = 0.2, -0.4, 0.3
    matrix = np.array([[FX, skew, CX], [0, FY, CY], [0, 0, 1]])
    return Camera("c", Path("c.png"), 160, 90, matrix, pose, lens)


def cloud(count: int = 400) -> np.ndarray:
    xyz = np.random.default_rng(3).uniform([-6, -3, -2], [6, 3, 15], (count, 3))
    return np.column_stack([xyz, np.zeros(count)]).astype(np.float32)


def by_hand(point: np.ndarray, one: Camera) -> tuple[float, float, float]:
    """Pixel and depth of one point, a number at a time, as OpenCV writes its model."""
    turn, move = one.camera_from_lidar[:3, :3], one.camera_from_lidar[:3, 3]
    x, y, z = (
        sum(float(turn[i, j]) * float(point[j]) for j in range(3)) + float(move[i])
        for i in range(3)
    )
    a, b = x / z, y / z
    if one.lens:
        k1, k2, p1, p2 = one.lens.coefficients
        r = a * a + b * b
        radial = 1 + k1 * r + k2 * r * r
        a, b = (
            a * radial + 2 * p1 * a * b + p2 * (r + 2 * a * a),
            b * radial + p1 * (r + 2 * b * b) + 2 * p2 * a * b,
        )
    return FX * a + SKEW * b + CX, FY * b + CY, z


@pytest.mark.parametrize("lens", [None, LENS])
def test_pairs_of_a_skewed_camera_are_those_by_hand(lens: Lens | None) -> None:
    one, points = camera(lens=lens), cloud()
    pairs = visible_pairs(Frame("f", "s", 0, points, np.eye(4), (one,)))
    expected = {}
    for index, point in enumerate(points[:, :3]):
        u, v, z = by_hand(point, one)
        if z > 1 and 1 < u < 159 and 1 < v < 89:
            expected[index] = u, v
    assert len(expected) > 50
    assert pairs.point.tolist() == list(expected)
    np.testing.assert_allclose(pairs.uv, list(expected.values()), rtol=0, atol=1e-9)
    upright, _ = project(points[pairs.point, :3], camera(0, lens))
    assert np.abs(upright - pairs.uv).max() > 1


@pytest.mark.parametrize("lens", [None, LENS])
def test_many_transforms_at_once_honour_the_skew(lens: Lens | None) -> None:
    one, points = camera(lens=lens), cloud(50)[:, :3].astype(np.float64)
    transforms = np.stack([one.camera_from_lidar, np.eye(4)])
    uv, depth = _pixels(points, one, transforms)
    for number, transform in enumerate(transforms):
        expected = project(points, replace(one, camera_from_lidar=transform))
        np.testing.assert_allclose(uv[number], expected[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(depth[number], expected[1], rtol=0, atol=1e-12)


def test_what_hides_what_does_not_depend_on_the_skew() -> None:
    rng = np.random.default_rng(5)
    rays = rng.uniform([-0.5, -0.2], [0.5, 0.2], (1500, 2))
    depth = np.where(rng.random(1500) < 0.3, 4.0, 25.0)
    hidden = []
    for skew in (0.0, SKEW):
        one = camera(skew)
        one.camera_from_lidar[:3, 3] = 0.0, -0.5, -0.8
        uv = rays @ one.intrinsics[:2, :2].T + one.intrinsics[:2, 2]
        hidden.append(hidden_points(uv, depth, one))
    assert 10 < hidden[0].sum() < 1500
    np.testing.assert_array_equal(*hidden)


def test_a_skew_of_a_tenth_is_the_largest() -> None:
    largest = LARGEST_SKEW * FX
    for skew in (largest, -largest, 0.0):
        assert matrix_fault(camera(skew).intrinsics) == ""
    for skew in (1.001 * largest, -1.001 * largest, CX):
        with pytest.raises(FrameError, match=r"^frame f: camera c: its skew is -?\d+\.?\d* pix"):
            Frame("f", "s", 0, cloud(), np.eye(4), (camera(skew),))
