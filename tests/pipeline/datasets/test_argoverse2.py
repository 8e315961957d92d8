"""Argoverse 2 logs written by the test: sweeps, the nearest images, ego motion; every damaged file
is one line."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from clever.cache import FeatureCache
from clever.cache.projection import project
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets.argoverse2 import RING, STEREO, Argoverse2Dataset
from clever.pipeline.steps.labelled import labelled_indices

pa = pytest.importorskip("pyarrow", reason="pyarrow is not usable here", exc_type=ImportError)
feather = pytest.importorskip("pyarrow.feather", exc_type=ImportError)

START = 315966265259836000
SWEEPS = [START, START + 100_196_000]
TRACK = [START - 30_000_000 + 25_000_000 * number for number in range(9)]
"""Times of the poses; none is a sweep's or an image's."""
SIZE = (60, 80)
OFFSETS = {name: 3_000_000 * (number - 3) for number, name in enumerate(RING + STEREO)}
"""Nanoseconds by which the camera's nearest image follows the sweep."""


def quaternion(yaw: float, pitch: float, roll: float) -> list[float]:
    x, y, z, w = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat()
    return [w, x, y, z]


def vehicle_pose(time: int) -> tuple[list[float], list[float]]:
    seconds = (time - START) * 1e-9
    turn = quaternion(0.4 + 0.2 * seconds, 0.01, -0.02 * seconds)
    return turn, [4000 + 15 * seconds, -800.0, 30.0]


