"""PandaSet scenes written by the test: points out of the world, poses, sensors, classes, splits;
every damaged file is one line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from clever.cache import FeatureCache
from clever.cache.projection import project
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE
from clever.pipeline.datasets.pandaset import CAMERAS, CLASSES, PandaSetDataset

from .pickled_frames import call, write_frame

POINTS, SIZE = 400, (64, 36)
SCENES = {"001": 37.61, "056": 37.6, "100": None}
"""Latitudes; the last scene has no labels."""
# Class of each raw id, counted from 1 as ScaLR lists them; 0 for none.
LEARNING_MAP = {
    **dict.fromkeys((0, 1, 2, 3, 4, 22, 24, 25, 32, 33, 40), 0),
    7: 1, 36: 2, 38: 2, 35: 3, 39: 3, 30: 4, 31: 4, 5: 5, 8: 6, 9: 6, 10: 6, 11: 7, 41: 8, 42: 8,
    34: 9, 37: 9, 13: 10, 18: 11, 14: 12, 15: 12, 16: 12, 23: 13, 26: 14, 17: 15, 19: 15, 20: 15,
    21: 15, 27: 15, 28: 15, 29: 15, 6: 16, 12: 17,
}  # fmt: skip


def turn(yaw: float) -> Rotation:
    return Rotation.from_euler("ZYX", [yaw, 0.02, -0.01])


def lidar_pose(number: int) -> tuple[Rotation, NDArray[np.float64]]:
    return turn(0.5 + 0.1 * number), np.array([800.0 + number, -300.0, 12.0])


def camera_pose(number: int, camera: int) -> tuple[Rotation, NDArray[np.float64]]:
    axes = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # camera looks along y
    rotation, place = lidar_pose(number)
    mount = np.array([0.1 * camera, 0.8, 1.6])
    return rotation * turn(camera) * axes, place + rotation.apply(mount) + [0.3, 0.2, 0.0]


def entry(pose: tuple[Rotation, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    x, y, z, w = pose[0].as_quat().tolist()
    place = dict(zip("xyz", pose[1].tolist(), strict=True))
    return {"position": place, "heading": {"w": w, "x": x, "y": y, "z": z}}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def known(scene: str, number: int) -> tuple[NDArray[Any], ...]:
    """Points in the LiDAR's frame (x right, y forward), intensities, LiDARs, raw labels."""
    rng = np.random.default_rng(int(scene) * 10 + number)
    xyz = rng.uniform([-50, -50, -1], [50, 50, 5], (POINTS, 3))
    intensity, lidar = rng.integers(0, 256, POINTS), rng.integers(0, 2, POINTS)
    return xyz, intensity.astype(float), lidar, rng.integers(0, 43, POINTS)


