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

import clever
from clever.cache.projection import project, visible_pairs
from clever.errors import CleverError, FrameError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.datasets.base import class_mean
from clever.pipeline.datasets.drive_yaml.schema import CameraPart, Labels, Points, Poses, read_drive
from clever.pipeline.datasets.drive_yaml.tracks import nanoseconds
from clever.pipeline.datasets.folder import FolderDataset
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.readers.file_patterns import FilePattern
from clever.pipeline.datasets.readers.kitti_layout import read_calibration
from clever.pipeline.datasets.readers.time_sample import time_doubt
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.doctor import doctor
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.doctor import DoctorSettings

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


@pytest.mark.slow
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


def test_images_of_the_nearest_time(changed: Callable[[Change], Path]) -> None:
    def timed(content: dict[str, Any]) -> None:
        content["match"], content["largest_gap"] = "time", 0.3
        content["points"]["times"] = {"files": "{scene}/lidar.txt", "unit": "s"}
        content["cameras"]["front"]["times"] = {"files": "{scene}/front.txt", "unit": "ms"}

    root = changed(timed)
    # Frames 2, 9 and 10 in this order; images 2, 9 and 10 were taken at other times.
    (root / "a/lidar.txt").write_text("10.0\n10.5\n12.0\n")
    (root / "a/front.txt").write_text("10450\n9900.5\n11699.999999\n")
    dataset = FolderDataset(root)
    images = [dataset.frame(index).cameras[0].image for index in (0, 1)]
    assert images == [root / "a/front/9.png", root / "a/front/2.png"]
    assert [dataset.frame(index).timestamp for index in (0, 1)] == [10_000_000, 10_500_000]
    with pytest.raises(
        FrameError,
        match=r"^frame a/10: camera front: no image within 0.3 s of the points: the nearest, "
        r".*a/front/10\.png, was taken 0\.300 s away$",
    ):
        dataset.frame(2)
    (root / "a/front.txt").write_text("10450\n9900.5\n11700\n")
    assert FolderDataset(root).frame(2).cameras[0].image == root / "a/front/10.png"
    (root / "a/front.txt").write_text("10450\nsoon\n11700\n")
    with pytest.raises(FrameError, match=r"front\.txt line 2 holds 'soon', no number; correct it"):
        FolderDataset(root).frame(2)
    (root / "a/front.txt").write_text("10450\n")
    with pytest.raises(FrameError, match=r"front\.txt has 1 lines for 3 files; restore it, or"):
        FolderDataset(root).frame(2)
    assert len(FolderDataset(root).points(2)) == 60


@pytest.mark.parametrize(
    ("unit", "files", "words"),
    [
        ("ns", "10.0\n10.5\n12.0\n", "frames follow every 1e-09 s, less than 0.005"),
        ("ns", "0.1\n0.2\n0.3\n", "frames follow every 0 s, less than 0.005"),
        ("us", "10000\n10500\n12000\n", "frames follow every 0.001 s, less than 0.005"),
        ("us", "12000\n11500\n10000\n", "frames follow every 0.001 s, less than 0.005"),
    ],
)
def test_times_in_a_unit_too_small_where_they_decide(
    changed: Callable[[Change], Path], unit: str, files: str, words: str
) -> None:
    """Told by time, images would be anyone's; told by name, nothing depends on it."""

    def timed(content: dict[str, Any]) -> None:
        content["points"]["times"] = {"files": "{scene}/lidar.txt", "unit": unit}
        content["cameras"]["front"]["times"] = {"files": "{scene}/lidar.txt", "unit": unit}

    root = changed(timed)
    (root / "a/lidar.txt").write_text(files)
    dataset = FolderDataset(root)
    assert dataset.frame(0).cameras[0].image == root / "a/front/2.png"
    line = time_doubt(dataset, range(3))
    assert line.startswith("folder: ")
    assert line.endswith("; correct points.times of drive.yaml")

    def by_time(content: dict[str, Any]) -> None:
        timed(content)
        content["match"], content["largest_gap"] = "time", 0.3

    dataset = FolderDataset(changed(by_time))
    for number in range(3):
        with pytest.raises(FrameError, match=f"points.times of drive.yaml: {words}, so the unit"):
            dataset.frame(number)
    assert len(dataset.points(2)) == 60
    (root / "b/lidar.txt").write_text("5\n")  # a single frame has no steps
    assert FolderDataset(root, "val").frame(0).cameras[0].image == root / "b/front/000007.png"


def test_keyframes_far_apart_are_told_by_time(changed: Callable[[Change], Path]) -> None:
    def timed(content: dict[str, Any]) -> None:
        content["match"], content["largest_gap"] = "time", 0.3
        content["points"]["times"] = {"files": "{scene}/lidar.txt", "unit": "s"}
        content["cameras"]["front"]["times"] = {"files": "{scene}/lidar.txt", "unit": "s"}

    root = changed(timed)
    (root / "a/lidar.txt").write_text("0\n100\n250\n")
    dataset = FolderDataset(root)
    assert dataset.frame(1).cameras[0].image == root / "a/front/9.png"
    assert "every 125 s, more than 30" in time_doubt(dataset, range(3))


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1532402927647951", "us", 1532402927647951000),
        (" 1532402927.647951 ", "s", 1532402927647951000),
        ("1532402927647951999", "ns", 1532402927647951999),
        ("1.036224e-01", "s", 103622400),
        ("-2.5", "ms", -2500000),
        ("2011-09-26 13:02:25.964389445", "date", 1317042145964389445),
        ("2011-09-26T13:02:25", "date", 1317042145000000000),
    ],
)
def test_times_are_exact(text: str, unit: Any, expected: int) -> None:
    assert nanoseconds(text, unit) == expected


