"""`init-drive`: what it writes for the layouts that it knows, what it leaves open, and that the
result opens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from clever.errors import CleverError
from clever.pipeline.datasets.drive_yaml.draft import plausible_columns
from clever.pipeline.datasets.drive_yaml.survey import survey, template
from clever.pipeline.datasets.folder import FolderDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.init_drive import init_drive
from clever.pipeline.settings.init_drive import InitDriveSettings

CAMERA_INFO = """\
image_width: 96
image_height: 64
camera_name: narrow
camera_matrix: {rows: 3, cols: 3, data: [60.0, 0, 47, 0, 61, 33, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.1, 0.001, 0.002, 0.0]}
"""


def sweep(seed: int, columns: int, points: int = 300) -> np.ndarray:
    """Rings of a LiDAR, intensity in bytes."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 6 * np.pi, points)
    rows = rng.uniform(0, 255, (points, columns))
    rows[:, :3] = np.column_stack([10 * np.cos(angle), 8 * np.sin(angle), angle / 10])
    return rows.astype(np.float32)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 64)).save(path)


def written(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "drive.yaml").read_text())


def test_a_kitti_root_is_written_whole(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 3, "08": 2}, poses=True)
    summary = init_drive(InitDriveSettings(folder=root))
    assert (summary.todo, summary.frames, summary.scenes) == ([], 5, 2)
    assert not summary.remarks
    for split in ("train", "val"):
        own, kitti = FolderDataset(root, split), SemanticKittiDataset(root, split=split)
        assert own.frame_ids == kitti.frame_ids
        assert own.class_names == kitti.class_names
        assert own.class_mean == kitti.class_mean
        for index in range(len(kitti)):
            frame, expected = own.frame(index), kitti.frame(index)
            np.testing.assert_array_equal(frame.points, expected.points)
            np.testing.assert_array_equal(frame.global_from_lidar, expected.global_from_lidar)
            assert (frame.timestamp, frame.split) == (expected.timestamp, split)
            (camera,), (reference,) = frame.cameras, expected.cameras
            assert camera.image == reference.image
            np.testing.assert_array_equal(camera.intrinsics, reference.intrinsics)
            np.testing.assert_array_equal(camera.camera_from_lidar, reference.camera_from_lidar)
            np.testing.assert_array_equal(own.labels(index), kitti.labels(index))


def test_another_calibration_is_told(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 1, "08": 1})
    path = root / "sequences/08/calib.txt"
    path.write_text(path.read_text().replace("P2: 72 0 60", "P2: 73 0 60"))
    (remark,) = init_drive(InitDriveSettings(folder=root)).remarks
    assert remark.startswith("sequences/08/calib.txt differ from sequences/00/calib.txt; ")


def test_a_calibration_of_no_scene_is_named(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 1, "08": 1})
    whole = write_kitti({"00": 1, "08": 1}, folder="whole")
    init_drive(InitDriveSettings(folder=whole))
    text = (root / "sequences/08/calib.txt").read_text()
    (root / "backup").mkdir()
    # It comes first by its name and says something else; the scenes' own hold.
    (root / "backup/calib.txt").write_text(text.replace("P2: 72 0 60", "P2: 73 0 60"))
    (root / "sequences/cam_extrinsics.json").write_text("{}")
    summary = init_drive(InitDriveSettings(folder=root))
    assert summary.remarks == [
        "calibration files of which nothing is taken: backup/calib.txt, "
        "sequences/cam_extrinsics.json; write what holds of them into cameras"
    ]
    assert (root / "drive.yaml").read_text() == (whole / "drive.yaml").read_text()
    for scene in ("00", "08"):
        (root / "sequences" / scene / "calib.txt").unlink()
    (root / "drive.yaml").unlink()
    taken, idle = init_drive(InitDriveSettings(folder=root)).remarks
    assert taken.startswith("backup/calib.txt belongs to no scene and is taken, as there is no oth")
    assert idle.startswith("calibration files of which nothing is taken: sequences/cam_extrinsics")
    assert written(root)["cameras"]["image_2"]["intrinsics"][0][0] == 73


