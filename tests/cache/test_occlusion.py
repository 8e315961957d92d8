"""The occlusion test against scenes whose answer is known, and against brute force."""

from pathlib import Path

import numpy as np
import pytest

from clever.cache.frame import Camera
from clever.cache.occlusion import ABSOLUTE, REACH, RELATIVE, SPACING, TRACK, hidden_points

K = np.array([[1266.0, 0, 800], [0, 1266, 450], [0, 0, 1]])
ROOF = (0.0, -0.5, -0.8)
"""A LiDAR half a metre above the camera and 0.8 m behind it."""
Box = tuple[float, float, float, float, float]
"""An upright rectangle that faces the camera: left, right, top, bottom and depth, in metres."""


def camera(lidar: tuple[float, float, float] = ROOF) -> Camera:
    """A camera that looks along z, with the LiDAR at a place in its frame."""
    pose = np.eye(4)
    pose[:3, 3] = lidar
    return Camera("c", Path("c.png"), 1600, 900, K, pose)


def cast(origin: np.ndarray, ways: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """(N,) index of the first box that rays from a point hit, -1 for none."""
    nearest, box = np.full(len(ways), np.inf), np.full(len(ways), -1)
    for number, (left, right, top, bottom, z) in enumerate(boxes):
        length = (z - origin[2]) / ways[:, 2]
        x, y = (origin[:2] + length[:, None] * ways[:, :2]).T
        hit = (x >= left) & (x <= right) & (y >= top) & (y <= bottom) & (length < nearest)
        nearest[hit], box[hit] = length[hit], number
    return box


def visible_to_lidar(boxes: list[Box], where: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    """Points that a 32-beam LiDAR hits inside the image: pixels, depths, their box, and which are
    hidden."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(-40, 40, 0.33)), np.radians(np.linspace(-30.67, 10.67, 32))
    )
    across, down, ahead = (
        np.cos(elevation) * np.sin(azimuth),
        -np.sin(elevation),
        np.cos(elevation) * np.cos(azimuth),
    )
    ways = np.stack([across, down, ahead], -1).reshape(-1, 3)
    origin = np.array(where)
    box = cast(origin, ways, boxes)
    ways, box = ways[box >= 0], box[box >= 0]
    depth = np.array([part[4] for part in boxes])[box]
    points = origin + ((depth - origin[2]) / ways[:, 2])[:, None] * ways
    image = points @ K.T
    uv = image[:, :2] / image[:, 2:]
    inside = ((uv > 1) & (uv < [1599, 899])).all(1)
    visible = cast(np.zeros(3), points, boxes) == box
    return uv[inside], depth[inside], box[inside], ~visible[inside]


CAR = (-2.0, 2.0, -0.1, 1.5, 8.0)
WALL = (-40.0, 40.0, -20.0, 1.6, 25.0)


@pytest.mark.parametrize("lidar", [ROOF, (0.8, 0.0, 0.0), (-0.8, -0.3, -0.2), (0.5, -0.4, 0.3)])
def test_wall_behind_a_car(lidar: tuple[float, float, float]) -> None:
    """The LiDAR looks past the car at parts of the wall that the camera does not see: all are
    found, and no others.

    Points beside the outline by less than the LiDAR's spacing can be told neither way.
    """
    uv, depth, box, truth = visible_to_lidar([CAR, WALL], lidar)
    result = hidden_points(uv, depth, camera(lidar))
    assert truth.sum() > 30
    assert not result[box == 0].any()
    left, right, top, bottom, z = CAR
    low, high = K[:2, 2] + K[0, 0] * np.array([(left, top), (right, bottom)]) / z
    spacing = K[0, 0] * np.radians((0.33, 1.34))
    inside = np.minimum(uv - low, high - uv).min(1) > 0
    deep = ((uv - low > spacing) & (high - uv > spacing)).all(1)
    margin = TRACK * K[0, 0] * np.tan(np.radians(SPACING))
    near = ((uv > low - margin) & (uv < high + margin)).all(1)
    assert (truth & deep).sum() > 3
    assert result[truth & deep].all()
    assert not result[~near].any()
    assert result[truth].mean() > 0.5
    np.testing.assert_array_equal(truth[box == 1], inside[box == 1])


def test_a_pole_that_went_by_hides_nothing_it_left() -> None:
    """The near pole moves 7 degrees against the wall and passes over many points; it hides those
    behind it alone."""
    lidar = (0.8, 0.0, 0.0)
    uv, depth, _, truth = visible_to_lidar([(-0.03, 0.03, -2.0, 1.5, 5.0), WALL], lidar)
    result = hidden_points(uv, depth, camera(lidar))
    pole = 1266 * 0.03 / 5
    beside = np.abs(uv[:, 0] - 800) > 3 * pole
    assert (truth & ~beside).sum() > 0
    assert not result[beside].any()


def test_nothing_is_hidden_from_a_camera_in_the_lidars_place() -> None:
    uv, depth, _, truth = visible_to_lidar([CAR, WALL], (0.0, 0.0, 0.0))
    assert not truth.any()
    assert not hidden_points(uv, depth, camera((0.0, 0.0, 0.0))).any()


def test_road_does_not_hide_itself() -> None:
    """Rings on the ground: nearer ones lie below, and all are shifted in order."""
    elevation = np.radians(np.linspace(-30.67, -2, 23))
    distance = (1.6 + 0.5) / -np.tan(elevation)
    azimuth = np.radians(np.arange(-30, 30, 0.33))
    x, z = (np.outer(distance, part(azimuth)).ravel() for part in (np.sin, np.cos))
    points = np.stack([x, np.full(x.size, 1.6), z - 0.8], 1)
    points = points[points[:, 2] > 1]
    image = points @ K.T
    assert not hidden_points(image[:, :2] / image[:, 2:], image[:, 2], camera()).any()


def brute_force(uv: np.ndarray, depth: np.ndarray, view: Camera) -> np.ndarray:
    """The definition, point by point."""
    spacing = np.tan(np.radians(SPACING))
    lidar = view.camera_from_lidar[:3, 3]
    after = (uv - K[:2, 2]) / K[0, 0] / spacing
    points = np.column_stack([after * spacing, np.ones(len(uv))]) * depth[:, None] - lidar
    before = points[:, :2] / points[:, 2:] / spacing
    result = []
    for far in range(len(uv)):
        passed = follows = False
        for near in range(len(uv)):
            is_nearer = (
                depth[near] < depth[far] * (1 - RELATIVE) and depth[near] < depth[far] - ABSOLUTE
            )
            end, start = after[near] - after[far], before[near] - before[far]
            if (
                not is_nearer
                or np.linalg.norm(end) > REACH
                or points[far, 2] <= 0
                or points[near, 2] <= 0
            ):
                continue
            shift = end - start
            direction = shift / np.linalg.norm(shift)
            aside = np.linalg.norm(end - (end @ direction) * direction)
            passed |= start @ shift <= 0 < end @ shift and aside < TRACK
            follows |= end @ shift <= 0
        result.append(passed and follows)
    return np.array(result)


def test_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    for lidar in (ROOF, (0.4, -0.3, 0.9)):  # the second lies before some of the points
        uv, depth = rng.uniform((600, 350), (1000, 550), (300, 2)), rng.uniform(1, 30, 300)
        expected = brute_force(uv, depth, camera(lidar))
        assert 20 < expected.sum() < 280
        np.testing.assert_array_equal(hidden_points(uv, depth, camera(lidar)), expected)


def test_few_points() -> None:
    assert hidden_points(np.empty((0, 2)), np.empty(0), camera()).shape == (0,)
    assert not hidden_points(np.array([[5.0, 5.0]]), np.array([3.0]), camera()).any()


LINE = (0.125, 0.0, 0.0)
"""A LiDAR an eighth of a metre to the right of the camera: for places that floats hold exactly."""


def on_a_line(
    points: list[tuple[float, float]], lidar: tuple[float, float, float] = LINE
) -> list[bool]:
    """Which of some points (x / z and depth) in the camera's horizontal plane are hidden."""
    eye = np.eye(4)
    eye[:3, 3] = lidar
    place, depth = np.array(points).T
    uv = np.column_stack([place, np.zeros(len(place))])
    return hidden_points(uv, depth, Camera("c", Path("c.png"), 1, 1, np.eye(3), eye)).tolist()


FAR = (0.0, 8.0)
BEYOND = (1 / 64, 4.0)
"""On the LiDAR's ray through the far point: it passed over it from exactly there."""
FOLLOWING = (-1 / 128, 4.0)
COVERING = (0.0, 4.0)
"""On the camera's ray through the far point."""


def test_borders_of_passing_over_and_following() -> None:
    """On the outline itself a point counts as passed over by what was right before it, and as
    covered by what is right before it."""
    hidden, seen = [True, False, False], [False, False, False]
    assert on_a_line([FAR, BEYOND, FOLLOWING]) == hidden
    assert on_a_line([FAR, BEYOND, COVERING]) == hidden
    assert on_a_line([FAR, COVERING, FOLLOWING]) == seen
    assert on_a_line([FAR, BEYOND]) == on_a_line([FAR, COVERING]) == seen[:2]


def test_clearly_nearer_by_share_and_by_metres() -> None:
    """Four fifths of the depth, or half a metre less, is not enough; a little less is."""
    for depth, limit in ((8.0, 8.0 * (1 - RELATIVE)), (1.0, 1.0 - ABSOLUTE)):
        for nearer, hidden in ((limit, False), (limit - 1e-6, True)):
            # As far before the LiDAR's ray and beyond the camera's as the spacing allows.
            lidar = (depth / 64, 0.0, 0.0)
            shift = 0.9 * (depth / 64 / nearer - 1 / 64)
            line = [(0.0, depth), (shift, nearer), (-1 / 256, nearer)]
            assert on_a_line(line, lidar) == [hidden, False, False], (depth, nearer)


def test_points_beside_the_lidar_are_left_alone() -> None:
    """They have no place in its view; without a division by zero."""
    with np.errstate(all="raise"):
        assert on_a_line([FAR, BEYOND, FOLLOWING, (0.25, 2.0)], (0.125, 0.0, 0.0))[0]
        assert not any(on_a_line([(0.0, 4.0), (1 / 64, 2.0), (-1 / 128, 2.0)], (0.0625, 0, 4.0)))
