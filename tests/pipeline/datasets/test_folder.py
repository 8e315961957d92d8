"""A drive of one's own: tiny ones written by the test in every form, and the real frames beside
their own datasets."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.spatial.transform import Rotation

from clever.cache.projection import project, visible_pairs
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.datasets.base import class_mean
from clever.pipeline.datasets.folder import FolderDataset
from clever.pipeline.datasets.kitti_layout import read_calibration
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings

SIZE = (96, 64)
K = {"fx": 60, "fy": 61, "cx": 47, "cy": 33}
FORWARD = [[0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, 0.3]]
"""camera <- LiDAR of a camera that looks ahead."""
Change = Callable[[dict[str, Any]], object]


def cloud(seed: int, points: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform([3, -5, -2, 0], [20, 5, 2, 1], (points, 4)).astype(np.float32)


def drive() -> dict[str, Any]:
    """What the drive of `root` is, by name."""
    return {
        "points": {
            "files": "{scene}/lidar/{frame}.bin",
            "input_format": "bin",
            "columns": ["x", "y", "z", "intensity"],
            "intensity_scale": 1.0,
        },
        "cameras": {
            "front": {
                "images": "{scene}/front/{frame}.png",
                "intrinsics": K,
                "camera_from_lidar": FORWARD,
            }
        },
        "labels": {
            "files": "{scene}/labels/{frame}.label",
            "classes": ["road", "car"],
            "map": {0: "ignore", 40: "road", 10: "car", 252: "car"},
        },
        "splits": {"train": ["a"], "val": ["b/000007"]},
    }


def write(root: Path, content: dict[str, Any]) -> None:
    (root / "drive.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scene a with frames 2, 9 and 10, scene b with frame 000007; labels and images."""
    folder = tmp_path / "own"
    for number, (scene, frame) in enumerate([("a", "2"), ("a", "9"), ("a", "10"), ("b", "000007")]):
        for part in ("lidar", "front", "labels"):
            (folder / scene / part).mkdir(parents=True, exist_ok=True)
        cloud(number).tofile(folder / scene / "lidar" / f"{frame}.bin")
        Image.new("RGB", SIZE, (number, 0, 0)).save(folder / scene / "front" / f"{frame}.png")
        raw = np.resize([0, 40, 10, 252 | 3 << 16], 60).astype("<u4")
        raw.tofile(folder / scene / "labels" / f"{frame}.label")
    write(folder, drive())
    return folder


@pytest.fixture
def changed(root: Path) -> Callable[[Change], Path]:
    """Writes the drive's file anew with a change."""

    def rewrite(change: Change) -> Path:
        content = drive()
        change(content)
        write(root, content)
        return root

    return rewrite


def one_line(error: pytest.ExceptionInfo[CleverError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_frames_scenes_and_splits(root: Path) -> None:
    everything = build_dataset("folder", root, split="all")
    assert everything.frame_ids == ["a/2", "a/9", "a/10", "b/000007"]
    assert everything.scenes == ["a", "a", "a", "b"]
    assert [everything.frame(n).split for n in range(4)] == ["train", "train", "train", "val"]
    assert FolderDataset(root).frame_ids == ["a/2", "a/9", "a/10"]
    assert FolderDataset(root, split="val").frame_ids == ["b/000007"]
    assert FolderDataset(root, "val", sequences=["b", "a"]).scenes == ["b", "a", "a", "a"]
    assert (everything.cameras, everything.class_names) == (("front",), ("road", "car"))
    assert class_mean(everything) == "present"


def test_a_frame_holds_what_the_files_hold(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(FolderDataset(root)))
    frame = pickle.loads(pickle.dumps(dataset)).frame(1)
    assert (frame.id, frame.scene, frame.timestamp) == ("a/9", "a", 100_000)
    np.testing.assert_array_equal(frame.points, cloud(1))
    assert frame.points.dtype == np.float32
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))
    (camera,) = frame.cameras
    assert camera.image == root / "a/front/9.png"
    assert (camera.name, camera.width, camera.height, camera.lens) == ("front", *SIZE, None)
    np.testing.assert_array_equal(camera.intrinsics, [[60, 0, 47], [0, 61, 33], [0, 0, 1]])
    np.testing.assert_array_equal(camera.camera_from_lidar, [*FORWARD, [0, 0, 0, 1]])
    labels = dataset.labels(1)
    np.testing.assert_array_equal(labels, np.resize([IGNORE, 0, 1, 1], 60))
    assert labels.dtype == np.uint8