def test_idle_calibrations_of_many_frames_are_counted(recording: Path) -> None:
    (recording / "calib").mkdir()
    for number in range(5):
        (recording / f"calib/{number:06}.txt").write_text("P0: 1 2 3\n")
    remarks = init_drive(InitDriveSettings(folder=recording)).remarks
    assert remarks[-1] == (
        "calibration files of which nothing is taken: calib/000000.txt, calib/000001.txt, "
        "calib/000002.txt and 2 more; write what holds of them into cameras"
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two cameras of other times than the LiDAR's, nanoseconds in the names, a trajectory."""
    root = tmp_path / "rec"
    for number in range(4):
        time = 1700000000_000000000 + number * 100_000_000
        (root / "lidar").mkdir(parents=True, exist_ok=True)
        sweep(number, 5).tofile(root / f"lidar/{time}.bin")
        picture(root / f"narrow/img_{time + 20_000_000}.png")
        picture(root / f"wide/img_{time - 20_000_000}.png")
        (root / "seg").mkdir(exist_ok=True)
        np.save(root / f"seg/{time}.npy", np.arange(300) % 3)
    (root / "calibration").mkdir()
    (root / "calibration/narrow.yaml").write_text(CAMERA_INFO)
    (root / "trajectory.txt").write_text("# time x y z qx qy qz qw\n1700000000.0 0 0 0 0 0 0 1\n")
    return root


def test_a_recording_by_times(recording: Path) -> None:
    summary = init_drive(InitDriveSettings(folder=recording))
    assert summary.todo == [
        "cameras.narrow.camera_from_lidar",
        "cameras.wide.intrinsics",
        "cameras.wide.camera_from_lidar",
        "poses.of",
        "labels.classes",
    ]
    (remark,) = summary.remarks
    assert remark.startswith("labels: ids 0, 1, 2 occur")
    assert "left to fill in: cameras.narrow.camera_from_lidar, " in str(summary)
    with pytest.raises(
        CleverError, match=r"drive\.yaml is not complete: fill in cameras\.narrow\."
    ):
        FolderDataset(recording)
    content = written(recording)
    assert content["points"] == {
        "files": "lidar/{time}.bin",
        "input_format": "bin",
        "columns": ["x", "y", "z", "intensity", "column5"],
        "intensity_scale": 255,
        "times": {"unit": "ns"},
    }
    assert content["cameras"]["narrow"] == {
        "images": "narrow/img_{time}.png",
        "times": {"unit": "ns"},
        "size": [96, 64],
        "intrinsics": [[60, 0, 47], [0, 61, 33], [0, 0, 1]],
        "distortion": {
            "model": "radial-tangential",
            "coefficients": [-0.2, 0.1, 0.001, 0.002, 0],
        },
        "camera_from_lidar": "TODO",
    }
    assert content["cameras"]["wide"]["intrinsics"] == "TODO"
    assert (content["match"], content["largest_gap"]) == ("time", 0.05)
    assert content["poses"] == {"files": "trajectory.txt", "format": "tum", "of": "TODO"}
    assert content["labels"]["map"] == {0: "ignore", 1: "ignore", 2: "ignore"}
    forward = [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]
    content["cameras"]["narrow"]["camera_from_lidar"] = forward
    content["cameras"]["wide"] |= {
        "camera_from_lidar": forward,
        "intrinsics": {"fx": 60, "fy": 60, "cx": 47, "cy": 33},
    }
    content["poses"] = {**content["poses"], "of": "lidar", "compensate": False}
    content["labels"] |= {"classes": ["thing"], "map": {0: "ignore", 1: "thing", 2: "thing"}}
    (recording / "drive.yaml").write_text(yaml.safe_dump(content))
    dataset = FolderDataset(recording, split="all")
    frame = dataset.frame(0)
    assert [camera.image for camera in frame.cameras] == [
        recording / "narrow/img_1700000000020000000.png",
        recording / "wide/img_1699999999980000000.png",
    ]
    assert frame.timestamp == 1700000000_000000
    np.testing.assert_array_equal(dataset.labels(0), np.array([255, 0, 0] * 100))


@pytest.mark.parametrize(
    ("matrix", "fault"),
    [
        ("60.0, 47, 0, 0, 61, 33, 0, 0, 1", "its skew is 47 pixels, more than 0.1 of its focal"),
        ("60.0, 0, 0, 0, 61, 0, 47, 33, 1", "the last row of its intrinsics is 47 33 1, not 0 0 1"),
        ("60.0, 0, 470, 0, 61, 330, 0, 0, 1", "its principal point (470, 330) lies outside the mi"),
    ],
)
def test_a_matrix_of_no_camera_is_left_to_fill_in(recording: Path, matrix: str, fault: str) -> None:
    path = recording / "calibration/narrow.yaml"
    path.write_text(CAMERA_INFO.replace("60.0, 0, 47, 0, 61, 33, 0, 0, 1", matrix))
    summary = init_drive(InitDriveSettings(folder=recording))
    assert summary.todo[0] == "cameras.narrow.intrinsics"
    assert summary.remarks[0].startswith(f"calibration/narrow.yaml is no calibration: {fault}")


def test_a_projection_of_no_camera_is_left_to_fill_in(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 1})
    path = root / "sequences/00/calib.txt"
    path.write_text(path.read_text().replace("P2: 72 0 60", "P2: 72 60 0"))
    summary = init_drive(InitDriveSettings(folder=root))
    assert summary.todo == ["cameras.image_2.intrinsics", "cameras.image_2.camera_from_lidar"]
    (remark,) = summary.remarks
    assert remark.startswith(f"calibration {path} does not fit ")
    assert "its skew is 60 pixels" in remark