@pytest.mark.parametrize(
    ("text", "unit"),
    [("", "s"), ("nan", "s"), ("inf", "ms"), ("1e30", "s"), ("now", "date"), ("12:00", "date")],
)
def test_what_is_no_time(text: str, unit: Any) -> None:
    with pytest.raises(ValueError, match=r"^holds "):
        nanoseconds(text, unit)


def _moving(content: dict[str, Any]) -> None:
    """The car drives 10 m/s ahead; images are taken 0.1 s after the points."""
    content["points"]["times"] = {"files": "{scene}/lidar.txt", "unit": "s"}
    content["cameras"]["front"]["times"] = {"files": "{scene}/front.txt", "unit": "s"}
    content["poses"] = {"files": "{scene}/poses.txt", "format": "tum", "of": "lidar"}


def _turned(degrees: float) -> np.ndarray:
    return Rotation.from_euler("z", degrees, degrees=True).as_quat()


def test_points_move_with_the_car_to_the_time_of_the_image(
    changed: Callable[[Change], Path],
) -> None:
    root = changed(_moving)
    (root / "a/lidar.txt").write_text("0\n0.5\n1\n")
    (root / "a/front.txt").write_text("0.1\n0.6\n0.9\n")
    rows = ["# time x y z qx qy qz qw", ""]
    for time in (0.0, 0.5, 1.0):
        quaternion = " ".join(map(str, _turned(90 * time)))
        rows.append(f"{time} {10 * time} 0 0 {quaternion}")
    (root / "a/poses.txt").write_text("\n".join(rows))
    frame = FolderDataset(root).frame(0)
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))
    # 0.1 s later the car stands 1 m further ahead and is turned 9 degrees to the left: what was 6 m
    # ahead is 5 m away and 9 degrees to the right.
    x, y = 5 * np.cos(np.radians(9)), -5 * np.sin(np.radians(9))
    place = frame.cameras[0].camera_from_lidar @ [6, 0, 0, 1]
    np.testing.assert_allclose(place, [-y + 0.1, -0.2, x + 0.3, 1], atol=1e-12)
    later = FolderDataset(root).frame(2)
    np.testing.assert_allclose(later.global_from_lidar @ [1, 0, 0, 1], [10, 1, 0, 1], atol=1e-12)
    (root / "a/front.txt").write_text("0.1\n0.6\n1.1\n")
    with pytest.raises(FrameError, match=r"^frame a/10: camera front: .*poses\.txt: time 11000"):
        FolderDataset(root).frame(2)
    (root / "a/poses.txt").write_text("\n".join(rows).replace(" 5.0 0 0", " five 0 0"))
    with pytest.raises(FrameError, match=r"poses\.txt line 4 holds what is no number; correct it"):
        FolderDataset(root).frame(0)
    (root / "a/poses.txt").write_text("\n".join([*rows, rows[-1]]))
    with pytest.raises(FrameError, match=r"poses\.txt: the times of the poses do not ascend"):
        FolderDataset(root).frame(0)
    (root / "a/poses.txt").unlink()
    with pytest.raises(FrameError, match=r"^frame a/2: cannot read .*poses\.txt: No such file"):
        FolderDataset(root).frame(0)