def test_extrinsics_in_every_form_are_the_same(changed: Callable[[Change], Path]) -> None:
    forward = np.array([*FORWARD, [0, 0, 0, 1.0]])
    turn = Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix()
    forward[:3, :3] = forward[:3, :3] @ turn
    inverse = np.linalg.inv(forward)
    quaternion = Rotation.from_matrix(forward[:3, :3])
    forms = [
        ("camera_from_lidar", forward.tolist()),
        ("camera_from_lidar", forward[:3].ravel().tolist()),
        ("camera_from_lidar", forward.ravel().tolist()),
        ("lidar_from_camera", inverse[:3].tolist()),
        (
            "camera_from_lidar",
            {
                "translation": forward[:3, 3].tolist(),
                "quaternion_xyzw": quaternion.as_quat().tolist(),
            },
        ),
        (
            "lidar_from_camera",
            {
                "translation": inverse[:3, 3].tolist(),
                "quaternion_wxyz": quaternion.inv().as_quat(scalar_first=True).tolist(),
            },
        ),
    ]
    for key, value in forms:

        def change(content: dict[str, Any], key: str = key, value: object = value) -> None:
            del content["cameras"]["front"]["camera_from_lidar"]
            content["cameras"]["front"][key] = value

        (camera,) = FolderDataset(changed(change)).frame(0).cameras
        np.testing.assert_allclose(camera.camera_from_lidar, forward, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("radial-tangential", [-0.28, 0.07, 1e-3, -2e-3]),
        ("radial-tangential", [0.4, -0.1, 1e-3, -2e-3, 0.01, 0.7, 0.05, 0.002]),
        ("fisheye", [0.05, -0.01, 3e-3, -5e-4]),
    ],
)
def test_distorted_images_are_those_of_opencv(
    changed: Callable[[Change], Path], model: str, coefficients: list[float]
) -> None:
    distortion = {"model": model, "coefficients": coefficients}
    root = changed(lambda content: content["cameras"]["front"].update(distortion=distortion))
    frame = FolderDataset(root).frame(0)
    pairs = visible_pairs(frame)
    (camera,) = frame.cameras
    xyz = frame.points[pairs.point, :3].astype(np.float64)
    in_camera = xyz @ np.array(FORWARD)[:, :3].T + np.array(FORWARD)[:, 3]
    reference = cv2.fisheye.projectPoints if model == "fisheye" else cv2.projectPoints
    zero = np.zeros(3)
    expected, _ = reference(
        in_camera[:, None], zero, zero, camera.intrinsics, np.array(coefficients)
    )
    assert len(pairs.point) > 20
    np.testing.assert_allclose(pairs.uv, expected[:, 0], rtol=0, atol=1e-6)
    straight, _ = project(xyz, FolderDataset(changed(lambda content: None)).frame(0).cameras[0])
    assert np.abs(straight - pairs.uv).max() > 0.3


def _kitti_as_folder(root: Path, folder: Path, sequence: str, poses: bool) -> Path:
    """The folder dataset of a root in the KITTI layout."""
    folder.mkdir()
    (folder / "sequences").symlink_to(root / "sequences")
    calibration = read_calibration("", root / "sequences" / sequence / "calib.txt")
    image = next((root / "sequences" / sequence / "image_2").glob("*.png"))
    with Image.open(image) as picture:
        intrinsics, transform = calibration.camera2("", image, *picture.size)
    times = {"files": "sequences/{scene}/times.txt", "unit": "s", "rows": "number"}
    content: dict[str, Any] = {
        "points": {
            "files": "sequences/{scene}/velodyne/{frame}.bin",
            "input_format": "kitti",
            "times": times,
        },
        "cameras": {
            "image_2": {
                "images": "sequences/{scene}/image_2/{frame}.png",
                "intrinsics": intrinsics.tolist(),
                "camera_from_lidar": transform.tolist(),
                "times": times,
            }
        },
    }
    if poses:
        content["poses"] = {
            "files": "sequences/{scene}/poses.txt",
            "format": "kitti",
            "of": "body",
            "body_from_lidar": calibration.camera0_from_lidar.tolist(),
        }
    write(folder, content)
    return folder


def _stores(root: Path, own: Path, place: Path, limit: int) -> tuple[dict[str, bytes], ...]:
    """Every file of the stores that the two datasets give, with the name of the dataset taken
    out."""
    contents = []
    for name, data_root in (("semantickitti", root), ("folder", own)):
        settings = CacheTeacherSettings(
            dataset=name,
            data_root=data_root,
            sequences=("40",),
            limit=limit,
            cache=place / name,
            model="test_resnet",
            weights="random:0",
            image_size=(32, 64),
            device="cpu",
        )
        assert not cache_teacher(settings).failed
        files = sorted(path for path in (place / name).rglob("*") if path.is_file())
        contents.append({str(path.relative_to(place / name)): path.read_bytes() for path in files})
    return tuple(contents)


