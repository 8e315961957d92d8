"""KITTI-360 on a tree in its layout: drives, calibration composed as the authors' viewer does it,
poses between the given ones, labels where there are any."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.base import label_ids
from clever.pipeline.datasets.kitti360 import Kitti360Dataset

from .tiny_trees import (
    check_any,
    check_table,
    one_line,
    tiny_cache,
    tiny_probe,
    write_image,
    write_labels,
    write_sweep,
)

TABLE = dict.fromkeys(range(45), 0) | {
    7: 1, 8: 2, 11: 3, 34: 3, 12: 4, 13: 5, 35: 5, 17: 6, 37: 6, 19: 7, 20: 8, 21: 9, 22: 10,
    23: 11, 24: 12, 25: 13, 26: 14, 27: 15, 28: 16, 31: 17, 32: 18, 33: 19,
}  # fmt: skip
"""The authors' labels.py: train id + 1 of an id, 0 ignored."""
DRIVES = {"0000": (1, 2, 5), "0008": (0,), "0010": (3,)}
K = np.array([[72, 0, 60.0], [0, 72, 20], [0, 0, 1]])
AXES = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
"""x forward, y left <- camera's x right, y down."""


def rigid(rotation: np.ndarray, translation: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def turn(angle: float, axis: str = "z") -> np.ndarray:
    return Rotation.from_euler(axis, angle).as_matrix()


CAR_FROM_CAMERA = {
    "image_00": rigid(turn(0.01) @ AXES, (1.5, 0.3, 0.9)),
    "image_01": rigid(turn(-0.02) @ AXES, (1.5, -0.3, 0.9)),
    "image_02": rigid(AXES, (0.7, 1.2, 0.9)),
}
LIDAR_FROM_CAMERA_0 = rigid(turn(0.03) @ AXES, (0.8, 0.3, -0.2))
RECTIFY = {"image_00": turn(0.004, "x"), "image_01": turn(-0.006, "y")}


def row(values: np.ndarray) -> str:
    return " ".join(map(repr, values.ravel().tolist()))


def pose(number: int) -> np.ndarray:
    """World <- car: 2 m forward and 0.1 rad a frame."""
    return rigid(turn(0.1 * number), (2.0 * number, 0, 0))


def write_calibration(folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = ["calib_time: 28-May-2013 08:46:02", "corner_dist: 0.1"]
    for number in ("00", "01"):
        projection = np.column_stack([K, [-40.0 * int(number), 0, 0]])
        lines += [f"S_{number}: 140 50", f"S_rect_{number}: 124 38"]
        lines += [f"P_rect_{number}: {row(projection)}"]
        lines += [f"R_rect_{number}: {row(RECTIFY[f'image_{number}'])}"]
    (folder / "perspective.txt").write_text("\n".join(lines))
    entries = [f"{name}: {row(matrix[:3])}" for name, matrix in CAR_FROM_CAMERA.items()]
    (folder / "calib_cam_to_pose.txt").write_text("\n".join(entries))
    (folder / "calib_cam_to_velo.txt").write_text(row(LIDAR_FROM_CAMERA_0[:3]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng, root = np.random.default_rng(0), tmp_path / "KITTI-360"
    write_calibration(root / "calibration")
    for number, frames in DRIVES.items():
        drive = f"2013_05_28_drive_{number}_sync"
        for frame in frames:
            sweeps = root / "data_3d_raw" / drive / "velodyne_points/data"
            write_sweep(sweeps / f"{frame:010}.bin", rng)
            for camera in ("image_00", "image_01"):
                images = root / "data_2d_raw" / drive / camera / "data_rect"
                write_image(images / f"{frame:010}.png", rng, (124, 38))
    poses = root / "data_poses/2013_05_28_drive_0000_sync/poses.txt"
    poses.parent.mkdir(parents=True)
    lines = [f"{number} {row(pose(number)[:3])}" for number in (1, 4, 5)]
    poses.write_text("\n".join(lines) + "\n")
    return root


def test_drives_and_splits(root: Path) -> None:
    train = Kitti360Dataset(root)
    assert train.frame_ids == [
        "0000/0000000001", "0000/0000000002", "0000/0000000005", "0010/0000000003",
    ]  # fmt: skip
    assert Kitti360Dataset(root, split="test").frame_ids == ["0008/0000000000"]
    assert Kitti360Dataset(root, ["8", "0010"]).scenes == ["0008", "0010"]
    every = Kitti360Dataset(root, split="all")
    check_any(every)
    assert [every.frame(index).split for index in (0, 3, 4)] == ["train", "test", "train"]
    assert [every.frame(index).timestamp for index in (2, 3)] == [500_000, 0]
    place = root / "data_3d_raw/2013_05_28_drive_0008_sync/velodyne_points/data/0000000000.bin"
    np.testing.assert_array_equal(every.points(3), np.fromfile(place, "<f4").reshape(-1, 4))
    with pytest.raises(
        CleverError, match=r"kitti360 has no split 'val'; choose train, test or all"
    ):
        Kitti360Dataset(root, split="val")
    with pytest.raises(
        CleverError, match=r"no sequence 3: .*data_3d_raw holds sequences 0000, 0008"
    ):
        Kitti360Dataset(root, ["3"])


def test_points_reach_both_images_as_in_the_authors_viewer(root: Path) -> None:
    frame = Kitti360Dataset(root).frame(1)
    for camera in frame.cameras:
        camera_0_from_k = np.linalg.inv(CAR_FROM_CAMERA["image_00"]) @ CAR_FROM_CAMERA[camera.name]
        expected = np.linalg.inv(LIDAR_FROM_CAMERA_0 @ camera_0_from_k)
        expected[:3] = RECTIFY[camera.name] @ expected[:3]
        np.testing.assert_allclose(camera.camera_from_lidar, expected, atol=1e-12)
        np.testing.assert_array_equal(camera.intrinsics, K)
        drive = root / "data_2d_raw/2013_05_28_drive_0000_sync"
        assert camera.image == drive / camera.name / "data_rect/0000000002.png"
        assert (camera.width, camera.height) == (124, 38)
    # The second camera stands 0.6 m to the right of the first.
    offset = np.subtract(*(camera.camera_from_lidar[:3, 3] for camera in frame.cameras))
    assert offset[0] == pytest.approx(0.6, abs=0.05)


def test_cameras_are_chosen_by_name(root: Path) -> None:
    right = build_dataset("kitti360", root, cameras=["image_01"])
    (camera,) = right.frame(0).cameras
    assert (camera.name, right.cameras) == ("image_01", ("image_01",))
    with pytest.raises(
        CleverError, match="no camera image_02; choose `cameras` among image_00, image_01"
    ):
        Kitti360Dataset(root, cameras=["image_02", "image_00"])


def test_the_car_moves_evenly_between_poses(root: Path) -> None:
    dataset = Kitti360Dataset(root)
    car_from_lidar = CAR_FROM_CAMERA["image_00"] @ np.linalg.inv(LIDAR_FROM_CAMERA_0)
    for index, number in ((0, 1), (2, 5)):
        np.testing.assert_allclose(
            dataset.frame(index).global_from_lidar, pose(number) @ car_from_lidar, atol=1e-12
        )
    # Frame 2 is a third of the way from frame 1 to frame 4.
    np.testing.assert_allclose(
        dataset.frame(1).global_from_lidar, pose(2) @ car_from_lidar, atol=1e-9
    )
    np.testing.assert_array_equal(dataset.frame(3).global_from_lidar, np.eye(4))  # no poses.txt


def test_a_frame_outside_the_poses_is_reported(root: Path) -> None:
    path = root / "data_poses/2013_05_28_drive_0000_sync/poses.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    dataset = Kitti360Dataset(root)
    with pytest.raises(
        FrameError,
        match=r"^frame 0000/0000000002: .*poses\.txt has no pose of it: .* 4 to 5; leave",
    ) as error:
        dataset.frame(1)
    one_line(error)
    assert len(dataset.points(1)) == 300
    assert dataset.frame(2).id == "0000/0000000005"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("5 1 2 3", "has 4 numbers, not 13"),
        ("5 2 0 0 0 0 2 0 0 0 0 2 0", "does not rotate"),
        ("5 1 0 0 nan 0 1 0 0 0 0 1 0", "holds NaN or infinity"),
    ],
)
def test_a_bad_pose_loses_its_frame(root: Path, line: str, reason: str) -> None:
    path = root / "data_poses/2013_05_28_drive_0000_sync/poses.txt"
    first, second, _ = path.read_text().splitlines()
    path.write_text("\n".join([first, second, line]))
    dataset = Kitti360Dataset(root)
    with pytest.raises(
        FrameError, match=rf"^frame 0000/0000000005: .*poses\.txt line 3 {reason}"
    ) as error:
        dataset.frame(2)
    one_line(error)
    assert dataset.frame(1).id == "0000/0000000002"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "there are no poses; restore or remove it"),
        (f"4 {row(pose(4)[:3])}\n1 {row(pose(1)[:3])}", "the times of the poses do not ascend"),
        (f"1 {row(pose(1)[:3])}\n\n", "line 2 begins with no frame number"),
    ],
)
def test_bad_poses_as_a_whole_are_one_line(root: Path, text: str, line: str) -> None:
    (root / "data_poses/2013_05_28_drive_0000_sync/poses.txt").write_text(text)
    with pytest.raises(CleverError, match=line) as error:
        Kitti360Dataset(root)
    one_line(error)


