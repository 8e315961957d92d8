"""Depth edges of scripted scans and edges of drawn images, against where they are known to lie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.cache.frame import Camera
from clever.cache.lens import Lens
from clever.cache.projection import project
from clever.pipeline.alignment.depth_edges import SHARPEST, DepthEdges, depth_edges
from clever.pipeline.alignment.image_edges import ImageEdges, image_edges
from clever.pipeline.alignment.view import EDGES, STRIPS, make_view

ACROSS, DOWN = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])


def scan(ranges: NDArray[np.float64], step: float, rows: float) -> NDArray[np.float64]:
    """Points of ranges (H, W) with `step` degrees between columns and `rows` between rows, seen
    around the x axis."""
    height, width = ranges.shape
    elevation = np.radians(rows * (np.arange(height) - (height - 1) / 2))[:, None]
    azimuth = np.radians(step * (np.arange(width) - (width - 1) / 2))[None]
    unit = [
        np.cos(elevation) * np.cos(azimuth),
        np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation) * np.ones_like(azimuth),
    ]
    return (np.stack(unit, -1) * ranges[..., None]).reshape(-1, 3)


def azimuth(place: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.degrees(np.arctan2(place[:, 1], place[:, 0]))


def test_the_sides_of_a_box_before_a_wall_are_edges() -> None:
    """Columns 10 to 19 at 5 m before a wall at 20 m, rows two degrees apart: the outlines lie half
    a step outside the box, at its range, on every row."""
    ranges = np.full((4, 30), 20.0)
    ranges[:, 10:20] = 5.0
    edges = depth_edges(scan(ranges, 0.4, 2.0))
    assert len(edges) == 8
    np.testing.assert_allclose(np.linalg.norm(edges.place, axis=1), 5, rtol=1e-9)
    # Column 10 lies at 0.4 * (10 - 14.5) degrees; 9 is the wall.
    np.testing.assert_allclose(np.sort(azimuth(edges.place)), [-2.0] * 4 + [2.0] * 4, atol=1e-3)
    outwards = np.abs(azimuth(edges.beyond)) - np.abs(azimuth(edges.place))
    np.testing.assert_allclose(outwards, 0.04, atol=1e-3)
    # Less than 0.4 degrees apart, since rows are shorter circles above and below the horizon.
    np.testing.assert_allclose(edges.weight, 1 / 0.4, rtol=2e-3)


def test_the_upper_end_of_a_box_is_an_edge_between_close_rows() -> None:
    """Rows 0 to 5 at 5 m below a wall at 20 m."""
    ranges = np.full((12, 8), 20.0)
    ranges[:6] = 5.0
    edges = depth_edges(scan(ranges, 2.0, 0.5))
    height = np.degrees(np.arcsin(edges.place[:, 2] / 5))
    assert len(edges) == 8
    np.testing.assert_allclose(height, 0, atol=1e-9)
    assert (edges.beyond[:, 2] > edges.place[:, 2]).all()


def test_what_is_no_jump_is_no_edge() -> None:
    """A road that recedes, steps below half a metre or a tenth of the range, points on the car."""
    for near, far in ((5.0, 5.45), (20.0, 21.9), (1.5, 30.0)):
        ranges = np.full((3, 20), far)
        ranges[:, 10:] = near
        assert len(depth_edges(scan(ranges, 0.3, 2.0))) == 0, (near, far)
    ranges = np.full((3, 20), 22.1)
    ranges[:, 10:] = 20.0
    assert len(depth_edges(scan(ranges, 0.3, 2.0))) == 3
    assert len(depth_edges(np.empty((0, 3)))) == 0


def test_close_points_weigh_no_more_than_the_sharpest() -> None:
    ranges = np.full((1, 40), 20.0)
    ranges[:, 20:] = 5.0
    edges = depth_edges(scan(ranges, 0.05, 1.0))
    np.testing.assert_allclose(edges.weight, 1 / SHARPEST)
    shuffled = np.random.default_rng(0).permutation(40)
    again = depth_edges(scan(ranges, 0.05, 1.0)[shuffled])
    np.testing.assert_allclose(again.place, edges.place)


@pytest.mark.parametrize("width", [480, 1920])
def test_a_step_of_brightness_is_strongest_where_it_is(width: int) -> None:
    image = np.zeros((width // 2, width, 3), np.uint8)
    image[:, width // 2 :] = 200
    edges = image_edges(image)
    assert edges.scale == min(1, 960 / width)
    # Between the pixels width / 2 - 1 and width / 2, on a row of one's own.
    u = np.arange(width, dtype=np.float64)
    uv = np.column_stack([u, np.full(width, 100.0)])
    across = edges.at(uv, np.broadcast_to(ACROSS, uv.shape))
    strongest = u[across > 0.999 * across.max()]
    assert strongest.mean() == width / 2 - 0.5
    assert np.ptp(strongest) < 2 / edges.scale
    assert across.max() > 5
    assert across[: width // 4].max() < 0.1
    down = edges.at(uv, np.broadcast_to(DOWN, uv.shape))
    np.testing.assert_allclose(down, 1)  # without edges that way every place is as good as chance
    slanted = edges.at(uv, np.broadcast_to([[0.6, 0.8]], uv.shape))
    np.testing.assert_allclose(slanted, 0.36 * across + 0.64 * down, atol=1e-6)


def test_outside_the_image_is_as_good_as_chance() -> None:
    rng = np.random.default_rng(0)
    edges = image_edges(rng.integers(0, 256, (40, 60, 3), np.uint8))
    assert edges.fields.mean(axis=(0, 1)).tolist() == pytest.approx([1, 1], rel=1e-5)
    outside = [[-0.6, 5], [59.6, 5], [5, -0.6], [5, 39.6], [np.nan, 5], [np.inf, 5], [-1e9, 3]]
    uv = np.array(outside)
    np.testing.assert_array_equal(edges.at(uv, np.broadcast_to(ACROSS, uv.shape)), 1)
    corners = np.array([[-0.4, -0.4], [59.4, -0.4], [-0.4, 39.4], [59.4, 39.4]])
    expected = edges.fields[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_allclose(edges.at(corners, np.broadcast_to(ACROSS, (4, 2))), expected)


def camera() -> Camera:
    """Looks along x of the LiDAR."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    intrinsics = np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]])
    return Camera("front", Path("none.png"), 160, 90, intrinsics, pose)