def test_scenes_have_calibrations_of_their_own(changed: Callable[[Change], Path]) -> None:
    other = np.array([*FORWARD, [0, 0, 0, 1.0]])
    other[:3, 3] += [0.5, -0.25, 1]
    lens = {"model": "radial-tangential", "coefficients": [0.1, 0, 0, 0]}
    ways = [
        {"camera_from_lidar": other[:3].tolist()},
        {"lidar_from_camera": np.linalg.inv(other).tolist()},
        {"intrinsics": {"fx": 70, "fy": 71, "cx": 32, "cy": 24}},
        {"distortion": lens},
        {"size": list(SIZE)},
    ]
    for way in ways:

        def change(content: dict[str, Any], way: dict[str, Any] = way) -> None:
            content["calibrations"] = [{"scenes": ["b*"], "cameras": {"front": way}}]

        dataset = FolderDataset(changed(change), "all")
        plain, own = (dataset.frame(index).cameras[0] for index in (0, 3))
        assert [dataset.scenes[index] for index in (0, 3)] == ["a", "b"]
        np.testing.assert_array_equal(plain.intrinsics, [[60, 0, 47], [0, 61, 33], [0, 0, 1]])
        np.testing.assert_array_equal(plain.camera_from_lidar[:3], FORWARD)
        assert plain.lens is None
        key = next(iter(way))
        expected = other if key.endswith(("lidar", "camera")) else [*FORWARD, [0, 0, 0, 1]]
        np.testing.assert_allclose(own.camera_from_lidar, expected, rtol=0, atol=1e-12)
        fx, fy, cx, cy = (70, 71, 32, 24) if key == "intrinsics" else K.values()
        np.testing.assert_array_equal(own.intrinsics, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        assert (own.lens is not None) == (key == "distortion")


def test_a_size_of_one_scene_is_of_that_alone(changed: Callable[[Change], Path]) -> None:
    change = {"scenes": ["b"], "cameras": {"front": {"size": [10, 10]}}}
    dataset = FolderDataset(changed(_set("calibrations", [change])), "all")
    dataset.frame(0)
    with pytest.raises(
        FrameError, match=r"has 96x64 pixels, not the 10x10 of cameras\.front\.size"
    ):
        dataset.frame(3)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_body_is_another_in_other_scenes(
    changed: Callable[[Change], Path], inverse: bool
) -> None:
    body, other = np.eye(4), np.eye(4)
    body[:3, 3], other[:3, 3] = [1, 0, -1], [0, 2, 0.5]
    other[:3, :3] = Rotation.from_quat(_turned(30)).as_matrix()
    key, value = (
        ("lidar_from_body", np.linalg.inv(other)) if inverse else ("body_from_lidar", other)
    )

    def change(content: dict[str, Any]) -> None:
        content["poses"] = {
            "files": "{scene}/poses.txt",
            "format": "kitti",
            "of": "body",
            "body_from_lidar": body.tolist(),
        }
        content["calibrations"] = [{"scenes": ["b"], key: value.tolist()}]

    root, pose = changed(change), np.eye(4)
    pose[:3, :3] = Rotation.from_quat(_turned(10)).as_matrix()
    for scene, count in (("a", 3), ("b", 1)):
        np.savetxt(root / scene / "poses.txt", [pose[:3].ravel()] * count, fmt="%.17g")
    dataset = FolderDataset(root, "all")
    for index, place in ((0, body), (3, other)):
        np.testing.assert_allclose(dataset.frame(index).global_from_lidar, pose @ place, atol=1e-12)


@pytest.mark.parametrize("of", ["lidar", "front", "body", "body inverse"])
def test_poses_of_any_body_say_the_same(changed: Callable[[Change], Path], of: str) -> None:
    world_from_lidar = [np.eye(4) for _ in range(3)]
    for number, pose in enumerate(world_from_lidar):
        pose[:3, :3] = Rotation.from_euler("xyz", [0.01, 0.02, 0.2 * number]).as_matrix()
        pose[:3, 3] = [5 * number, 0.3 * number, 0.1]
    body = np.eye(4)
    body[:3, :3] = Rotation.from_euler("xyz", [0.5, 0.1, -0.4]).as_matrix()
    body[:3, 3] = [1, 0.5, -1]
    place = {"lidar": np.eye(4), "front": np.array([*FORWARD, [0, 0, 0, 1.0]])}.get(of, body)

    def change(content: dict[str, Any]) -> None:
        _moving(content)
        content["poses"] |= {"format": "kitti", "of": of.split()[0]}
        if of == "body":
            content["poses"]["body_from_lidar"] = body.tolist()
        if of == "body inverse":
            content["poses"]["lidar_from_body"] = np.linalg.inv(body).tolist()

    root = changed(change)
    (root / "a/lidar.txt").write_text("0\n1\n2\n")
    (root / "a/front.txt").write_text("0\n2\n2\n")
    poses = [pose @ np.linalg.inv(place) for pose in world_from_lidar]
    np.savetxt(root / "a/poses.txt", [pose[:3].ravel() for pose in poses], fmt="%.17g")
    frame = FolderDataset(root).frame(1)
    np.testing.assert_allclose(frame.global_from_lidar, world_from_lidar[1], atol=1e-12)
    motion = np.linalg.inv(world_from_lidar[2]) @ world_from_lidar[1]
    expected = np.array([*FORWARD, [0, 0, 0, 1.0]]) @ motion
    np.testing.assert_allclose(frame.cameras[0].camera_from_lidar, expected, atol=1e-12)


def test_a_bad_line_of_poses_costs_its_frame(changed: Callable[[Change], Path]) -> None:
    def change(content: dict[str, Any]) -> None:
        content["poses"] = {
            "files": "{scene}/poses.txt",
            "format": "kitti",
            "of": "lidar",
            "rows": "number",
        }

    root = changed(change)
    rows = ["1 0 0 0 0 1 0 0 0 0 1 0"] * 10
    rows[2] = "1 0 0 0 0 1 0 0 0 0 -1 0"
    rows[9] = "1 0 0 7 0 1 0 8 0 0 1 9"
    (root / "a/poses.txt").write_text("\n".join(rows))
    dataset = FolderDataset(root)
    assert dataset.frame(1).global_from_lidar[:3, 3].tolist() == [7, 8, 9]
    with pytest.raises(FrameError, match=r"^frame a/2: .*poses\.txt line 3 is a reflection"):
        dataset.frame(0)
    with pytest.raises(FrameError, match=r"^frame a/10: .* has 10 lines, none for this frame"):
        dataset.frame(2)


def _write_ply(path: Path, rows: np.ndarray) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex {}\n{}end_header\n"
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "reflectance"))
    text = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in rows)
    path.write_text(header.format(len(rows), names) + text + "\n")


def _write_pcd(path: Path, rows: np.ndarray) -> None:
    head = "VERSION 0.7\nFIELDS x y z i\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    head += (
        f"WIDTH {len(rows)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(rows)}\nDATA binary\n"
    )
    path.write_bytes(head.encode() + rows.astype("<f4").tobytes())