def camera_pose(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and place of a camera in the vehicle: x right, y down, z forward."""
    forward = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    number = list(OFFSETS).index(name)
    rotation = Rotation.from_euler("z", 0.7 * number) * forward
    return rotation.as_matrix(), np.array([1.5, 0.1 * number, 1.4])


def write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), path)


def pose_columns(rows: list[list[float]]) -> dict[str, Any]:
    return dict(
        zip(("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"), zip(*rows, strict=True), strict=True)
    )


def write_log(folder: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for time in SWEEPS:
        xyz = rng.uniform([-60, -60, -1], [60, 60, 6], (500, 3)).astype(np.float16)
        write(
            folder / "sensors" / "lidar" / f"{time}.feather",
            {
                "x": xyz[:, 0],
                "y": xyz[:, 1],
                "z": xyz[:, 2],
                "intensity": rng.integers(0, 256, 500).astype(np.uint8),
                "laser_number": rng.integers(0, 64, 500).astype(np.uint8),
                "offset_ns": rng.integers(0, 10**8, 500).astype(np.int32),
            },
        )
    for name, offset in OFFSETS.items():
        for time in (SWEEPS[0] - 50_000_000, *SWEEPS):
            path = folder / "sensors" / "cameras" / name / f"{time + offset}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), np.uint8)).save(path)
    names = list(OFFSETS)
    write(
        folder / "calibration" / "intrinsics.feather",
        {
            "sensor_name": names,
            "fx_px": [70.0 + number for number in range(9)],
            "fy_px": [72.0] * 9,
            "cx_px": [29.0] * 9,
            "cy_px": [41.0] * 9,
            **{word: [-0.24] * 9 for word in ("k1", "k2", "k3")},
            "height_px": np.full(9, SIZE[1], np.uint16),
            "width_px": np.full(9, SIZE[0], np.uint16),
        },
    )
    rows = []
    for name in names:
        rotation, place = camera_pose(name)
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        rows.append([w, x, y, z, *place])
    extra = {"sensor_name": [*names, "up_lidar"]}
    rows.append([1.0, 0.0, 0.0, 0.0, 1.35, 0.0, 1.64])
    write(folder / "calibration" / "egovehicle_SE3_sensor.feather", extra | pose_columns(rows))
    poses = [[*turn, *place] for turn, place in map(vehicle_pose, reversed(TRACK))]
    write(
        folder / "city_SE3_egovehicle.feather",
        {"timestamp_ns": TRACK[::-1]} | pose_columns(poses),
    )
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "av2" / "train" / "7fab2350")


@pytest.fixture
def root(log: Path) -> Path:
    return log.parent.parent


def reason(dataset: Argoverse2Dataset, index: int = 0) -> str:
    with pytest.raises(FrameError) as failure:
        dataset.frame(index)
    assert "\n" not in str(failure.value)
    return failure.value.reason


def vehicle_at(time: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and place between the two poses around a time."""
    after = next(number for number, other in enumerate(TRACK) if other > time)
    (turn0, place0), (turn1, place1) = (vehicle_pose(TRACK[after - 1]), vehicle_pose(TRACK[after]))
    share = (time - TRACK[after - 1]) / (TRACK[after] - TRACK[after - 1])
    turns = Rotation.from_quat([[*turn[1:], turn[0]] for turn in (turn0, turn1)])
    place = np.array(place0) + share * (np.array(place1) - place0)
    return Slerp([0, 1], turns)(share).as_matrix(), place


def test_sweeps(root: Path, log: Path) -> None:
    dataset = Argoverse2Dataset(root)
    assert dataset.frame_ids == [f"7fab2350/{time}" for time in SWEEPS]
    assert dataset.scenes == ["7fab2350"] * 2
    table = feather.read_table(log / "sensors" / "lidar" / f"{SWEEPS[1]}.feather")
    points = dataset.points(1)
    assert points.dtype == np.float32
    for number, axis in enumerate("xyz"):
        np.testing.assert_array_equal(points[:, number], table.column(axis).to_numpy())
    np.testing.assert_allclose(points[:, 3], table.column("intensity").to_numpy() / 255, atol=1e-7)
    half = Argoverse2Dataset(root, intensity_scale="510")
    np.testing.assert_allclose(half.points(1)[:, 3], points[:, 3] / 2)
    frame = dataset.frame(1)
    np.testing.assert_array_equal(frame.points, points)
    assert (frame.timestamp, frame.split, frame.scene) == (SWEEPS[1] // 1000, "train", "7fab2350")


def test_nearest_images_through_both_poses(root: Path, log: Path) -> None:
    frame = Argoverse2Dataset(root, cameras=[*RING, *STEREO]).frame(1)
    rotation, place = vehicle_at(SWEEPS[1])
    np.testing.assert_allclose(frame.global_from_lidar[:3, :3], rotation, atol=1e-9)
    np.testing.assert_allclose(frame.global_from_lidar[:3, 3], place, atol=1e-6)
    city = frame.points[:, :3].astype(float) @ rotation.T + place
    moved = 0.0
    for number, camera in enumerate(frame.cameras):
        time = SWEEPS[1] + OFFSETS[camera.name]
        assert camera.image == log / "sensors" / "cameras" / camera.name / f"{time}.jpg"
        assert (camera.width, camera.height, camera.lens) == (*SIZE, None)
        turn_then, place_then = vehicle_at(time)
        turn, mount = camera_pose(camera.name)
        camera_points = ((city - place_then) @ turn_then - mount) @ turn
        uv, depth = project(frame.points[:, :3], camera)
        np.testing.assert_allclose(depth, camera_points[:, 2], atol=1e-5)
        front = camera_points[:, 2] > 1
        assert front.sum() > 50
        u = (70.0 + number) * camera_points[front, 0] / camera_points[front, 2] + 29.0
        v = 72.0 * camera_points[front, 1] / camera_points[front, 2] + 41.0
        np.testing.assert_allclose(uv[front], np.column_stack([u, v]), atol=1e-2, rtol=1e-5)
        static = (frame.points[:, :3].astype(float) - mount) @ turn
        moved = max(moved, np.abs(static - camera_points).max())
    assert moved > 0.1  # the vehicle drove on between sweep and images


def test_splits_logs_and_cameras(tmp_path: Path) -> None:
    root = tmp_path / "av2"
    for split, name in (("val", "b"), ("train", "c"), ("train", "a"), ("test", "d")):
        write_log(root / split / name)
    assert list(dict.fromkeys(Argoverse2Dataset(root).scenes)) == ["a", "c"]
    assert Argoverse2Dataset(root, split="val").frame(0).split == "val"
    every = Argoverse2Dataset(root, split="all")
    assert list(dict.fromkeys(every.scenes)) == ["a", "c", "b", "d"]
    subset = Argoverse2Dataset(root, sequences=["d", "a"], cameras=["ring_rear_left", RING[0]])
    assert list(dict.fromkeys(subset.scenes)) == ["d", "a"]
    assert [camera.name for camera in subset.frame(0).cameras] == ["ring_rear_left", RING[0]]
    with pytest.raises(CleverError, match="argoverse2 has no camera lidar; choose `cameras` among"):
        Argoverse2Dataset(root, cameras=["lidar"])
    with pytest.raises(
        CleverError, match="argoverse2 has no split 'mini'; choose train, val, test"
    ):
        Argoverse2Dataset(root, split="mini")


def test_no_labels(root: Path) -> None:
    dataset = Argoverse2Dataset(root)
    assert dataset.class_names == ()
    assert not dataset.has_labels(0)
    with pytest.raises(FrameError, match="argoverse2 labels no points"):
        dataset.labels(0)
    with pytest.raises(CleverError, match="none of the 2 frames of argoverse2 train has labels"):
        labelled_indices(dataset, "train")


def test_images_too_far_in_time(root: Path, log: Path) -> None:
    folder = log / "sensors" / "cameras" / RING[2]
    for path in folder.iterdir():
        path.unlink()
    picture = Image.new("RGB", SIZE)
    picture.save(folder / f"{SWEEPS[0] + 50_000_001}.jpg")
    dataset = Argoverse2Dataset(root)
    assert reason(dataset).startswith(f"{folder} has no image within 50 ms of the sweep")
    assert reason(dataset, 1).startswith(f"{folder} has no image within 50 ms of the sweep")
    picture.save(folder / f"{SWEEPS[0] + 50_000_000}.jpg")
    assert dataset.frame(0).cameras[2].image == folder / f"{SWEEPS[0] + 50_000_000}.jpg"
    Image.new("RGB", SIZE).save(folder / "cover.jpg")
    assert f"{folder / 'cover.jpg'}: the name is no time in nanoseconds" in reason(dataset)


def spoiled(path: Path, **columns: Any) -> None:
    table = feather.read_table(path)
    contents = {name: table.column(name) for name in table.column_names} | columns
    feather.write_feather(pa.table({n: x for n, x in contents.items() if x is not None}), path)


@pytest.mark.parametrize(
    ("file", "columns", "line"),
    [
        (f"sensors/lidar/{START}.feather", {"intensity": None}, "has no column intensity (it has"),
        (f"sensors/lidar/{START}.feather", {"x": [np.nan] * 500}, "holds NaN or infinite values"),
        (
            "city_SE3_egovehicle.feather",
            {"qw": [2.0] * 9},
            "its poses hold a quaternion of length 2",
        ),
        ("city_SE3_egovehicle.feather", {"tx_m": [np.inf] * 9}, "its poses hold NaN or infinity"),
        ("city_SE3_egovehicle.feather", {"timestamp_ns": [5] * 9}, "the times of the poses do not"),
        ("city_SE3_egovehicle.feather", {"timestamp_ns": [*range(9)]}, "lies outside the poses"),
        ("calibration/intrinsics.feather", {"sensor_name": ["a"] * 9}, "has 0 rows for ring_front"),
        ("calibration/intrinsics.feather", {"width_px": [600] * 9}, "its principal point"),
        ("calibration/egovehicle_SE3_sensor.feather", {"tx_m": [900.0] * 10}, "m from the LiDAR"),
    ],
)
def test_what_is_wrong_is_one_line(
    root: Path, log: Path, file: str, columns: dict[str, Any], line: str
) -> None:
    spoiled(log / file, **columns)
    dataset = Argoverse2Dataset(root)
    assert line in reason(dataset)
    if "lidar" in file:
        dataset.frame(1)
    else:
        dataset.points(0)


def test_damaged_files(root: Path, log: Path) -> None:
    dataset = Argoverse2Dataset(root)
    path = log / "sensors" / "lidar" / f"{START}.feather"
    path.write_bytes(path.read_bytes()[:-40])
    assert reason(dataset).startswith(f"cannot read {path}: ")
    path.unlink()
    assert reason(dataset).startswith(f"cannot read {path}: ")
    dataset.frame(1)
    spoiled(log / "calibration" / "intrinsics.feather", fx_px=[None] * 8 + [1.0])
    assert "has 8 empty values in column fx_px" in reason(dataset, 1)
    (log / "sensors" / "lidar" / "first.feather").touch()
    with pytest.raises(CleverError, match=r"first\.feather: the name is no time in nanoseconds"):
        Argoverse2Dataset(root)


def test_pickled_and_cached(root: Path, cached: Callable[..., FeatureCache]) -> None:
    dataset = pickle.loads(pickle.dumps(Argoverse2Dataset(root)))
    store = cached("argoverse2", root)
    np.testing.assert_array_equal(store[1].points.numpy(), dataset.points(1))
    assert store[1].pair_point.numel() > 10