def test_it_never_overwrites(recording: Path) -> None:
    (recording / "drive.yaml").write_text("mine")
    with pytest.raises(CleverError, match=r"drive\.yaml exists; it is never overwritten"):
        init_drive(InitDriveSettings(folder=recording))
    assert (recording / "drive.yaml").read_text() == "mine"


def test_folders_without_points(tmp_path: Path) -> None:
    picture(tmp_path / "front/1.png")
    with pytest.raises(CleverError, match=r"holds no point files \(\.bin, \.pcd, "):
        init_drive(InitDriveSettings(folder=tmp_path))
    with pytest.raises(CleverError, match="is no folder; give the folder of your recordings"):
        init_drive(InitDriveSettings(folder=tmp_path / "front/1.png"))
    assert not (tmp_path / "drive.yaml").exists()


@pytest.mark.parametrize("columns", [3, 4, 5, 6, 7, 8])
def test_columns_of_flat_files(columns: int) -> None:
    """The number of points is divisible by everything, so that sizes tell nothing."""
    arrays = [sweep(seed, columns, 840).ravel().astype(np.float64) for seed in range(3)]
    assert plausible_columns(arrays)[0] == columns


def test_columns_of_real_sweeps(shared_data: Path) -> None:
    nuscenes = next((shared_data / "nuscenes/samples/LIDAR_TOP").iterdir())
    kitti = shared_data / "semantickitti/sequences/40/velodyne/000000.bin"
    for path, columns in ((nuscenes, 5), (kitti, 4)):
        # Cut to a length that every number of columns divides.
        rows = np.fromfile(path, "<f4").astype(np.float64)
        rows = rows[: len(rows) // 840 * 840]
        assert plausible_columns([rows])[0] == columns


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["000000", "000001", "000012"], "{frame}"),
        (["frame0001", "frame0002"], "frame{frame}"),
        (["0001_left", "0002_left"], "{frame}_left"),
        (["a_1700000000000000000", "a_1700000000100000000"], "a_{time}"),
        (["1700000000.25", "1700000000.5"], "{time}"),
        (["lidar_7"], "{frame}"),
        (["a", "ab"], "{frame}"),
    ],
)
def test_what_names_have_in_common(stems: list[str], expected: str) -> None:
    assert template(stems) == expected


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    for run in ("run1", "run2"):
        for camera in ("left", "right"):
            for number in (9, 10):
                picture(tmp_path / run / camera / f"{number}.jpg")
        (tmp_path / run / "cloud").mkdir()
        for number in (9, 10):
            (tmp_path / run / "cloud" / f"{number}.pcd").write_bytes(b"")
        (tmp_path / run / "stamps.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/1.pcd").write_bytes(b"")
    seen = survey(tmp_path)
    assert seen.points
    assert seen.points.pattern == "{scene}/cloud/{frame}.pcd"
    assert seen.points.names == {"run1": ("9.pcd", "10.pcd"), "run2": ("9.pcd", "10.pcd")}
    assert seen.points.files()[2] == "run2/cloud/9.pcd"
    patterns = {group.label: group.pattern for group in seen.images}
    assert patterns == {"left": "{scene}/left/{frame}.jpg", "right": "{scene}/right/{frame}.jpg"}
    assert (seen.labels, seen.others, seen.texts) == (
        None,
        [],
        ["run1/stamps.txt", "run2/stamps.txt"],
    )