def _same_but_for_the_name(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    assert list(first) == list(second)
    differing = [name for name in first if first[name] != second[name]]
    for name in differing:
        one, other = json.loads(first[name]), json.loads(second[name])
        assert "semantickitti" in first[name].decode()
        assert _neutral(one) == _neutral(other), name
    assert {Path(name).name for name in differing} == {"seal.json", "zarr.json"}
    assert sum("/c/" in name for name in first) > 5


def _neutral(value: Any) -> Any:
    """JSON without names of datasets and what sums are made over them."""
    if isinstance(value, dict):
        return {key: _neutral(part) for key, part in value.items() if key not in SUMS}
    if isinstance(value, list):
        return [_neutral(part) for part in value]
    return "NAME" if value in ("semantickitti", "folder") else value


SUMS = ("checksum", "crc32c", "sha256", "bytes")
"""Of files, all of which are compared themselves."""


def test_a_kitti_drive_as_a_folder_gives_the_same_store(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"40": 3}, poses=True)
    own = _kitti_as_folder(root, tmp_path / "own", "40", poses=True)
    _same_but_for_the_name(*_stores(root, own, tmp_path, 3))


def test_the_real_kitti_drive_as_a_folder_gives_the_same_store(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "semantickitti"
    own = _kitti_as_folder(root, tmp_path / "own", "40", poses=False)
    _same_but_for_the_name(*_stores(root, own, tmp_path, 6))
    labelled, labels = FolderDataset(own, sequences=["40"]), SemanticKittiDataset(root, ["40"])
    assert labelled.frame_ids == labels.frame_ids


def _nuscenes_as_folder(root: Path, folder: Path) -> Path:
    """The folder dataset of a nuScenes root: files told by time, poses of the car."""
    tables = {
        name: json.loads((root / "v1.0-mini" / f"{name}.json").read_text())
        for name in ("calibrated_sensor", "ego_pose", "sample_data", "sensor")
    }
    channels = {row["token"]: row["channel"] for row in tables["sensor"]}
    calibrated = {channels[row["sensor_token"]]: row for row in tables["calibrated_sensor"]}
    car_from_lidar = _placed(calibrated["LIDAR_TOP"])
    folder.mkdir()
    (folder / "samples").symlink_to(root / "samples")
    lines = ["# time x y z qw qx qy qz"]
    for row in sorted(tables["ego_pose"], key=lambda row: row["timestamp"]):
        numbers = [*row["translation"], *row["rotation"]]
        lines.append(f"{row['timestamp'] / 1e6:.6f} " + " ".join(map(repr, numbers)))
    (folder / "poses.txt").write_text("\n".join(dict.fromkeys(lines)))
    content: dict[str, Any] = {
        "points": {
            "files": "samples/LIDAR_TOP/{scene}__LIDAR_TOP__{time}.pcd.bin",
            "input_format": "nuscenes",
            "times": {"unit": "us"},
        },
        "match": "time",
        "largest_gap": 0.05,
        "cameras": {},
        "poses": {
            "files": "poses.txt",
            "format": "tum-wxyz",
            "of": "body",
            "body_from_lidar": car_from_lidar.tolist(),
        },
    }
    for channel in NuScenesDataset.cameras:
        car_from_camera = _placed(calibrated[channel])
        content["cameras"][channel] = {
            "images": f"samples/{channel}/{{scene}}__{channel}__{{time}}.jpg",
            "times": {"unit": "us"},
            "size": [1600, 900],
            "intrinsics": calibrated[channel]["camera_intrinsic"],
            "lidar_from_camera": (np.linalg.inv(car_from_lidar) @ car_from_camera).tolist(),
        }
    write(folder, content)
    return folder


def _placed(row: dict[str, Any]) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_quat(row["rotation"], scalar_first=True).as_matrix()
    transform[:3, 3] = row["translation"]
    return transform


def test_the_nuscenes_keyframe_as_a_folder_gives_the_same_pairs(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "nuscenes"
    own = FolderDataset(_nuscenes_as_folder(root, tmp_path / "own"), split="all")
    frame, reference = own.frame(0), NuScenesDataset(root, split="all").frame(0)
    assert frame.timestamp == reference.timestamp == 1532402927647951
    assert [Path(str(camera.image)).name for camera in frame.cameras] == [
        Path(str(camera.image)).name for camera in reference.cameras
    ]
    np.testing.assert_array_equal(frame.points, reference.points)
    np.testing.assert_allclose(
        frame.global_from_lidar, reference.global_from_lidar, rtol=0, atol=1e-9
    )
    pairs, expected = visible_pairs(frame), visible_pairs(reference)
    assert len(expected.point) == 22_103
    np.testing.assert_array_equal(pairs.point, expected.point)
    np.testing.assert_array_equal(pairs.offsets, expected.offsets)
    np.testing.assert_allclose(pairs.uv, expected.uv, rtol=0, atol=1e-6)
    content = yaml.safe_load((tmp_path / "own/drive.yaml").read_text())
    content["poses"]["compensate"] = False
    write(tmp_path / "own", content)
    standing = visible_pairs(FolderDataset(tmp_path / "own", split="all").frame(0))
    assert len(standing.point) != len(expected.point)
