"""Projection against closed forms, brute force, a step-by-step float64 path and the devkit."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from clever.cache.frame import Camera, Frame
from clever.cache.projection import project, visible_pairs
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset

SIMPLE = Camera(
    "simple",
    Path("none.png"),
    200,
    100,
    np.array([[100.0, 0, 100], [0, 100, 50], [0, 0, 1]]),
    np.eye(4),
)


def frame_of(points: np.ndarray, *cameras: Camera) -> Frame:
    cloud = np.column_stack([points, np.zeros(len(points))]).astype(np.float32)
    return Frame("made", "scene", 0, cloud, np.eye(4), cameras)


def from_corner(points: list[list[float]]) -> np.ndarray:
    """Points of `SIMPLE` told as if its axis went through the corner of the image."""
    moved = np.array(points)
    moved[:, :2] -= moved[:, 2:3] * [1.0, 0.5]
    return moved


def random_camera(seed: int) -> Camera:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    pose[:3, 3] = rng.uniform(-2, 2, 3)
    intrinsics = np.array([[rng.uniform(50, 150), 0, 80], [0, rng.uniform(50, 150), 45], [0, 0, 1]])
    return Camera(f"camera-{seed}", Path("none.png"), 160, 90, intrinsics, pose)


def test_pixel_and_depth_of_a_known_point() -> None:
    uv, depth = project(np.array([[1.0, 0.5, 2.0]]), SIMPLE)
    assert uv.tolist() == [[150.0, 75.0]]
    assert depth.tolist() == [2.0]


@given(st.integers(0, 2**32 - 1))
def test_extrinsics_only_move_the_points(seed: int) -> None:
    camera = random_camera(seed)
    points = np.random.default_rng(seed).uniform(-30, 30, (50, 3))
    moved = (camera.camera_from_lidar[:3, :3] @ points.T).T + camera.camera_from_lidar[:3, 3]
    uv, depth = project(points, camera)
    expected, expected_depth = project(moved, replace(camera, camera_from_lidar=np.eye(4)))
    np.testing.assert_allclose(depth, expected_depth, rtol=0, atol=1e-12)
    ahead = depth > 0.1
    np.testing.assert_allclose(uv[ahead], expected[ahead], rtol=0, atol=1e-7)
    np.testing.assert_allclose(depth, moved[:, 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("point", "visible"),
    [
        ((1.0, 0.5, 1.0), False),  # depth exactly 1 m
        ((1.0, 0.5, 1.0000001), True),
        ((1.0, 0.5, -2.0), False),
        ((0.0, 0.0, 0.0), False),
        ((0.02, 0.5, 2.0), False),  # u = 1
        ((0.03, 0.5, 2.0), True),
        ((3.98, 0.5, 2.0), False),  # u = 199 = width - 1
        ((3.97, 0.5, 2.0), True),
        ((1.0, 0.02, 2.0), False),  # v = 1
        ((1.0, 1.98, 2.0), False),  # v = 99 = height - 1
        ((1.0, 1.97, 2.0), True),
    ],
)
def test_bounds_are_strict(point: tuple[float, float, float], visible: bool) -> None:
    # float64 points: float32 would round the decimals off the bounds
    frame = replace(frame_of(np.zeros((1, 3)), SIMPLE), points=from_corner([[*point, 0.0]]))
    assert len(visible_pairs(frame).point) == visible


def test_margin_and_depth_are_options() -> None:
    frame = frame_of(from_corner([[0.5, 0.5, 0.5], [0.125, 0.5, 2.0]]), SIMPLE)
    assert visible_pairs(frame).point.tolist() == [1]
    assert visible_pairs(frame, min_depth=0.25, margin=7.0).point.tolist() == []
    assert visible_pairs(frame, min_depth=0.25, margin=-1.0).point.tolist() == [0, 1]


def test_pairs_equal_brute_force() -> None:
    cameras = [random_camera(seed) for seed in range(4)]
    frame = frame_of(np.random.default_rng(0).uniform(-20, 20, (700, 3)), *cameras)
    pairs = visible_pairs(frame)
    assert (pairs.point.dtype, pairs.uv.dtype, pairs.offsets.dtype) == (
        np.uint32,
        np.float64,
        np.int64,
    )
    assert pairs.offsets[0] == 0
    assert pairs.offsets[-1] == len(pairs.point) == len(pairs.uv)
    twice = 0
    for m, camera in enumerate(cameras):
        expected: list[tuple[int, float, float]] = []
        rotation, shift, k = (
            camera.camera_from_lidar[:3, :3],
            camera.camera_from_lidar[:3, 3],
            camera.intrinsics,
        )
        for index, (x, y, z, _) in enumerate(frame.points.tolist()):
            a, b, c = (
                math.fsum((r[0] * x, r[1] * y, r[2] * z, s))
                for r, s in zip(rotation, shift, strict=True)
            )
            u, v = (k[0, 0] * a + k[0, 2] * c) / c, (k[1, 1] * b + k[1, 2] * c) / c
            if c > 1 and 1 < u < 159 and 1 < v < 89:
                expected.append((index, u, v))
        part = slice(pairs.offsets[m], pairs.offsets[m + 1])
        assert pairs.point[part].tolist() == [row[0] for row in expected]
        np.testing.assert_allclose(pairs.uv[part], [row[1:] for row in expected], rtol=0, atol=1e-8)
        assert len(expected) > 20
        twice += len(expected)
    assert twice > len(np.unique(pairs.point))  # points seen by two cameras count twice


def test_no_visible_point_and_no_camera() -> None:
    behind = frame_of(np.array([[0.0, 0.0, -5.0]]), SIMPLE, SIMPLE)
    for frame, offsets in ((behind, [0, 0, 0]), (replace(behind, cameras=()), [0])):
        pairs = visible_pairs(frame)
        assert pairs.offsets.tolist() == offsets
        assert (pairs.point.shape, pairs.uv.shape) == ((0,), (0, 2))
        assert (pairs.point.dtype, pairs.uv.dtype) == (np.uint32, np.float64)


@pytest.mark.parametrize("travel", [-0.7, 0.41, 2.0])
def test_ego_motion_shifts_points_by_the_closed_form(
    write_nuscenes: Callable[..., Path], travel: float
) -> None:
    """The car advances `travel` metres between LiDAR and front camera: depth falls by it, pixels
    spread."""
    root = write_nuscenes({"scene-0061": 1}, labels=False)
    table = root / "v1.0-mini" / "ego_pose.json"
    poses = {row["token"]: row for row in json.loads(table.read_text())}
    lidar, camera = poses["scene-0061-0-LIDAR_TOP"], poses["scene-0061-0-CAM_FRONT"]

    def front(distance: float) -> tuple[np.ndarray, np.ndarray, Camera]:
        heading = Rotation.from_quat(np.roll(lidar["rotation"], -1)).apply([distance, 0, 0])
        camera.update(
            rotation=lidar["rotation"],
            translation=(np.array(lidar["translation"]) + heading).tolist(),
        )
        table.write_text(json.dumps(list(poses.values())))
        dataset = NuScenesDataset(root)
        front_camera = dataset.frame(0).cameras[dataset.cameras.index("CAM_FRONT")]
        return *project(dataset.points(0)[:, :3], front_camera), front_camera

    still, depth, front_camera = front(0.0)
    moved, moved_depth, _ = front(travel)
    near = depth > 3
    assert near.sum() > 100
    np.testing.assert_allclose(moved_depth, depth - travel, rtol=0, atol=1e-9)
    centre = front_camera.intrinsics[:2, 2]
    expected = centre + (still[near] - centre) * (depth[near] / (depth[near] - travel))[:, None]
    np.testing.assert_allclose(moved[near], expected, rtol=1e-9, atol=1e-7)


def stepwise(points: np.ndarray, *steps: tuple[dict, bool]) -> np.ndarray:
    """Pose records applied one after the other in float64; True: child to parent, False: parent to
    child."""
    for record, forward in steps:
        rotation = Rotation.from_quat(np.roll(record["rotation"], -1))
        shift = np.array(record["translation"])
        points = rotation.apply(points) + shift if forward else rotation.inv().apply(points - shift)
    return points


def test_real_keyframe_equals_stepwise_composition(shared_data: Path) -> None:
    root = shared_data / "nuscenes"
    tables = {
        name: {
            row["token"]: row
            for row in json.loads((root / "v1.0-mini" / f"{name}.json").read_text())
        }
        for name in ("sample_data", "ego_pose", "calibrated_sensor")
    }
    data = {row["filename"].split("/")[1]: row for row in tables["sample_data"].values()}
    lidar = data["LIDAR_TOP"]
    frame = NuScenesDataset(root).frame(0)
    raw = np.fromfile(root / lidar["filename"], np.float32).reshape(-1, 5)[:, :3].astype(np.float64)
    pairs = visible_pairs(frame)
    for m, camera in enumerate(frame.cameras):
        row = data[camera.name]
        assert (camera.image, camera.width, camera.height) == (root / row["filename"], 1600, 900)
        sensor = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        moved = stepwise(
            raw,
            (tables["calibrated_sensor"][lidar["calibrated_sensor_token"]], True),
            (tables["ego_pose"][lidar["ego_pose_token"]], True),
            (tables["ego_pose"][row["ego_pose_token"]], False),
            (sensor, False),
        )
        image = moved @ np.array(sensor["camera_intrinsic"]).T
        part = slice(pairs.offsets[m], pairs.offsets[m + 1])
        point = pairs.point[part]
        assert len(point) > 2000
        assert np.abs(pairs.uv[part] - image[point, :2] / image[point, 2:]).max() < 1e-6
        np.testing.assert_allclose(project(raw, camera)[1], moved[:, 2], rtol=0, atol=1e-9)


def test_real_keyframe_agrees_with_devkit(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The devkit's float32 path: at most 0.2 px apart, the same points visible but for those at a
    bound."""
    pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    import nuscenes.nuscenes as devkit

    tables = devkit.NuScenes("v1.0-mini", str(shared_data / "nuscenes"), verbose=False)
    all_points: list[tuple[np.ndarray, np.ndarray]] = []
    view_points = devkit.view_points

    def record(points: np.ndarray, view: np.ndarray, normalize: bool) -> np.ndarray:
        pixels = view_points(points, view, normalize=normalize)
        all_points.append((pixels[:2].T, points[2].copy()))
        return pixels

    monkeypatch.setattr(devkit, "view_points", record)
    frame = NuScenesDataset(shared_data / "nuscenes").frame(0)
    sample = tables.get("sample", frame.id)["data"]
    pairs = visible_pairs(frame)
    for m, camera in enumerate(frame.cameras):
        drawn, _, image = tables.explorer.map_pointcloud_to_image(
            sample["LIDAR_TOP"], sample[camera.name]
        )
        image.close()
        theirs, depth = all_points[m]
        u, v = theirs.T
        theirs_inside = (depth > 1) & (u > 1) & (u < 1599) & (v > 1) & (v < 899)
        np.testing.assert_array_equal(
            drawn[:2].T, theirs[theirs_inside]
        )  # the rule above is the devkit's own
        part = slice(pairs.offsets[m], pairs.offsets[m + 1])
        assert np.abs(pairs.uv[part] - theirs[pairs.point[part]]).max() <= 0.2
        disputed = np.setxor1d(pairs.point[part], np.flatnonzero(theirs_inside))
        to_bound = [
            np.abs(depth - 1),
            *(np.abs(x - bound) for x, end in ((u, 1600), (v, 900)) for bound in (1, end - 1)),
        ]
        assert (np.min(to_bound, axis=0)[disputed] <= 0.2).all()
        assert len(disputed) <= 10