def test_several_lidars_without_scenes(tmp_path: Path) -> None:
    for sensor, count in (("lidar_left", 1), ("lidar_top", 2)):
        (tmp_path / sensor).mkdir()
        for number in range(count):
            sweep(number, 4).tofile(tmp_path / sensor / f"{number}.bin")
    summary = init_drive(InitDriveSettings(folder=tmp_path))
    assert written(tmp_path)["points"]["files"] == "lidar_top/{frame}.bin"
    (remark,) = summary.remarks
    assert remark.startswith("lidar_left/{frame}.bin are further point files")
    assert "cameras" not in written(tmp_path)
    assert summary.frames == 2


def scenes(root: Path, *names: str) -> Path:
    """Scenes of two sweeps each."""
    for name in names:
        (root / name / "lidar").mkdir(parents=True)
        for number in range(2):
            sweep(number, 4).tofile(root / name / f"lidar/{number}.bin")
    return root


def test_names_with_signs_of_yaml(tmp_path: Path) -> None:
    names = ['a "b"', "c\\d", "no", "{s}", "e: #\x7f"]
    summary = init_drive(InitDriveSettings(folder=scenes(tmp_path, *names)))
    assert (summary.todo, summary.frames, summary.scenes) == ([], 10, 5)
    splits = written(tmp_path)["splits"]
    assert sorted(splits["train"] + splits["val"]) == sorted(names)


def test_a_camera_whose_name_is_a_truth_value(tmp_path: Path) -> None:
    scenes(tmp_path, "a")
    picture(tmp_path / "no/1.png")
    init_drive(InitDriveSettings(folder=tmp_path))
    assert list(written(tmp_path)["cameras"]) == ["no"]


@pytest.mark.parametrize("name", ["{s}", "x*", "{scene}"])
def test_a_folder_that_patterns_take_for_a_part(tmp_path: Path, name: str) -> None:
    scenes(tmp_path / name, "a", "b")
    with pytest.raises(CleverError) as error:
        init_drive(InitDriveSettings(folder=tmp_path))
    assert str(error.value) == (
        f"{name}/a/lidar: patterns of drive.yaml take {name} for what differs from file to file; "
        "rename the folder"
    )
    assert not (tmp_path / "drive.yaml").exists()


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    scenes(tmp_path, "a", os.fsdecode(b"\xff\xfe"))
    with pytest.raises(
        CleverError, match=r"^b'.*/\\xff\\xfe/lidar/.\.bin' is no UTF-8; rename it$"
    ):
        init_drive(InitDriveSettings(folder=tmp_path))


def test_a_draft_that_cannot_be_read_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes(tmp_path, "a", "b")
    monkeypatch.setattr("clever.pipeline.init_drive.Draft.text", lambda _: "points: [")
    with pytest.raises(CleverError, match=r"^nothing is written, write it yourself: .*no valid YA"):
        init_drive(InitDriveSettings(folder=tmp_path))
    assert not (tmp_path / "drive.yaml").exists()


