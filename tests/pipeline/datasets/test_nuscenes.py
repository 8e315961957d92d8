"""The nuScenes adapter on tiny tables: order, splits, values, and one line for everything that can
be wrong."""

import json
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.nuscenes_schema.scenes import official_splits
from clever.pipeline.datasets.registry import DATASETS

MINI = "v1.0-mini"
FIRST = "scene-0061-0"


def edit(root: Path, table: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change a table in place."""
    path = root / MINI / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def one_line(error: pytest.ExceptionInfo[CleverError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def sweep(root: Path, sample: str = FIRST) -> Path:
    return root / f"samples/LIDAR_TOP/{sample}.pcd.bin"


def test_keyframes_follow_the_split_then_time(write_nuscenes: Callable[..., Path]) -> None:
    root = write_nuscenes({"scene-0553": 2, "scene-0103": 1, "scene-0061": 3}, labels=False)
    edit(root, "sample", random.Random(3).shuffle)
    train = NuScenesDataset(root)
    assert list(train.frame_ids) == [
        *(f"scene-0061-{n}" for n in range(3)),
        *(f"scene-0553-{n}" for n in range(2)),
    ]
    assert list(train.scenes) == ["scene-0061"] * 3 + ["scene-0553"] * 2
    assert len(train) == 5
    assert list(NuScenesDataset(root, split="val").frame_ids) == ["scene-0103-0"]
    assert list(dict.fromkeys(NuScenesDataset(root, split="all").scenes)) == [
        "scene-0061",
        "scene-0103",
        "scene-0553",
    ]
    times = [train.frame(index).timestamp for index in range(3)]
    assert times == [610_000_000, 610_500_000, 611_000_000]


@pytest.mark.parametrize(
    ("version", "split", "scene"),
    [
        ("v1.0-trainval", "train", "scene-0001"),
        ("v1.0-trainval", "val", "scene-0003"),
        ("v1.0-test", "test", "scene-0077"),
    ],
)
def test_official_splits_of_the_full_versions(
    write_nuscenes: Callable[..., Path], version: str, split: str, scene: str
) -> None:
    root = write_nuscenes(
        {"scene-0001": 1, "scene-0003": 1, "scene-0077": 1}, version=version, labels=False
    )
    assert list(NuScenesDataset(root, version, split).scenes) == [scene]
    other = "train" if split == "test" else "test"
    with pytest.raises(CleverError, match=f"has no split '{other}'; choose "):
        NuScenesDataset(root, version, other)


def test_official_splits_are_those_of_the_devkit() -> None:
    devkit = pytest.importorskip("nuscenes.utils.splits", reason="needs nuscenes-devkit")
    splits = devkit.create_splits_scenes()
    assert official_splits("v1.0-trainval") == {name: splits[name] for name in ("train", "val")}
    assert official_splits("v1.0-test") == {"test": splits["test"]}
    mini = {name: splits[f"mini_{name}"] for name in ("train", "val")}
    assert official_splits("v1.0-mini") == official_splits("mini") == mini


def test_own_splits_win(write_nuscenes: Callable[..., Path]) -> None:
    splits = {"train": ["scene-0103"], "val": ["scene-0061"]}
    root = write_nuscenes({"scene-0061": 1, "scene-0103": 1}, splits=splits)
    assert list(NuScenesDataset(root).scenes) == ["scene-0103"]
    assert list(NuScenesDataset(root, split="val").scenes) == ["scene-0061"]


def test_frames_know_their_split(write_nuscenes: Callable[..., Path]) -> None:
    scenes = {"scene-0061": 1, "scene-0103": 1, "scene-0077": 1}
    dataset = NuScenesDataset(write_nuscenes(scenes, labels=False), split="all")
    assert {dataset.scenes[n]: dataset.frame(n).split for n in range(3)} == {
        "scene-0061": "train",
        "scene-0103": "val",
        "scene-0077": "",  # of the official test split, not of mini
    }
    # A scene in two splits belongs to the one that is asked for.
    own = {"train": ["scene-0061"], "tiny": ["scene-0061", "scene-0103"]}
    root = write_nuscenes(scenes, labels=False, splits=own, folder="own")
    for split, expected in (("all", ["train", "", "tiny"]), ("tiny", ["tiny", "tiny"])):
        dataset = NuScenesDataset(root, split=split)
        assert [dataset.frame(n).split for n in range(len(dataset))] == expected


@pytest.mark.parametrize(
    "text", ["[1]", '{"train": 3}', "{", '{"train": ["scene-0061", "scene-9999"]}']
)
def test_damaged_own_splits_name_the_file(nuscenes_root: Path, text: str) -> None:
    (nuscenes_root / MINI / "splits.json").write_text(text)
    with pytest.raises(CleverError, match=r"splits\.json") as error:
        NuScenesDataset(nuscenes_root)
    assert ("scene-9999" in one_line(error)) == ("scene-9999" in text)


def test_a_frame_holds_what_the_files_hold(nuscenes_root: Path) -> None:
    dataset = NuScenesDataset(nuscenes_root)
    frame = dataset.frame(0)
    raw = np.fromfile(sweep(nuscenes_root), np.float32).reshape(-1, 5)
    assert frame.points.dtype == np.float32
    np.testing.assert_array_equal(frame.points[:, :3], raw[:, :3])
    np.testing.assert_array_equal(frame.points[:, 3], raw[:, 3] / np.float32(255))
    assert raw[:, 3].max() > 200
    assert (frame.id, frame.scene) == (FIRST, "scene-0061")
    assert tuple(camera.name for camera in frame.cameras) == dataset.cameras
    assert len(dataset.cameras) == 6
    for camera in frame.cameras:
        assert camera.image == nuscenes_root / f"samples/{camera.name}/{FIRST}.jpg"
        assert (camera.width, camera.height) == (160, 90)
        np.testing.assert_array_equal(
            camera.intrinsics, [[126, 0, 81.5], [0, 126, 42.5], [0, 0, 1]]
        )
        rotation = camera.camera_from_lidar[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), rtol=0, atol=1e-12)
    # LiDAR x is right, y forward; the car stands at (1000, 600, 0.5) and heads 0.3 rad; the LiDAR
    # is 0.9 m ahead
    heading = np.array([np.cos(0.3), np.sin(0.3), 0])
    np.testing.assert_allclose(frame.global_from_lidar[:3, 1], heading, atol=1e-12)
    np.testing.assert_allclose(
        frame.global_from_lidar[:3, 3], [1000, 600, 2.3] + 0.9 * heading, atol=1e-9
    )


def test_labels_agree_with_the_devkit(nuscenes_root: Path) -> None:
    pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    from nuscenes import NuScenes
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

    mapper = LidarsegClassMapper(NuScenes(MINI, str(nuscenes_root), verbose=False))
    dataset = NuScenesDataset(nuscenes_root)
    file = nuscenes_root / f"lidarseg/{MINI}/{FIRST}_lidarseg.bin"
    raw = np.fromfile(file, np.uint8)
    raw[:32] = np.arange(32)
    raw.tofile(file)
    coarse = np.array([mapper.fine_idx_2_coarse_idx_mapping[int(value)] for value in raw])
    labels = dataset.labels(0)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(coarse == 0, IGNORE, coarse - 1))
    names = {
        index - 1: name for name, index in mapper.coarse_name_2_coarse_idx_mapping.items() if index
    }
    assert dataset.class_names == tuple(names[label] for label in range(16))


def test_without_labels(write_nuscenes: Callable[..., Path]) -> None:
    dataset = NuScenesDataset(write_nuscenes({"scene-0061": 1}, labels=False))
    assert not dataset.has_labels(0)
    with pytest.raises(FrameError, match=rf"^frame {FIRST}: lidarseg\.json lists no labels"):
        dataset.labels(0)


def test_threads_and_processes_see_the_same(nuscenes_root: Path) -> None:
    dataset = NuScenesDataset(nuscenes_root, split="all")
    data = pickle.dumps(dataset)
    assert len(data) < 3_000 * len(dataset) + 2_000
    copy = pickle.loads(data)
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(dataset.frame, range(len(dataset))))
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        again = copy.frame(index)
        np.testing.assert_array_equal(again.points, frame.points)
        np.testing.assert_array_equal(copy.labels(index), dataset.labels(index))
        for one, two in zip(again.cameras, frame.cameras, strict=True):
            np.testing.assert_array_equal(one.camera_from_lidar, two.camera_from_lidar)


def test_devkit_is_imported_only_when_tables_are_read() -> None:
    code = "import sys, clever.pipeline.datasets; sys.exit('nuscenes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_printed(nuscenes_root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    NuScenesDataset(nuscenes_root).frame(0)
    assert capfd.readouterr() == ("", "")


BAD_SWEEPS = {
    "is empty": lambda data: b"",
    "has 1001 bytes, no multiple of 20": lambda data: data[:1001],
    "holds NaN or infinite": lambda data: np.float32(np.nan).tobytes() + data[4:],
    "holds NaN or infinite values": lambda data: (
        data[:4] + np.float32(-np.inf).tobytes() + data[8:]
    ),
    "has intensities from": lambda data: data[:12] + np.float32(300).tobytes() + data[16:],
}


@pytest.mark.parametrize("reason", BAD_SWEEPS)
def test_bad_sweep_is_a_bad_frame(nuscenes_root: Path, reason: str) -> None:
    dataset = NuScenesDataset(nuscenes_root)
    path = sweep(nuscenes_root)
    path.write_bytes(BAD_SWEEPS[reason](path.read_bytes()))
    for load in (dataset.frame, dataset.points):
        with pytest.raises(
            FrameError, match=f"^frame {FIRST}: .*{FIRST}.pcd.bin {reason}"
        ) as error:
            load(0)
        one_line(error)
    assert dataset.frame(1).points.shape == (400, 4)


def test_missing_files_are_bad_frames(nuscenes_root: Path) -> None:
    dataset = NuScenesDataset(nuscenes_root)
    image = nuscenes_root / f"samples/CAM_BACK/{FIRST}.jpg"
    image.unlink()
    with pytest.raises(FrameError, match=f"^frame {FIRST}: no image {re.escape(str(image))}"):
        dataset.frame(0)
    assert dataset.points(0).shape == (400, 4)
    sweep(nuscenes_root).unlink()
    for load in (dataset.points, dataset.labels):
        with pytest.raises(
            FrameError, match=f"^frame {FIRST}: cannot read .*{FIRST}.pcd.bin: No such file"
        ) as error:
            load(0)
        one_line(error)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "cannot read .*_lidarseg.bin: No such file"),
        (bytes(399), "_lidarseg.bin holds 399 labels but the sweep has 400 points"),
        (bytes(401), "_lidarseg.bin holds 401 labels but the sweep has 400 points"),
        (bytes(398) + b"\x20\xff", r"_lidarseg.bin holds unknown label ids \[32, 255\]"),
    ],
)
def test_bad_labels_are_a_bad_frame(nuscenes_root: Path, labels: bytes | None, reason: str) -> None:
    dataset = NuScenesDataset(nuscenes_root)
    path = nuscenes_root / f"lidarseg/{MINI}/{FIRST}_lidarseg.bin"
    path.unlink() if labels is None else path.write_bytes(labels)
    assert dataset.has_labels(0)
    with pytest.raises(FrameError, match=f"^frame {FIRST}: .*{reason}") as error:
        dataset.labels(0)
    one_line(error)


@pytest.mark.parametrize("table", ["scene", "sample_data", "ego_pose", "sensor"])
def test_damaged_table_is_named(nuscenes_root: Path, table: str) -> None:
    path = nuscenes_root / MINI / f"{table}.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(CleverError, match=rf"{MINI}/{table}\.json is no JSON") as error:
        NuScenesDataset(nuscenes_root)
    one_line(error)


@pytest.mark.parametrize("table", ["scene", "sample", "calibrated_sensor", "sample_data"])
def test_missing_table_is_named(nuscenes_root: Path, table: str) -> None:
    (nuscenes_root / MINI / f"{table}.json").unlink()
    with pytest.raises(
        CleverError, match=rf"needs .*{MINI}/{table}\.json: No such file.*; restore it"
    ) as error:
        NuScenesDataset(nuscenes_root)
    one_line(error)


def drop(token: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows.remove(next(row for row in rows if row["token"] == token))


def update(token: str, **fields: object) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: next(row for row in rows if row["token"] == token).update(fields)


LOST = f"{FIRST}-CAM_BACK"
NAMES_IT = "which CAM_BACK of this keyframe names; restore the tables in .*v1.0-mini"
QUATERNION = [0.5, -0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        ("sample_data", drop(LOST), "sample_data.json has no CAM_BACK of this keyframe"),
        (
            "sample_data",
            lambda rows: rows.append({**rows[4], "token": "second"}),
            r"sample_data.json has 2 records of CAM_BACK of this keyframe",
        ),
        (
            "sample_data",
            lambda rows: rows[4].pop("filename"),
            "sample_data.json: the record of CAM_BACK has no filename",
        ),
        (
            "sample_data",
            update(LOST, width="wide"),
            r"sample_data.json: the record of CAM_BACK is damaged \(.*'wide'\)",
        ),
        (
            "sample_data",
            update(LOST, calibrated_sensor_token="lost"),
            f"calibrated_sensor.json has no record lost, {NAMES_IT}",
        ),
        (
            "sample_data",
            update(LOST, ego_pose_token=None),
            f"ego_pose.json has no record None, {NAMES_IT}",
        ),
        ("ego_pose", drop(LOST), f"ego_pose.json has no record {LOST}, {NAMES_IT}"),
        (
            "ego_pose",
            lambda rows: rows.append(dict(rows[4])),
            f"ego_pose.json has the record {LOST} of CAM_BACK of this keyframe twice",
        ),
        (
            "ego_pose",
            update(LOST, rotation=[1, 0]),
            f"ego_pose.json, record {LOST} of CAM_BACK: its rotation has 2 numbers, not 4",
        ),
        (
            "ego_pose",
            update(LOST, rotation=[2 * part for part in QUATERNION]),
            f"ego_pose.json, record {LOST} of CAM_BACK: its rotation has the length 2, not 1",
        ),
        (
            "ego_pose",
            update(LOST, rotation=[0, 0, 0, 0]),
            f"ego_pose.json, record {LOST} of CAM_BACK: its rotation has the length 0, not 1",
        ),
        (
            "ego_pose",
            update(LOST, translation=[0, float("nan"), 0]),
            f"ego_pose.json, record {LOST} of CAM_BACK: its translation is no three finite",
        ),
        (
            "sample",
            lambda rows: rows.append(dict(rows[0])),
            f"sample.json has the record {FIRST} 2 times",
        ),
    ],
)
def test_an_incomplete_record_loses_its_keyframe(
    nuscenes_root: Path, table: str, change: Callable[[list[dict[str, Any]]], object], reason: str
) -> None:
    edit(nuscenes_root, table, change)
    dataset = NuScenesDataset(nuscenes_root)
    assert list(dataset.frame_ids) == [f"scene-0061-{number}" for number in range(3)]
    with pytest.raises(FrameError, match=f"^frame {FIRST}: {reason}") as error:
        dataset.frame(0)
    one_line(error)
    assert [dataset.frame(number).id for number in (1, 2)] == ["scene-0061-1", "scene-0061-2"]
    if table != "sample":  # points and labels need no camera
        assert len(dataset.points(0)) == len(dataset.labels(0)) == 400


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"camera_intrinsic": []}, "its camera_intrinsic is no 3 x 3 matrix"),
        ({"camera_intrinsic": [[-126, 0, 81], [0, 126, 42], [0, 0, 1]]}, "its focal lengths are"),
        ({"camera_intrinsic": [[126, 0, 81], [0, 0, 42], [0, 0, 1]]}, "its focal lengths are"),
        ({"camera_intrinsic": [[126, 0, 81], [0, 126, 42], [0, 0, 2]]}, "the last row of its"),
        ({"rotation": [0.5, 0.5, 0.5, 0.6]}, "its rotation has the length"),
        ({"translation": [900, 0, 1800]}, "m from the LiDAR, more than 100"),
    ],
)
def test_an_impossible_calibration_names_the_camera(
    nuscenes_root: Path, change: dict[str, object], reason: str
) -> None:
    edit(nuscenes_root, "calibrated_sensor", update("calibrated-CAM_BACK", **change))
    dataset = NuScenesDataset(nuscenes_root)
    with pytest.raises(FrameError, match=f"^frame {FIRST}: .*CAM_BACK: .*{reason}") as error:
        dataset.frame(0)
    one_line(error)
    assert len(dataset.points(0)) == 400


def test_a_keyframe_without_its_sweep_has_no_points(nuscenes_root: Path) -> None:
    edit(nuscenes_root, "sample_data", drop(f"{FIRST}-LIDAR_TOP"))
    dataset = NuScenesDataset(nuscenes_root)
    for reader in (dataset.frame, dataset.points, dataset.labels):
        with pytest.raises(
            FrameError,
            match=rf"^frame {FIRST}: sample_data\.json has no LIDAR_TOP of this keyframe",
        ):
            reader(0)
    assert dataset.has_labels(1)
    assert len(dataset.labels(1)) == 400


def rename_cameras(root: Path) -> None:
    """A set of three cameras with names of its own."""
    names = {"CAM_FRONT": "front", "CAM_FRONT_LEFT": "left", "CAM_BACK": "rear"}
    edit(root, "sensor", lambda rows: [row.update(channel=names.get(row["channel"], row["channel"]))
                                       for row in rows])  # fmt: skip
    gone = [f"CAM_{side}" for side in ("BACK_LEFT", "BACK_RIGHT", "FRONT_RIGHT")]
    for table, key in (("sensor", "token"), ("calibrated_sensor", "sensor_token")):
        edit(root, table, lambda rows, key=key: [rows.remove(row) for row in list(rows)
                                                 if row[key] in gone])  # fmt: skip


def test_other_cameras_are_chosen_by_name(nuscenes_root: Path) -> None:
    (expected,) = [
        camera for camera in NuScenesDataset(nuscenes_root).frame(0).cameras
        if camera.name == "CAM_BACK"
    ]  # fmt: skip
    rename_cameras(nuscenes_root)
    with pytest.raises(
        CleverError,
        match=r"sensor\.json has no camera CAM_FRONT_LEFT, CAM_FRONT, .*; choose .* with "
        "`cameras=front,left,rear`",
    ) as error:
        NuScenesDataset(nuscenes_root)
    one_line(error)
    dataset = build_dataset("nuscenes", nuscenes_root, cameras=["rear", "front"])
    frame = dataset.frame(0)
    assert dataset.cameras == tuple(camera.name for camera in frame.cameras) == ("rear", "front")
    np.testing.assert_array_equal(frame.cameras[0].camera_from_lidar, expected.camera_from_lidar)
    assert frame.cameras[0].image == expected.image
    with pytest.raises(CleverError, match=r"has no camera up; .* `cameras=front,left,rear`"):
        NuScenesDataset(nuscenes_root, cameras=["front", "up"])


def test_a_set_without_the_lidar_says_what_it_has(nuscenes_root: Path) -> None:
    edit(nuscenes_root, "sensor", lambda rows: rows[0].update(channel="LIDAR_ROOF"))
    with pytest.raises(CleverError, match="has no LiDAR LIDAR_TOP, only LIDAR_ROOF; rename"):
        NuScenesDataset(nuscenes_root)


def test_tables_and_labels_that_frames_do_not_need(nuscenes_root: Path) -> None:
    tables = nuscenes_root / MINI
    (nuscenes_root / f"lidarseg/{MINI}/{FIRST}_lidarseg.bin").unlink()
    (tables / "map.json").write_text("{")
    (tables / "category.json").write_text("[{}]")
    (tables / "attribute.json").unlink()
    assert len(NuScenesDataset(nuscenes_root).frame(0).points) == 400
    for text, reason in (("[1", "is no JSON"), ("[{}]", "has a record without sample_data_token")):
        (tables / "lidarseg.json").write_text(text)
        dataset = NuScenesDataset(nuscenes_root)
        assert len(dataset.frame(0).points) == 400
        assert dataset.has_labels(0)  # whoever asks for them is told why there are none
        with pytest.raises(FrameError, match=rf"^frame {FIRST}: .*lidarseg\.json {reason}"):
            dataset.labels(0)


def test_version_is_found_where_it_is_plain(
    write_nuscenes: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_nuscenes({"scene-0061": 1}, labels=False)
    assert NuScenesDataset(root, split="all").scenes == ["scene-0061"]
    write_nuscenes({"scene-0077": 1}, version="v1.0-test", labels=False)
    with pytest.raises(
        CleverError, match=r"holds v1\.0-mini, v1\.0-test; choose one with `version`"
    ):
        NuScenesDataset(root, split="all")
    write_nuscenes({"scene-0001": 1}, version="v1.0-trainval", labels=False)
    assert NuScenesDataset(root, split="all").scenes == ["scene-0001"]
    with pytest.raises(
        CleverError, match=r"holds no v1\.0-\* folder with tables; choose another `data_root`"
    ):
        NuScenesDataset(tmp_path)


def test_wrong_version_and_split_say_what_is_there(nuscenes_root: Path) -> None:
    with pytest.raises(
        CleverError,
        match=r"no folder v1\.0-trainval \(it holds v1\.0-mini\); pass another `version`",
    ):
        NuScenesDataset(nuscenes_root, "v1.0-trainval")
    with pytest.raises(CleverError, match=r"has no split 'testing'; choose train, val or all"):
        NuScenesDataset(nuscenes_root, split="testing")


def test_split_without_scenes_says_which_there_are(shared_data: Path) -> None:
    root = shared_data / "nuscenes"
    assert NuScenesDataset(root).frame_ids == ["ca9a282c9e77460f8360f564131a8af5"]
    with pytest.raises(
        CleverError, match="no scene of split 'val': it holds scene-0061; choose `split=all`"
    ):
        NuScenesDataset(root, split="val")


def test_build_dataset(nuscenes_root: Path, kitti_root: Path) -> None:
    nuscenes = build_dataset("nuscenes", nuscenes_root, version=MINI, split="val")
    assert (nuscenes.name, list(nuscenes.frame_ids)) == (
        "nuscenes",
        ["scene-0103-0", "scene-0103-1"],
    )
    kitti = build_dataset("semantickitti", kitti_root, sequences=["8"])
    assert (kitti.name, list(kitti.frame_ids)) == ("semantickitti", ["08/000000", "08/000001"])
    with pytest.raises(
        CleverError,
        match=f"dataset 'mars': unknown dataset; choose {', '.join(DATASETS)} or name a class",
    ):
        build_dataset("mars", nuscenes_root)
    with pytest.raises(CleverError, match="nuscenes has no sequences"):
        build_dataset("nuscenes", nuscenes_root, sequences=["40"])
    for root in (None, nuscenes_root / "absent"):
        with pytest.raises(CleverError, match="pass `data_root` or set CLEVER_DATA_ROOT"):
            build_dataset("nuscenes", root)
