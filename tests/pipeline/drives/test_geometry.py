"""Poses of generated drives against closed forms and scipy's rotations."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.pipeline.drives.cameras import CAMERAS, CameraModel
from clever.pipeline.drives.geometry import invert, pose, quaternion, rotation_of, transform
from clever.pipeline.drives.lidar import LidarModel

Array = NDArray[np.float64]


def angles() -> list[Array]:
    """Yaw, pitch and roll of 40 random rotations, half turns and none."""
    rng = np.random.default_rng(5)
    half_turns = [np.pi * np.eye(3)[axis] for axis in range(3)]
    return [*rng.uniform(-np.pi, np.pi, (40, 3)), *half_turns, np.zeros(3)]


def about(axis: int, angle: float) -> Array:
    """(3, 3) right-handed rotation about an axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


@pytest.mark.parametrize("turn", angles())
def test_pose_turns_about_z_then_y_then_x(turn: Array) -> None:
    rotation = quaternion(*turn)
    matrix = pose(rotation, (1.0, -2.0, 3.0))
    expected = about(2, turn[0]) @ about(1, turn[1]) @ about(0, turn[2])
    assert np.linalg.norm(rotation) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-15)
    np.testing.assert_array_equal(matrix[:3, 3], [1, -2, 3])
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
    scipys = Rotation.from_quat(rotation, scalar_first=True).as_matrix()
    np.testing.assert_allclose(matrix[:3, :3], scipys, atol=1e-15)


def test_pitch_and_roll_are_none_unless_asked_for() -> None:
    np.testing.assert_allclose(quaternion(0.8), [np.cos(0.4), 0, 0, np.sin(0.4)], atol=1e-16)
    np.testing.assert_allclose(
        quaternion(0.0, 0.0, 0.6), [np.cos(0.3), np.sin(0.3), 0, 0], atol=1e-16
    )


@pytest.mark.parametrize("turn", angles())
def test_rotation_of_inverts_pose(turn: Array) -> None:
    matrix = pose(quaternion(*turn), (1.0, 2.0, 3.0))
    rotation = rotation_of(matrix)
    assert rotation[0] >= 0
    np.testing.assert_allclose(pose(rotation, (1.0, 2.0, 3.0)), matrix, atol=1e-14)
    scipys = Rotation.from_matrix(matrix[:3, :3]).as_quat(scalar_first=True)
    assert abs(rotation @ scipys) == pytest.approx(1, abs=1e-14)


def test_invert_and_transform() -> None:
    rng = np.random.default_rng(2)
    poses = np.stack([pose(quaternion(*turn), tuple(rng.normal(size=3))) for turn in angles()])
    inverses = invert(poses.reshape(2, -1, 4, 4)).reshape(-1, 4, 4)
    np.testing.assert_allclose(inverses, np.linalg.inv(poses), atol=1e-14)
    points = rng.normal(size=(5, 2, 3))
    for matrix, inverse in zip(poses, inverses, strict=True):
        homogeneous = np.concatenate([points, np.ones((5, 2, 1))], axis=2)
        moved = transform(matrix, points)
        np.testing.assert_allclose(
            moved, np.einsum("ij,abj->abi", matrix, homogeneous)[..., :3], atol=1e-14
        )
        np.testing.assert_allclose(transform(inverse, moved), points, atol=1e-14)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.channel)
def test_cameras_look_where_they_are_turned(camera: CameraModel) -> None:
    """x right, y down, z forward of the camera in the ego frame, by rotation matrices."""
    yaw, pitch, roll = np.radians(camera.turn)
    forward, left, up = (about(2, yaw) @ about(1, pitch) @ about(0, roll)).T
    expected = np.column_stack([-left, -up, forward])
    np.testing.assert_allclose(camera.ego_from_camera[:3, :3], expected, atol=1e-15)
    np.testing.assert_array_equal(camera.ego_from_camera[:3, 3], camera.place)


def test_points_at_rest_go_from_the_sweep_to_the_image() -> None:
    camera, lidar = CAMERAS[1], LidarModel(90)
    points = np.random.default_rng(1).normal(size=(6, 3))
    egos = pose(quaternion(0.3, 0.01), (1.0, 2.0, 0.0)), pose(quaternion(0.35), (1.4, 2.2, 0.0))
    world = transform(egos[0], transform(lidar.ego_from_lidar, points))
    expected = transform(np.linalg.inv(egos[1] @ camera.ego_from_camera), world)
    np.testing.assert_allclose(
        transform(camera.from_lidar(lidar, *egos), points), expected, atol=1e-13
    )
    np.testing.assert_allclose(
        camera.from_lidar(lidar), camera.from_lidar(lidar, np.eye(4), np.eye(4)), atol=1e-15
    )
