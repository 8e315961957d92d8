"""The occlusion test against scenes whose answer is known, and its window against brute force."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clever.cache.frame import Camera, Frame
from clever.cache.occlusion import _quadrant, hidden
from clever.cache.projection import project, visible_pairs

CAMERA = Camera("c", Path("c.png"), 1600, 900, np.array([[1266.0, 0, 800], [0, 1266, 450], [0, 0, 1]]), np.eye(4))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("along", "across"), [(1, 1), (2, 3), (5, 4)])
def test_quadrant_minimum(up: bool, left: bool, along: int, across: int) -> None:
    buffer = np.random.default_rng(0).uniform(size=(20, 30))
    got = _quadrant(buffer, along, across, up, left)
    for row, column in np.ndindex(buffer.shape):
        rows = slice(max(0, row - along), row + 1) if up else slice(row, row + along + 1)
        columns = slice(max(0, column - across), column + 1) if left else slice(column, column + across + 1)
        assert got[row, column] == buffer[rows, columns].min()


def grid(u: tuple[float, float], v: tuple[float, float], depth: float) -> tuple[np.ndarray, np.ndarray]:
    """Points every 8 pixels across and every 27 along, as a 32-beam LiDAR sees a wall."""
    uv = np.stack(np.meshgrid(np.arange(*u, 8.0), np.arange(*v, 27.0)), -1).reshape(-1, 2)
    return uv, np.full(len(uv), depth)


def test_wall_behind_a_car() -> None:
    """Behind the middle of a near object: hidden. Beside it, at its outline, on it: visible."""
    car_uv, car_depth = grid((600, 1000), (400, 600), 8)
    wall_uv, wall_depth = grid((300, 1300), (210, 800), 25)
    result = hidden(np.concatenate([car_uv, wall_uv]), np.concatenate([car_depth, wall_depth]), CAMERA)
    assert not result[: len(car_uv)].any()
    wall = result[len(car_uv) :]
    inside = ((wall_uv > [640, 430]) & (wall_uv < [960, 570])).all(1)
    outside = ((wall_uv < [592, 390]) | (wall_uv > [1000, 610])).any(1)
    assert inside.sum() > 100
    assert wall[inside].all()
    assert not wall[outside].any()


def test_slanted_ground_does_not_hide_itself() -> None:
    """A road seen at a grazing angle gets farther row by row, with nearer points on one side only."""
    v = np.arange(500, 890, 27.0)
    depth_of_row = 1.6 * 1266 / (v - 450)
    uv = np.stack(np.meshgrid(np.arange(100, 1500, 8.0), v), -1).reshape(-1, 2)
    depth = np.repeat(depth_of_row, len(np.arange(100, 1500, 8.0)))
    assert not hidden(uv, depth, CAMERA).any()


def test_no_points() -> None:
    assert hidden(np.empty((0, 2)), np.empty(0), CAMERA).shape == (0,)


def test_pairs_leave_hidden_points_out() -> None:
    """`visible_pairs` keeps what `hidden` keeps, in every camera on its own."""
    car_uv, car_depth = grid((600, 1000), (400, 600), 8)
    wall_uv, wall_depth = grid((300, 1300), (210, 800), 25)
    uv, depth = np.concatenate([car_uv, wall_uv]), np.concatenate([car_depth, wall_depth])
    rays = np.concatenate([uv, np.ones((len(uv), 1))], 1) @ np.linalg.inv(CAMERA.intrinsics).T
    cloud = np.concatenate([rays * depth[:, None], np.zeros((len(uv), 1))], 1).astype(np.float32)
    frame = Frame("f", "s", 0, cloud, np.eye(4), (CAMERA, replace(CAMERA, name="d")))
    every, seen = visible_pairs(frame), visible_pairs(frame, occlusion="zbuffer")
    kept = np.flatnonzero(~hidden(*project(cloud[:, :3], CAMERA), CAMERA))
    assert len(every.point) == 2 * len(uv)
    assert 0 < len(kept) < len(uv)
    np.testing.assert_array_equal(seen.point, np.tile(kept, 2))
    np.testing.assert_array_equal(seen.offsets, [0, len(kept), 2 * len(kept)])