BAD = {
    r"cannot read calibration .*perspective\.txt: No such file": ("perspective.txt", None),
    r"calibration .*perspective\.txt: it has no P_rect_00": ("perspective.txt", "P_rect_01: 1"),
    r"calibration .*calib_cam_to_velo\.txt: has 3 numbers": ("calib_cam_to_velo.txt", "1 2 3"),
    r"calibration .*calib_cam_to_velo\.txt: its .* does not rotate": (
        "calib_cam_to_velo.txt", "2 0 0 0 0 2 0 0 0 0 2 0"
    ),
    r"calibration .*calib_cam_to_pose\.txt: its image_00 has 2 numbers": (
        "calib_cam_to_pose.txt", "image_00: 1 2"
    ),
    r"calibration .*calib_cam_to_pose\.txt: its image_00 is a reflection": (
        "calib_cam_to_pose.txt", "image_00: 1 0 0 0 0 1 0 0 0 0 -1 0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_calibration_is_a_bad_frame(root: Path, reason: str) -> None:
    name, text = BAD[reason]
    if text is None:
        (root / "calibration" / name).unlink()
    else:
        (root / "calibration" / name).write_text(text)
    dataset = Kitti360Dataset(root)
    with pytest.raises(FrameError, match=f"^frame 0000/0000000001: {reason}") as error:
        dataset.frame(0)
    one_line(error)
    assert len(dataset.points(0)) == 300


def test_a_missing_image_loses_its_frame(root: Path) -> None:
    drive = root / "data_2d_raw/2013_05_28_drive_0000_sync"
    (drive / "image_01/data_rect/0000000001.png").unlink()
    with pytest.raises(FrameError, match=r"^frame 0000/0000000001: no image .*image_01/data_rect"):
        Kitti360Dataset(root).frame(0)
    assert Kitti360Dataset(root, cameras=["image_00"]).frame(0).id == "0000/0000000001"


def write_scan_labels(root: Path) -> Path:
    """Labels of all scans of two drives; returns the folder of the first."""
    rng, place = np.random.default_rng(1), root / "data_3d_semantics_scans"
    for number in ("0000", "0010"):
        folder = place / f"2013_05_28_drive_{number}_sync/labels"
        for frame in DRIVES[number]:
            write_labels(folder / f"{frame:010}.label", rng, tuple(TABLE), 300)
    return place / "2013_05_28_drive_0000_sync/labels"


def test_scans_have_labels_where_somebody_put_them(root: Path) -> None:
    dataset = Kitti360Dataset(root)
    assert not any(map(dataset.has_labels, range(len(dataset))))
    folder = write_scan_labels(root)
    assert all(map(dataset.has_labels, range(len(dataset))))
    check_table(dataset, TABLE, folder / "0000000001.label")
    assert dataset.class_mean == "present"
    assert [TABLE[raw] for raw in label_ids(dataset, dataset.class_names)] == [*range(1, 20)]
    names = {7: "road", 34: "building", 35: "fence", 37: "pole", 33: "bicycle"}
    assert {raw: dataset.class_names[TABLE[raw] - 1] for raw in names} == names
    np.full(300, 45, "<u4").tofile(folder / "0000000001.label")
    with pytest.raises(FrameError, match=r"unknown label ids \[45\]"):
        dataset.labels(0)


def test_cache_and_probe(root: Path, tmp_path: Path) -> None:
    cache = tiny_cache("kitti360", root, tmp_path / "x.zarr", split="train")
    assert len(cache.ids) == 4
    assert cache.cameras == ("image_00", "image_01")
    assert set(cache[0].pair_camera.tolist()) == {0, 1}
    write_scan_labels(root)
    sequences = {"train_sequences": ["0"], "val_sequences": ["10"]}
    result = tiny_probe("kitti360", root, tmp_path / "run", **sequences)
    assert (result.frames, result.mean) == (1, "present")