def write_scene(root: Path, scene: str, latitude: float | None, frames: int = 2) -> None:
    folder = root / scene
    write_json(folder / "lidar" / "poses.json", [entry(lidar_pose(n)) for n in range(frames)])
    write_json(folder / "lidar" / "timestamps.json", [1557539956.5 + n / 8 for n in range(frames)])
    if latitude is not None:
        write_json(folder / "meta" / "gps.json", [{"lat": latitude, "long": 0.0}] * frames)
    for number in range(frames):
        xyz, intensity, lidar, raw = known(scene, number)
        rotation, place = lidar_pose(number)
        world = rotation.apply(xyz) + place
        columns = {name: world[:, n].copy() for n, name in enumerate("xyz")}
        columns |= {"i": intensity, "t": np.zeros(POINTS), "d": lidar}
        write_frame(folder / "lidar" / f"{number:02}.pkl.gz", columns)
        if latitude is not None:
            path = folder / "annotations" / "semseg" / f"{number:02}.pkl.gz"
            write_frame(path, {"class": raw})
    for camera, name in enumerate(CAMERAS):
        place = folder / "camera" / name
        write_json(place / "poses.json", [entry(camera_pose(n, camera)) for n in range(frames)])
        write_json(place / "intrinsics.json", {"fx": 60.0, "fy": 61.0, "cx": 33.0, "cy": 17.0})
        for number in range(frames):
            Image.new("RGB", SIZE, (40 * camera, number, 9)).save(place / f"{number:02}.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for scene, latitude in SCENES.items():
        write_scene(tmp_path / "pandaset", scene, latitude)
    return tmp_path / "pandaset"


def reason(dataset: PandaSetDataset, index: int = 0) -> str:
    with pytest.raises(FrameError) as caught:
        dataset.frame(index)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_points_in_the_lidar_s_frame(root: Path) -> None:
    dataset = PandaSetDataset(root)
    assert dataset.frame_ids == ["001/00", "001/01"]
    for number in range(2):
        xyz, intensity, lidar, _ = known("001", number)
        for sensor, own in (
            ("pandar64", lidar == 0),
            ("pandargt", lidar == 1),
            ("both", lidar > -1),
        ):
            points = PandaSetDataset(root, sensor=sensor).points(number)
            np.testing.assert_allclose(points[:, :3], xyz[own], atol=1e-5)
            np.testing.assert_allclose(points[:, 3], intensity[own] / 255, atol=1e-7)
        frame = dataset.frame(number)
        np.testing.assert_array_equal(frame.points, dataset.points(number))
        rotation, place = lidar_pose(number)
        np.testing.assert_allclose(frame.global_from_lidar[:3, :3], rotation.as_matrix())
        np.testing.assert_allclose(frame.global_from_lidar[:3, 3], place)
        assert frame.timestamp == 1557539956500000 + 125000 * number
        assert (frame.scene, frame.split) == ("001", "train")
    half = PandaSetDataset(root, intensity_scale="510").points(0)
    np.testing.assert_allclose(half[:, 3], dataset.points(0)[:, 3] / 2)


def test_cameras(root: Path) -> None:
    frame = PandaSetDataset(root, sensor="both").frame(1)
    xyz = known("001", 1)[0]
    rotation, place = lidar_pose(1)
    for number, camera in enumerate(frame.cameras):
        turned, mount = camera_pose(1, number)
        x, y, z = turned.inv().apply(rotation.apply(xyz) + place - mount).T
        uv, depth = project(frame.points[:, :3], camera)
        np.testing.assert_allclose(depth, z, atol=1e-4)
        front = z > 2
        expected = np.column_stack([60 * x / z + 33, 61 * y / z + 17])[front]
        np.testing.assert_allclose(uv[front], expected, atol=0.02, rtol=1e-4)
        assert front.sum() > 50
        assert (camera.width, camera.height) == SIZE
        assert camera.image == root / "001" / "camera" / CAMERAS[number] / "01.jpg"


@pytest.mark.parametrize("sensor", ["pandar64", "both"])
def test_labels_join_by_row_label(root: Path, sensor: str) -> None:
    dataset = PandaSetDataset(root, sensor=sensor)
    _, _, lidar, raw = known("001", 0)
    own = raw[lidar == 0] if sensor == "pandar64" else raw
    numbers = np.array([LEARNING_MAP[value] for value in own.tolist()])
    expected = np.where(numbers == 0, IGNORE, numbers - 1)
    np.testing.assert_array_equal(dataset.labels(0), expected)
    assert set(LEARNING_MAP) == set(range(43))
    assert len(CLASSES) == 17
    # The same labels in another order, each with its row label.
    order = np.random.default_rng(0).permutation(POINTS)
    path = root / "001" / "annotations" / "semseg" / "00.pkl.gz"
    write_frame(path, {"class": raw[order]}, order)
    np.testing.assert_array_equal(dataset.labels(0), expected)
    missing = int(np.flatnonzero(lidar == 0)[3])
    for rows in (order[order != missing], order[:0]):
        write_frame(path, {"class": raw[rows]}, rows)
        with pytest.raises(FrameError, match=r"semseg/00\.pkl\.gz has no label for some points"):
            dataset.labels(0)
    write_frame(path, {"class": np.full(POINTS, 43)})
    with pytest.raises(FrameError, match=r"unknown label ids \[43\]"):
        dataset.labels(0)


def test_splits_by_latitude(root: Path) -> None:
    assert set(PandaSetDataset(root).scenes) == {"001"}
    assert set(PandaSetDataset(root, split="val").scenes) == {"056"}
    everything = PandaSetDataset(root, split="all")
    assert list(dict.fromkeys(everything.scenes)) == ["001", "056", "100"]
    assert [everything.frame(index).split for index in (0, 2, 4)] == ["train", "val", ""]
    assert [everything.has_labels(index) for index in (0, 2, 4)] == [True, True, False]
    with pytest.raises(FrameError, match=r"cannot read .*semseg.*: No such file"):
        everything.labels(4)
    part = PandaSetDataset(root, sequences=["56", "1"], cameras=["left_camera", "back_camera"])
    assert list(dict.fromkeys(part.scenes)) == ["056", "001"]
    assert [camera.name for camera in part.frame(0).cameras] == ["left_camera", "back_camera"]


def test_frames_in_order_of_number(tmp_path: Path) -> None:
    write_scene(tmp_path, "007", 40.0, 11)
    for number in (2, 10):
        path = tmp_path / "007" / "lidar" / f"{number:02}.pkl.gz"
        path.rename(path.with_name(f"{number}.pkl.gz"))
    assert [name[4:] for name in PandaSetDataset(tmp_path).frame_ids[1:4]] == ["01", "2", "03"]


def test_what_is_wrong_as_a_whole(root: Path) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"split": "test"}, "pandaset has no split 'test'; choose train, val or all"),
        ({"sequences": ["9"]}, "no sequence 9: .* holds sequences 001, 056, 100"),
        (
            {"cameras": ["front"]},
            "pandaset has no camera front; choose `cameras` among back_camera",
        ),
        ({"sensor": "velodyne"}, "`dataset_option=sensor=velodyne` is no LiDAR; choose pandar64"),
    )
    for words, line in wrong:
        with pytest.raises(CleverError, match=line):
            PandaSetDataset(root, **words)
    write_json(root / "056" / "meta" / "gps.json", [{"latitude": 1.0}])
    with pytest.raises(CleverError, match=r"gps\.json: `lat` of entry 0 is not 1 finite numbers"):
        PandaSetDataset(root)
    (root / "056" / "meta" / "gps.json").unlink()
    with pytest.raises(CleverError, match=r"cannot read .*gps\.json: No such file"):
        PandaSetDataset(root)
    (root / "001" / "lidar" / "last.pkl.gz").touch()
    with pytest.raises(CleverError, match=r"last\.pkl\.gz: the name is no frame number|gps"):
        PandaSetDataset(root)


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("lidar/poses.json", [{}], "poses.json: entry 0 is not 7 finite numbers"),
        ("lidar/poses.json", [], "poses.json has 0 entries, none for frame 0; restore the file"),
        ("lidar/poses.json", {}, "poses.json holds a dict, not a list; restore the file"),
        ("lidar/timestamps.json", ["now"], "timestamps.json: entry 0 is not 1 finite numbers"),
        ("camera/left_camera/intrinsics.json", {"fx": 1}, "is not 4 finite numbers; restore"),
        ("camera/left_camera/poses.json", [[0] * 7], "poses.json: entry 0 is not 7 finite numb"),
    ],
)
def test_a_wrong_json_file_is_one_line(root: Path, file: str, content: Any, line: str) -> None:
    dataset = PandaSetDataset(root)
    write_json(root / "001" / file, content)
    assert line in reason(dataset)
    (root / "001" / file).write_text("{")
    assert f"{root / '001' / file} is no JSON" in reason(dataset)


