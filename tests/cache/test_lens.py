"""Lens distortion against OpenCV, by its properties, and in the pairs of a frame."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clever.cache.frame import Camera, Frame, ProjectedPoints
from clever.cache.lens import Lens
from clever.cache.projection import project, visible_pairs
from clever.errors import FrameError

K = np.array([[310.0, 0.7, 322], [0, 290, 238], [0, 0, 1]])
LENSES = [
    Lens("radial-tangential", (-0.28, 0.07, 1e-3, -2e-3)),
    Lens("radial-tangential", (-0.3, 0.1, 1e-3, -2e-3, -0.02)),
    Lens("radial-tangential", (0.4, -0.1, 1e-3, -2e-3, 0.01, 0.7, 0.05, 0.002)),
    Lens("fisheye", (0.05, -0.01, 3e-3, -5e-4)),
]


def camera(lens: Lens | None, **change: object) -> Camera:
    pose = np.eye(4)
    pose[:3, 3] = (0.3, -0.2, 0.1)
    return replace(Camera("c", Path("c.png"), 640, 480, K, pose, lens), **change)


def in_front(seed: int, count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(2, 40, count)
    return np.column_stack([*(rng.uniform(-0.9, 0.9, (2, count)) * depth), depth])


@pytest.mark.parametrize("lens", LENSES)
@given(seed=st.integers(0, 2**32 - 1))
def test_projection_is_that_of_opencv(lens: Lens, seed: int) -> None:
    points = in_front(seed)
    pinhole = np.array([[310.0, 0, 322], [0, 290, 238], [0, 0, 1]])
    uv, depth = project(points, replace(camera(lens), intrinsics=pinhole))
    moved = points + np.array([0.3, -0.2, 0.1])
    np.testing.assert_allclose(depth, moved[:, 2], rtol=0, atol=1e-12)
    zero, coefficients = np.zeros(3), np.array(lens.coefficients)
    reference = cv2.fisheye.projectPoints if lens.model == "fisheye" else cv2.projectPoints
    expected, _ = reference(moved[:, None], zero, zero, pinhole, coefficients)
    reached = np.isfinite(uv).all(1)
    assert reached.mean() > 0.5
    np.testing.assert_allclose(uv[reached], expected[reached, 0], rtol=0, atol=1e-6)


def test_skew_acts_behind_the_lens() -> None:
    points, lens = in_front(3), LENSES[0]
    uv, _ = project(points, camera(lens))
    flat, _ = project(points, replace(camera(lens), intrinsics=np.diag([310.0, 290, 1])))
    expected = flat + np.array([322, 238])
    expected[:, 0] += 0.7 * flat[:, 1] / 290
    np.testing.assert_allclose(uv, expected, rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("model", ["radial-tangential", "fisheye"])
def test_a_lens_that_does_nothing(model: str) -> None:
    points = in_front(1)
    lens = Lens(model, (0.0, 0.0, 0.0, 0.0))  # pyright: ignore[reportArgumentType]
    assert lens.limit() == np.inf
    distorted = lens.distort(points)
    ideal = points[:, :2] / points[:, 2:]
    if model == "fisheye":  # equidistant: the radius is the angle
        radius = np.linalg.norm(ideal, axis=1)
        ideal *= (np.arctan(radius) / radius)[:, None]
    np.testing.assert_allclose(distorted, ideal, rtol=1e-12)


def test_limit_of_a_barrel_in_closed_form() -> None:
    # r (1 + k1 r^2) has its summit where 1 + 3 k1 r^2 = 0.
    assert Lens("radial-tangential", (-0.3, 0, 0, 0)).limit() == pytest.approx((1 / 0.9) ** 0.5)
    assert Lens("fisheye", (-0.12, 0, 0, 0)).limit() == pytest.approx((1 / 0.36) ** 0.5)
    # r / (1 + k4 r^2) has it where 1 - k4 r^2 = 0; r / (1 - k4 r^2) has a pole there.
    assert Lens("radial-tangential", (0, 0, 0, 0, 0, 0.25, 0, 0)).limit() == pytest.approx(2)
    assert Lens("radial-tangential", (0, 0, 0, 0, 0, -0.25, 0, 0)).limit() == pytest.approx(2)
    assert Lens("radial-tangential", (0.3, 0.1, 0, 0)).limit() == np.inf


@pytest.mark.parametrize("lens", LENSES)
def test_the_model_is_steep_up_to_its_limit(lens: Lens) -> None:
    limit = min(lens.limit(), 1.4)
    radial = (
        replace(lens, coefficients=(*lens.coefficients[:2], 0.0, 0.0, *lens.coefficients[4:]))
        if lens.model == "radial-tangential"
        else lens
    )
    distances = np.linspace(1e-3, limit * 0.999, 500)
    if lens.model == "fisheye":
        rays = np.column_stack([np.sin(distances), 0 * distances, np.cos(distances)])
    else:
        rays = np.column_stack([distances, 0 * distances, 1 + 0 * distances])
    assert (np.diff(radial.distort(rays)[:, 0]) > 0).all()


def test_a_point_beyond_the_limit_is_in_no_image() -> None:
    barrel = Lens("radial-tangential", (-0.3, 0.0, 0.0, 0.0))
    # At x / z = 1.8 the polynomial has come back to 0.0504: it would fall near the image's centre.
    points = np.array([[1.8, 0.0, 1.0], [0.5, 0.0, 1.0], [0.0, 0.0, -1.0]])
    distorted = barrel.distort(points)
    assert np.isnan(distorted[[0, 2]]).all()
    np.testing.assert_allclose(distorted[1], (0.5 * (1 - 0.3 * 0.25), 0), rtol=1e-15)
    cloud = np.column_stack([points * 10, np.zeros(3)]).astype(np.float32)
    front_camera = replace(camera(barrel), camera_from_lidar=np.eye(4))
    pairs = visible_pairs(Frame("a", "s", 0, cloud, np.eye(4), (front_camera,)))
    assert pairs.point.tolist() == [1]


def test_fisheye_sees_the_axis_and_sideways() -> None:
    lens = Lens("fisheye", (0.0, 0.0, 0.0, 0.0))
    distorted = lens.distort(np.array([[0.0, 0.0, 5.0], [2.0, 0.0, 0.0], [0.0, 1.0, -1.0]]))
    np.testing.assert_allclose(distorted, [[0, 0], [np.pi / 2, 0], [0, 0.75 * np.pi]], atol=1e-15)


@pytest.mark.parametrize(
    ("lens", "reason"),
    [
        (Lens("radial-tangential", (0.1,)), "has 1 coefficients, not 4 or 5 or 8"),
        (Lens("fisheye", (0.1,) * 5), "has 5 coefficients, not 4"),
        (Lens("fisheye", (0.1, np.nan, 0, 0)), "not finite"),
        (
            Lens("plenoptic", (0.1,) * 4),  # pyright: ignore[reportArgumentType]
            "none of radial-tangential, fisheye",
        ),
    ],
)
def test_impossible_lenses_are_errors_of_the_frame(lens: Lens, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        Frame("a", "s", 0, np.zeros((1, 4), np.float32), np.eye(4), (camera(lens),))


def test_occlusion_is_judged_without_the_lens() -> None:
    rng = np.random.default_rng(4)
    wall = np.column_stack([*rng.uniform(-6, 6, (2, 3000)), np.full(3000, 12.0)])
    pole = np.column_stack([rng.uniform(-1, 1, 800), rng.uniform(-3, 3, 800), np.full(800, 5.0)])
    cloud = np.column_stack([np.vstack([wall, pole]), np.zeros(3800)]).astype(np.float32)
    pose = np.eye(4)
    pose[:3, 3] = (0.8, 0.0, 0.5)
    ideal = camera(None, camera_from_lidar=pose)
    frame = Frame("a", "s", 0, cloud, np.eye(4), (ideal,))
    everything = visible_pairs(frame).point
    hidden = np.setdiff1d(everything, visible_pairs(frame, occlusion="parallax").point)
    assert len(hidden) > 50
    bent = replace(frame, cameras=(replace(ideal, lens=LENSES[0]),))
    visible_points = visible_pairs(bent).point
    bent_hidden = np.setdiff1d(visible_points, visible_pairs(bent, occlusion="parallax").point)
    # A barrel shows more of the world, and what it shows is hidden or not as before.
    assert len(np.setdiff1d(everything, visible_points)) == 0
    assert set(hidden) <= set(bent_hidden)


def projected_frame(point: list[int], uv: list[list[float]], count: int = 4) -> Frame:
    cloud = np.zeros((count, 4), np.float32)
    cloud[:, 2] = 5
    own = ProjectedPoints(np.array(point, np.intp), np.array(uv, np.float64).reshape(-1, 2))
    return Frame("a", "s", 0, cloud, np.eye(4), (camera(None, projected=own),))


def test_pairs_come_from_the_projection_of_the_dataset() -> None:
    frame = projected_frame([0, 2, 3], [[10.5, 20.25], [0.5, 7], [600, 400]])
    pairs = visible_pairs(frame)  # the second lies within the margin of a pixel
    assert pairs.point.tolist() == [0, 3]
    assert pairs.uv.tolist() == [[10.5, 20.25], [600, 400]]
    assert pairs.offsets.tolist() == [0, 2]
    assert visible_pairs(frame, min_depth=5.2).point.tolist() == []  # z = 5.1 m from the camera
    assert visible_pairs(frame, min_depth=5.0, margin=0.0).point.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("point", "uv", "reason"),
    [
        ([1, 1], [[5, 5], [6, 6]], "not in ascending order"),
        ([2, 4], [[5, 5], [6, 6]], "not among the frame's 4"),
        ([-1, 2], [[5, 5], [6, 6]], "not among the frame's 4"),
        ([1], [[5, np.nan]], "not one finite pixel each"),
        ([1, 2], [[5, 5]], "not one finite pixel each"),
    ],
)
def test_impossible_projections(point: list[int], uv: list[list[float]], reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        projected_frame(point, uv)