def test_a_view_holds_the_edges_in_sight_in_blocks_of_its_own() -> None:
    rng = np.random.default_rng(0)
    place = np.column_stack(
        [rng.uniform(-30, 30, 9000), rng.uniform(-20, 20, 9000), rng.uniform(-5, 5, 9000)]
    )
    edges = DepthEdges(place, place + np.array([0, 0.1, 0]), np.ones(9000))
    flat = ImageEdges(np.ones((90, 160, 2), np.float32), 1.0)
    view = make_view(camera(), edges, flat, 3)
    uv, depth = project(view.edges.place, camera())
    assert len(view.edges) == EDGES
    assert ((uv > 1) & (uv < [159, 89])).all()
    assert (depth > 1).all()
    # y to the left is u to the left.
    np.testing.assert_allclose(view.direction, np.broadcast_to([[-1, 0]], uv.shape), atol=1e-9)
    np.testing.assert_array_equal(view.block, 3 * STRIPS + np.floor(uv[:, 0] / 20))
    np.testing.assert_array_equal(make_view(camera(), edges, flat, 3).edges.place, view.edges.place)
    behind = replace(
        camera(), camera_from_lidar=np.diag([-1.0, 1, -1, 1]) @ camera().camera_from_lidar
    )
    np.testing.assert_array_equal(view.strengths(behind.camera_from_lidar[None]), 1)


@pytest.mark.parametrize(
    "lens",
    [None, Lens("radial-tangential", (-0.3, 0.1, 0.001, 0.002)), Lens("fisheye", (0.1,) * 4)],
)
def test_many_transforms_are_as_many_projections(lens: Lens | None) -> None:
    """Turns of a camera, each against `project` and a pixel looked up by hand."""
    rng = np.random.default_rng(0)
    place = rng.uniform([-20, -20, -5], [30, 20, 5], (200, 3))
    edges = DepthEdges(place, place + rng.normal(size=(200, 3)), np.ones(200))
    fields = ImageEdges(rng.random((45, 80, 2)).astype(np.float32), 0.5)
    looking = replace(camera(), lens=lens)
    view = make_view(looking, edges, fields, 0)
    turns = Rotation.from_rotvec(rng.uniform(-40, 40, (5, 3)), degrees=True).as_matrix()
    transforms = np.tile(looking.camera_from_lidar, (5, 1, 1))
    transforms[:, :3, :3] = transforms[:, :3, :3] @ turns
    transforms[:, :3, 3] = rng.normal(size=(5, 3))
    strengths = view.strengths(transforms)
    assert strengths.shape == (5, len(view.edges))
    outside = 0
    for row, transform in zip(strengths, transforms, strict=True):
        uv, depth = project(view.edges.place, replace(looking, camera_from_lidar=transform))
        for strength, (u, v), z, (across, down) in zip(row, uv, depth, view.direction, strict=True):
            if z > 0 and -0.5 <= u < 159.5 and -0.5 <= v < 89.5:
                one, other = fields.fields[int((v + 0.5) / 2), int((u + 0.5) / 2)]
                assert strength == pytest.approx(one * across**2 + other * down**2, rel=1e-6)
            else:
                assert strength == 1
                outside += 1
    assert 50 < outside < strengths.size - 50