def test_wrong_poses(root: Path) -> None:
    dataset = PandaSetDataset(root)
    path = root / "001" / "lidar" / "poses.json"
    entries = json.loads(path.read_text())
    entries[0]["heading"]["w"] = 3.0
    write_json(path, entries)
    assert f"{path}: entry 0: its poses hold a quaternion of length" in reason(dataset)
    dataset.frame(1)


def test_damaged_sweeps_cost_one_frame(root: Path) -> None:
    dataset = PandaSetDataset(root)
    path = root / "001" / "lidar" / "00.pkl.gz"
    path.write_bytes(call("os", "system", f"touch {root / 'mark'}"))
    assert f"{path} names os.system, which no table of numbers needs" in reason(dataset)
    assert not (root / "mark").exists()
    write_frame(path, {"x": np.zeros(3)})
    assert "has no column y, z, i, d (it has x); restore the file" in reason(dataset)
    path.write_bytes(b"")
    assert str(path) in reason(dataset)
    (root / "001" / "camera" / "left_camera" / "01.jpg").unlink()
    assert "left_camera/01.jpg" in reason(dataset, 1)
    dataset.points(1)


def test_pickled_and_cached(root: Path, cached: Callable[..., FeatureCache]) -> None:
    dataset = pickle.loads(pickle.dumps(PandaSetDataset(root, split="all")))
    store = cached("pandaset", root)
    assert list(store.ids) == list(dataset.frame_ids)
    np.testing.assert_array_equal(store[3].points.numpy(), dataset.points(3))
    assert store[3].pair_point.numel() > 10