def test_real_kitti_drive_equals_p2_times_tr(shared_data: Path) -> None:
    root = shared_data / "semantickitti"
    lines = (root / "sequences" / "40" / "calib.txt").read_text().splitlines()
    p2, tr = (
        np.array(next(line for line in lines if line.startswith(key)).split()[1:], float).reshape(
            3, 4
        )
        for key in ("P2:", "Tr:")
    )
    dataset = SemanticKittiDataset(root, ["40"])
    for index in (0, 19, 38):
        frame = dataset.frame(index)
        raw = np.fromfile(root / f"sequences/40/velodyne/{index:06}.bin", np.float32).reshape(-1, 4)
        camera0 = raw[:, :3].astype(np.float64) @ tr[:, :3].T + tr[:, 3]
        image = np.column_stack([camera0, np.ones(len(raw))]) @ p2.T
        with np.errstate(all="ignore"):
            expected = image[:, :2] / image[:, 2:]
        inside = (expected > 1).all(1) & (expected < (1241, 374)).all(1) & (image[:, 2] > 1)
        pairs = visible_pairs(frame)
        assert pairs.point.tolist() == np.flatnonzero(inside).tolist()
        assert len(pairs.point) > 10_000
        assert np.abs(pairs.uv - expected[inside]).max() < 1e-9