@pytest.mark.parametrize("name", ["times.txt", "poses.txt"])
def test_text_files_that_a_scene_lacks_are_left_out(tmp_path: Path, name: str) -> None:
    scenes(tmp_path, "a", "b")
    line = "1 0 0 0 0 1 0 0 0 0 1 0\n" if name == "poses.txt" else "0.5\n"
    (tmp_path / "a" / name).write_text(line * 2)
    summary = init_drive(InitDriveSettings(folder=tmp_path))
    assert summary.remarks == [
        f"{{scene}}/{name} is left out: the scenes b lack it; add it there if times matter, "
        "as with poses"
    ]
    assert "times" not in written(tmp_path)["points"]
    assert "poses" not in written(tmp_path)


def test_lines_of_every_scene_are_counted(tmp_path: Path) -> None:
    scenes(tmp_path, "a", "b")
    (tmp_path / "a/times.txt").write_text("0.5\n1.5\n")
    (tmp_path / "b/times.txt").write_text("0.5\n1.5\n2.5\n")
    init_drive(InitDriveSettings(folder=tmp_path))
    times = {"files": "{scene}/times.txt", "unit": "s", "rows": "number"}
    assert written(tmp_path)["points"]["times"] == times
    frames = FolderDataset(tmp_path, split="all")
    assert [frames.frame(n).timestamp for n in range(4)] == [500_000, 1_500_000] * 2
    (tmp_path / "drive.yaml").unlink()
    (tmp_path / "b/times.txt").write_text("0.5\n")
    (remark,) = init_drive(InitDriveSettings(folder=tmp_path)).remarks
    assert remark == (
        "{scene}/times.txt is left out: b/times.txt has 1 lines for 2 files; restore it"
    )


def test_a_link_in_a_circle_is_followed_once(tmp_path: Path) -> None:
    scenes(tmp_path, "b", "c")
    (tmp_path / "b/back").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "c")
    seen = survey(tmp_path)
    assert seen.points
    assert seen.points.folders == {"b": "b/lidar", "c": "c/lidar"}
    assert not seen.others


def test_a_bad_image_is_named_and_passed_over(tmp_path: Path) -> None:
    scenes(tmp_path, "a")
    picture(tmp_path / "a/front/1.png")
    (tmp_path / "a/front/0.png").write_bytes(b"x")
    reason = (
        f"cannot read image {tmp_path}/a/front/0.png: it is damaged or no picture; restore the file"
    )
    (remark,) = init_drive(InitDriveSettings(folder=tmp_path)).remarks
    assert remark == reason
    assert written(tmp_path)["cameras"]["front"]["size"] == [96, 64]
    (tmp_path / "drive.yaml").unlink()
    (tmp_path / "a/front/1.png").unlink()
    with pytest.raises(CleverError) as error:
        init_drive(InitDriveSettings(folder=tmp_path))
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([{}, None]), "0.npy is no array of numbers: Object arrays cannot be loaded"),
        (np.zeros((0, 4)), "0.npy is empty; restore it, or leave it out"),
        (np.array(["a"]), "0.npy is an array of <U1, not of numbers; convert it"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_bad_array_is_named_and_passed_over(
    tmp_path: Path, array: np.ndarray, reason: str
) -> None:
    np.save(tmp_path / "0.npy", array)
    with pytest.raises(CleverError, match=f"^{tmp_path}/{reason}"):
        init_drive(InitDriveSettings(folder=tmp_path))
    np.save(tmp_path / "1.npy", sweep(1, 4))
    summary = init_drive(InitDriveSettings(folder=tmp_path))
    (remark,) = summary.remarks
    assert remark.startswith(f"{tmp_path}/{reason}")
    assert written(tmp_path)["points"]["columns"] == ["x", "y", "z", "intensity"]
    assert written(tmp_path)["points"]["intensity_scale"] == 255


def test_an_empty_flat_file_is_named_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0.bin").write_bytes(b"")
    sweep(1, 4).tofile(tmp_path / "1.bin")
    (remark,) = init_drive(InitDriveSettings(folder=tmp_path)).remarks
    assert remark == f"{tmp_path}/0.bin is empty; restore it, or leave it out"
    assert written(tmp_path)["points"]["intensity_scale"] == 255