def _write_las(path: Path, rows: np.ndarray) -> None:
    laspy = pytest.importorskip("laspy")
    cloud = laspy.create()
    cloud.header.scales = [1e-6] * 3
    cloud.x, cloud.y, cloud.z = rows[:, 0], rows[:, 1], rows[:, 2]
    cloud.intensity = np.round(rows[:, 3] * 65535).astype(np.uint16)
    cloud.write(path)


def _write_turned_bin(path: Path, rows: np.ndarray) -> None:
    rows[:, [3, 1, 0, 2, 3]].astype("<f8").tofile(path)


FORMATS: dict[str, tuple[dict[str, Any], Callable[[Path, np.ndarray], object], float]] = {
    "kitti": ({}, lambda path, rows: rows.astype("<f4").tofile(path), 0),
    "ply": ({"intensity_scale": 1}, _write_ply, 1e-7),
    "pcd": ({"intensity_scale": 1, "intensity_field": "i"}, _write_pcd, 0),
    "las": ({}, _write_las, 1e-5),
    "npy": (
        {"columns": ["x", "y", "z", "intensity"], "intensity_scale": 1.0},
        lambda path, rows: np.save(path, rows),
        0,
    ),
    "bin": (
        {
            "columns": ["ring", "y", "x", "z", "light"],
            "dtype": "float64",
            "intensity_field": "light",
            "intensity_scale": 1.0,
        },
        _write_turned_bin,
        0,
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_points(changed: Callable[[Change], Path], kind: str) -> None:
    keys, save, tolerance = FORMATS[kind]

    def change(content: dict[str, Any]) -> None:
        ending = "bin" if kind == "kitti" else kind
        files = f"{{scene}}/lidar/{{frame}}.{ending}"
        content["points"] = {"files": files, "input_format": kind, **keys}

    root = changed(change)
    for number, frame in enumerate(("2", "9", "10")):
        (root / f"a/lidar/{frame}.bin").unlink()
        save(root / f"a/lidar/{frame}.{'bin' if kind == 'kitti' else kind}", cloud(number))
    if kind != "kitti":
        content = yaml.safe_load((root / "drive.yaml").read_text())
        content["splits"].pop("val")
        write(root, content)
    dataset = FolderDataset(root)
    for number in range(3):
        points = dataset.points(number)
        assert points.dtype == np.float32
        np.testing.assert_allclose(points, cloud(number), rtol=0, atol=tolerance)
        assert len(dataset.labels(number)) == 60


def test_intensity_is_a_share_of_its_scale(changed: Callable[[Change], Path]) -> None:
    root = changed(lambda content: content["points"].update(intensity_scale=2))
    dataset = FolderDataset(root)
    assert dataset.intensity_scale == 2
    np.testing.assert_array_equal(dataset.points(0)[:, 3], cloud(0)[:, 3] / 2)
    root = changed(lambda content: content["points"].update(intensity_field="none"))
    assert not FolderDataset(root).points(0)[:, 3].any()
    root = changed(lambda content: content["points"].update(intensity_scale=0.5))
    with pytest.raises(FrameError, match=r"^frame a/2: .*2\.bin, .* has intensities from 0.* to 0"):
        FolderDataset(root).points(0)


def test_rows_without_return_are_left_out_with_their_labels(
    changed: Callable[[Change], Path],
) -> None:
    root = changed(lambda content: None)
    rows = cloud(0)
    rows[5, :3], rows[7, :3] = np.nan, 0
    rows.tofile(root / "a/lidar/2.bin")
    with pytest.raises(FrameError, match=r"holds 1 of 60 points whose position is NaN"):
        FolderDataset(root).points(0)
    labels = np.resize([IGNORE, 0, 1, 1], 60)
    for kinds, dropped in ((["nan"], [5]), (["nan", "zero"], [5, 7])):
        changed(lambda content, kinds=kinds: content["points"].update(no_returns=kinds))
        dataset = FolderDataset(root)
        np.testing.assert_array_equal(dataset.points(0), np.delete(rows, dropped, 0))
        np.testing.assert_array_equal(dataset.labels(0), np.delete(labels, dropped))
    changed(lambda content: content["points"].update(no_returns=["zero"]))
    with pytest.raises(FrameError, match="holds 1 of 60 points whose position is NaN"):
        FolderDataset(root).points(0)


def test_labels_of_arrays_and_of_other_widths(changed: Callable[[Change], Path]) -> None:
    ids = np.resize([-1, 40, 10], 60)
    expected = np.resize([IGNORE, 0, 1], 60)

    def change(content: dict[str, Any], **keys: object) -> None:
        content["labels"] |= {"map": {-1: "ignore", 40: "road", 10: "car"}, **keys}

    root = changed(lambda content: change(content, dtype="int8"))
    ids.astype("<i1").tofile(root / "a/labels/2.label")
    np.testing.assert_array_equal(FolderDataset(root).labels(0), expected)
    changed(lambda content: change(content, files="{scene}/labels/{frame}.npy"))
    np.save(root / "a/labels/2.npy", ids)
    dataset = FolderDataset(root)
    np.testing.assert_array_equal(dataset.labels(0), expected)
    assert (dataset.has_labels(0), dataset.has_labels(1)) == (True, False)
    for array, reason in (
        (ids[:-1], "holds an array 59 of int64, but the sweep has 60 points; restore the pair"),
        (ids.astype(float), "holds an array 60 of float64, but the sweep has 60 points"),
        (ids + 7, r"holds unknown label ids \[6, 17, 47\]"),
    ):
        np.save(root / "a/labels/2.npy", array)
        with pytest.raises(FrameError, match=rf"^frame a/2: .*labels/2\.npy {reason}"):
            dataset.labels(0)
    (root / "a/labels/2.npy").write_bytes(b"no array")
    with pytest.raises(FrameError, match=r"^frame a/2: .*labels/2\.npy is no array of numbers"):
        dataset.labels(0)


def test_a_drive_without_labels_or_cameras(changed: Callable[[Change], Path]) -> None:
    root = changed(lambda content: (content.pop("labels"), content.pop("cameras")))
    dataset = FolderDataset(root)
    assert (dataset.cameras, dataset.class_names, dataset.has_labels(0)) == ((), (), False)
    assert dataset.frame(0).cameras == ()
    with pytest.raises(FrameError, match=r"^frame a/2: .*drive\.yaml has no labels"):
        dataset.labels(0)


BAD_FILES = {
    "a/front/2.png": (None, r"no image .*a/front/2\.png"),
    "a/lidar/2.bin": (b"123", r".*a/lidar/2\.bin has 3 bytes, no multiple of 16"),
    "a/labels/2.label": (b"123", r".*2\.label holds 0.75 labels but the sweep has 60 points"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_at_fault_costs_its_frame(root: Path, name: str) -> None:
    content, reason = BAD_FILES[name]
    dataset = FolderDataset(root)
    (root / name).unlink()
    if content is not None:
        (root / name).write_bytes(content)
    with pytest.raises(FrameError, match=rf"^frame a/2: {reason}") as error:
        dataset.labels(0) if "labels" in name else dataset.frame(0)
    one_line(error)
    assert dataset.frame(1).id == "a/9"
    assert len(dataset.labels(1)) == 60


def test_images_of_another_size(changed: Callable[[Change], Path]) -> None:
    root = changed(lambda content: content["cameras"]["front"].update(size=[96, 60]))
    with pytest.raises(FrameError, match=r"2\.png has 96x64 pixels, not the 96x60 of cameras"):
        FolderDataset(root).frame(0)
    changed(lambda content: content["cameras"]["front"].update(size=list(SIZE)))
    assert FolderDataset(root).frame(0).cameras[0].width == 96


def test_images_with_names_of_their_own(changed: Callable[[Change], Path]) -> None:
    files = "{scene}/front/cam{frame}-*.png"
    root = changed(lambda content: content["cameras"]["front"].update(images=files))
    for frame in ("2", "9"):
        (root / f"a/front/{frame}.png").rename(root / f"a/front/cam{frame}-77.png")
    dataset = FolderDataset(root)
    assert dataset.frame(0).cameras[0].image == root / "a/front/cam2-77.png"
    with pytest.raises(FrameError, match=r"^frame a/10: camera front: no image .*cam10-\*\.png"):
        dataset.frame(2)
    (root / "a/front/cam2-78.png").write_bytes(b"")
    with pytest.raises(FrameError, match=r"cam2-77\.png and .*cam2-78\.png are both images of it"):
        FolderDataset(root).frame(0)


def test_splits_by_frames_and_from_files(changed: Callable[[Change], Path]) -> None:
    (root := changed(lambda content: content.update(splits={"train": "train.txt", "val": ["b"]})))
    (root / "train.txt").write_text("a/10\n\na/2\n")
    assert FolderDataset(root).frame_ids == ["a/2", "a/10"]
    everything = FolderDataset(root, split="all")
    assert [everything.frame(n).split for n in range(4)] == ["train", "", "train", "val"]
    assert FolderDataset(root, split="val").frame_ids == ["b/000007"]


def test_a_drive_of_one_scene(changed: Callable[[Change], Path]) -> None:
    def flat(content: dict[str, Any]) -> None:
        content["points"]["files"] = "b/lidar/{frame}.bin"
        content["cameras"]["front"]["images"] = "b/front/{frame}.png"
        content["labels"]["files"] = "b/labels/{frame}.label"
        content["splits"] = {"train": ["drive"]}

    dataset = FolderDataset(changed(flat))
    assert (dataset.frame_ids, dataset.scenes) == (["000007"], ["drive"])
    assert dataset.frame(0).split == "train"
    np.testing.assert_array_equal(dataset.points(0), cloud(3))


def test_choices_that_are_not_there(root: Path, changed: Callable[[Change], Path]) -> None:
    choices: tuple[tuple[dict[str, Any], str], ...] = (
        ({"split": "test"}, r"drive\.yaml has no split 'test' \(it has train, val\)"),
        ({"sequences": ["c"]}, "no scene c: .* holds the scenes a, b; choose among them"),
        ({"cameras": ["back"]}, r"has no camera back; choose `cameras` among front"),
    )
    for keys, reason in choices:
        with pytest.raises(CleverError, match=reason) as error:
            build_dataset("folder", root, **keys)
        one_line(error)
    changed(lambda content: content.pop("splits"))
    with pytest.raises(CleverError, match=r"no split 'train' \(it has no splits\); .* `split=all`"):
        FolderDataset(root)
    (root / "drive.yaml").unlink()
    with pytest.raises(CleverError, match=r"has no drive\.yaml, .*; `clever init-drive .*own` w"):
        FolderDataset(root)


def _set(place: str, value: object) -> Change:
    """Sets a key, ``cameras.front.size``; a value of None removes it."""

    def change(content: dict[str, Any]) -> None:
        *parts, last = place.split(".")
        part = content
        for name in parts:
            part = part.setdefault(name, {})
        if value is None:
            del part[last]
        else:
            part[last] = value

    return change


FRONT = "cameras.front"
WRONG = [
    (_set("pionts", {}), "unknown key pionts; did you mean points?"),
    (_set("points", None), "points is missing"),
    (_set("points.file", "x"), r"unknown key points\.file; did you mean files\?"),
    (_set(f"{FRONT}.intrinsic", K), r"unknown key cameras\.front\.intrinsic; did you mean intrins"),
    (
        _set(f"{FRONT}.distortion", {"k": 1}),
        r"unknown key cameras\.front\.distortion\.k; known: m",
    ),
    (_set("points.input_format", "csv"), r"points\.input_format is 'csv': should be 'bin'"),
    (_set("points.columns", None), "points needs `columns` with x, y and z"),
    (_set("points.columns", ["x", "y", "z", "x"]), "points names one of its `columns` twice"),
    (_set("points.columns", ["x", "y", "z"]), "points has no intensity among its `columns`"),
    (_set("points.intensity_scale", None), "points needs `intensity_scale`"),
    (_set("points.intensity_scale", 0), r"points\.intensity_scale is 0: should be greater than 0"),
    (_set("points.input_format", "kitti"), "points kitti files need no columns"),
    (_set("points.files", "{scene}/lidar/*.bin"), r"points needs \{frame\} or \{time\} in `files`"),
    (_set("points.files", "{run}/{frame}.bin"), r"points\.files .*has \{run\}, which is none of"),
    (_set("points.files", "**/{frame}.bin"), r"points\.files .*has \*\*, but \* stands for"),
    (_set("points.times", {"unit": "s"}), r"points needs \{time\} in the names of its files"),
    (
        _set("points.times", {"unit": "s", "files": "{scene}/*.txt"}),
        r"points `times` has a file whose name may have \{scene\}, and no more",
    ),
    (
        _set("points.times", {"unit": "s", "files": "{frame}.txt"}),
        r"points `times` has a file whose name may have \{scene\}, and no more",
    ),
    (_set("labels.files", "{scene}/*/{frame}.label"), r"labels\.files has \*, but it has to tell"),
    (_set("points.times", {"unit": "h"}), r"points\.times\.unit is 'h': should be 's', 'ms'"),
    (_set(f"{FRONT}.images", "front/{time}.png"), r"cameras\.front\.images has \{time\}, which p"),
    (
        _set(f"{FRONT}.images", "front/{scene}.png"),
        r"cameras\.front\.images needs \{frame\} or ",
    ),
    (_set(f"{FRONT}.intrinsics", [1, 2]), r"cameras\.front\.intrinsics is no calibration: give"),
    (_set(f"{FRONT}.intrinsics", {"fx": 1}), r"cameras\.front\.intrinsics is no calibration: give"),
    (
        _set(f"{FRONT}.intrinsics", {**K, "cx": float("nan")}),
        r"cameras\.front\.intrinsics is not",
    ),
    (
        _set(f"{FRONT}.intrinsics", [[60, 47, 0], [0, 61, 33], [0, 0, 1]]),
        r"cameras\.front\.intrinsics is no calibration: its skew is 47 pixels, more than 0\.1 of",
    ),
    (
        _set(f"{FRONT}.intrinsics", [60, 0, 47, 2, 61, 33, 0, 0, 1]),
        r"cameras\.front\.intrinsics is no calibration: its intrinsics have 2 below the diagonal",
    ),
    (
        _set(f"{FRONT}.intrinsics", [[60, 0, 0], [0, 61, 0], [47, 33, 1]]),
        r"cameras\.front\.intrinsics is no calibration: the last row of .* is 47 33 1, not 0 0 1",
    ),
    (
        _set(f"{FRONT}.intrinsics", {**K, "fy": -61}),
        r"cameras\.front\.intrinsics is no calibration: its focal lengths are 60 and -61, not po",
    ),
    (_set(f"{FRONT}.camera_from_lidar", None), r"cameras\.front needs one of `camera_from_"),
    (
        _set(f"{FRONT}.lidar_from_camera", FORWARD),
        r"cameras\.front needs one of `camera_from_",
    ),
    (
        _set(f"{FRONT}.camera_from_lidar", [[1, 0], [0, 1]]),
        r"front\.camera_from_lidar is no ",
    ),
    (_set(f"{FRONT}.camera_from_lidar", "x"), r"front\.camera_from_lidar is .*: is no transform"),
    (_set(f"{FRONT}.camera_from_lidar", np.diag([1.0, 1, -1, 1]).tolist()), "is a reflection"),
    (
        _set(f"{FRONT}.camera_from_lidar", {"translation": [0, 0, 0], "quaternion": [1, 0, 0, 0]}),
        "is no transform: give 3 or 4 rows of 4 numbers, or `translation` and `quaternion_wxyz`",
    ),
    (
        _set(
            f"{FRONT}.camera_from_lidar",
            {"translation": [0, 0, 0], "quaternion_wxyz": [1, 1, 0, 0]},
        ),
        "has a quaternion that has the length 1.41421, not 1",
    ),
    (
        _set(f"{FRONT}.camera_from_lidar", {"translation": [0], "quaternion_wxyz": [1, 0, 0, 0]}),
        "has a translation of 1 numbers, not 3",
    ),
    (
        _set(f"{FRONT}.distortion", {"model": "fisheye", "coefficients": [1, 2]}),
        r"cameras\.front\.distortion its fisheye lens has 2 coefficients, not 4",
    ),
    (
        _set(f"{FRONT}.distortion", {"model": "pinhole", "coefficients": [1]}),
        r"cameras\.front\.distortion a pinhole has no coefficients",
    ),
    (_set("match", "time"), "`largest_gap` is missing, which `match: time` needs: give seconds"),
    (_set("largest_gap", 1), "`largest_gap` is for `match: time` alone; write that, or remove it"),
    (
        lambda content: content.update(match="time", largest_gap=1),
        r"points\.times is needed with `match: time`",
    ),
    (
        _set("poses", {"files": "p.txt", "format": "kitti", "of": "back"}),
        r"poses\.of is 'back', which is none of lidar, body, front",
    ),
    (
        _set("poses", {"files": "p.txt", "format": "kitti", "of": "body"}),
        "poses needs one of `body_from_lidar` and `lidar_from_body` if it is `of: body`",
    ),
    (
        _set("poses", {"files": "p.txt", "format": "tum", "of": "lidar"}),
        r"points\.times is needed with `format: tum` of poses",
    ),
    (
        _set("poses", {"files": "{frame}.txt", "format": "kitti", "of": "lidar"}),
        r"poses\.files may have \{scene\}",
    ),
    (_set("labels.classes", ["road"]), "labels `map` takes 10 to car, which is no class"),
    (_set("labels.map", {1: "raod", 2: "car"}), "`map` takes 1 to raod, .* did you mean road?"),
    (_set("labels.map", {1: "road"}), "labels `map` gives no id to the class car"),
    (_set("labels.map", {70000: "road", 1: "car"}), "`map` has the id 70000, which 16 bits do not"),
    (_set("labels.classes", ["car", "car"]), "`classes` has car twice; name each class once"),
    (_set("labels.classes", ["ignore", "car"]), "`classes` has ignore, which is for `map` alone"),
    (
        lambda content: content.update(points=None),
        "points is empty; it needs keys of its own, such as files$",
    ),
    (_set("points", 5), "points needs keys of its own, such as files$"),
    (lambda content: content.update(cameras=None), "cameras is empty; it needs keys of its own$"),
    (_set("points.intensity_scale", True), r"intensity_scale is True: should be a number$"),
    (
        _set("splits.train", [8]),
        r": splits\.train holds 8, which is no text; write names in quotes$",
    ),
    (
        _set("calibrations", [{"scenes": ["b"], "cameras": {"front": {}}}]),
        r"calibrations\.0\.cameras\.front says nothing; give what is otherwise",
    ),
    (
        _set("calibrations", [{"scenes": ["b"], "cameras": {"rear": {"size": [2, 2]}}}]),
        "calibrations has the camera rear, which cameras has not",
    ),
    (
        _set(
            "calibrations",
            [
                {
                    "scenes": ["b"],
                    "cameras": {
                        "front": {"camera_from_lidar": FORWARD, "lidar_from_camera": FORWARD}
                    },
                }
            ],
        ),
        "needs at most one of `camera_from_lidar` and `lidar_from_camera`",
    ),
    (
        _set("calibrations", [{"scenes": ["b"], "body_from_lidar": FORWARD}]),
        "calibrations places a body, which poses are not of",
    ),
    (
        _set(
            "calibrations",
            [{"scenes": ["b"], "body_from_lidar": FORWARD, "lidar_from_body": FORWARD}],
        ),
        "needs at most one of `body_from_lidar` and `lidar_from_body`",
    ),
    (_set("calibrations", [{"scenes": ["c*"]}]), r"names c\*, which is no scene; there are a, b$"),
    (
        _set("calibrations", [{"scenes": ["b"]}, {"scenes": ["*"]}]),
        "scene b is in two of `calibrations`; name it in one",
    ),
    (_set("calibrations", [{"scenes": []}]), r"calibrations\.0\.scenes"),
    (_set("calibrations", [{"scenes": [7]}]), r"holds 7, which is no text; write names in quotes"),
    (_set("splits.train", 40), r"splits\.train is 40: needs a list of names in quotes, or a te"),
    (_set("splits.train", ["c"]), r"splits\.train names c, which is no scene or frame; .* a, b$"),
    (_set("splits.train", "lists.txt"), r"splits\.train: cannot read .*lists\.txt: No such file"),
    (_set("splits.val", ["a/2"]), "frame a/2 is in the splits train and val; name it in one"),
    (_set(f"{FRONT}.camera_from_lidar", "TODO"), r"fill in cameras\.front\.camera_from_lidar \("),
    (
        _set("labels.map", {"TODO": "car", 1: "TODO: name"}),
        r"not complete: fill in labels\.map\.1",
    ),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_what_is_wrong_with_the_file_is_one_line(
    changed: Callable[[Change], Path], change: Change, reason: str
) -> None:
    root = changed(change)
    with pytest.raises(CleverError, match=rf"^{root}/drive\.yaml.*{reason}") as error:
        FolderDataset(root)
    one_line(error)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("points: [", "is no valid YAML"),
        ("points: {}\npoints: {}", "the key points is there twice"),
        ("- a", "has no keys; it needs at least points"),
        ("", "has no keys; it needs at least points"),
        ("a: &a [*a]", "has a value that holds itself, or too many in one another; write it out$"),
        ("a: " + "[" * 3000, "has a value that holds itself, or too many in one another"),
        ("a: 2001-99-99", "is no valid YAML: month must be in"),
    ],
)
def test_what_is_no_drive_file(root: Path, text: str, reason: str) -> None:
    (root / "drive.yaml").write_text(text)
    with pytest.raises(CleverError, match=rf"^{root}/drive\.yaml.*{reason}") as error:
        FolderDataset(root)
    one_line(error)


def test_points_that_are_not_there_or_there_twice(changed: Callable[[Change], Path]) -> None:
    root = changed(_set("points.files", "{scene}/cloud/{frame}.bin"))
    with pytest.raises(CleverError, match=r"holds no file \{scene\}/cloud/\{frame\}\.bin; correct"):
        FolderDataset(root)
    root = changed(lambda content: [content.pop(key) for key in ("cameras", "labels", "splits")])
    text = (root / "drive.yaml").read_text()
    (root / "drive.yaml").write_text(text.replace("'{scene}/lidar", "'*/lidar"))
    (root / "b/lidar/2.bin").write_bytes(b"")
    with pytest.raises(CleverError, match=r"a/lidar/2\.bin and .*b/lidar/2\.bin are both frame 2"):
        FolderDataset(root)


def test_examples_of_the_documentation_are_right(tmp_path: Path) -> None:
    text = (Path(clever.__file__).parent / "docs/your-own-drive.md").read_text()
    examples = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    assert len(examples) == 3
    path = tmp_path / "drive.yaml"
    path.write_text(examples[0])
    kitti = read_drive(path)
    assert kitti.cameras["image_2"].from_lidar[2, 0] == 0.999945388562
    # The scenes with a calibration of their own are an addition to the last example.
    path.write_text(examples[2] + examples[1].replace("front:", "CAM_FRONT:"))
    nuscenes = read_drive(path)
    changed = nuscenes.in_scene("2026-05-01").cameras["CAM_FRONT"]
    assert changed.intrinsics[0, 0] == 1270.1
    np.testing.assert_array_equal(changed.from_lidar, nuscenes.cameras["CAM_FRONT"].from_lidar)
    assert nuscenes.in_scene("2025-05-01") is nuscenes
    assert (nuscenes.match, nuscenes.largest_gap) == ("time", 0.05)
    # The front camera looks along the LiDAR's y axis.
    ahead = nuscenes.cameras["CAM_FRONT"].from_lidar[:3, :3] @ [0, 1, 0]
    np.testing.assert_allclose(ahead, [0, 0, 1], atol=0.05)
    keys = {key for kind in DOCUMENTED for key in kind.model_fields}
    assert not {key for key in keys if f"`{key}" not in text and f".{key}`" not in text}


DOCUMENTED = (Points, CameraPart, Poses, Labels)


def test_patterns() -> None:
    pattern = FilePattern("{scene}/l-{frame}_*.bin")
    assert pattern.names() == {"scene", "frame"}
    assert not pattern.exact()
    parts = {"scene": "a", "frame": "1"}
    assert str(pattern.path(Path("r"), parts)) == "r/a/l-1_*.bin"
    assert str(FilePattern("/x/{frame}.bin").path(Path("r"), parts)) == "/x/1.bin"


def test_patterns_take_names_apart(tmp_path: Path) -> None:
    for name in ("b_1/s_b_1_10.5.bin", "b_1/s_b_1_9.bin", "b_1/s_a_1_9.bin", "b_1/.s_b_1_1.bin",
                 "a/s_a_12.bin", ".h/s_.h_1.bin", "c"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    files = FilePattern("{scene}/s_{scene}_{time}.bin").files(tmp_path)
    assert [(file.scene, file.frame) for file in files] == [
        ("a", "12"),
        ("b_1", "9"),
        ("b_1", "10.5"),
    ]
    assert files[1].path == tmp_path / "b_1/s_b_1_9.bin"
    only = FilePattern("{scene}/s_{scene}_{time}.bin").files(tmp_path, {"scene": "a", "frame": "x"})
    assert [file.path.name for file in only] == ["s_a_12.bin"]
    greedy = FilePattern("b_1/{scene}_{frame}.bin").files(tmp_path)
    assert [(file.scene, file.frame) for file in greedy] == [
        ("s_a_1", "9"),
        ("s_b_1", "9"),
        ("s_b_1", "10.5"),
    ]


def test_times_that_are_counted_are_no_times(root: Path, tmp_path: Path) -> None:
    values = {"dataset": "folder", "data_root": root, "split": "all", "frames": 4}
    report = doctor(DoctorSettings.resolve(None, {**values, "out": tmp_path / "look"}))
    assert [frame.gap for frame in report.frames] == [None] * 4
    times = [FolderDataset(root).frame(index).timestamp for index in range(3)]
    assert times == [0, 100_000, 200_000]
