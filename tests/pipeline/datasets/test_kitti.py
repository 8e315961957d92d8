"""KITTI's object benchmark on a tree in its layout: lists, calibration through R0, no point
labels."""

from pathlib import Path

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.kitti import KittiDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.steps.labelled import labelled_indices

from .tiny_trees import check_any, one_line, tiny_cache, write_image, write_sweep

P2 = np.array([[72, 0, 60, 4.5], [0, 72, 20, 0.2], [0, 0, 1, 0.003]])
COS, SIN = np.cos(0.02), np.sin(0.02)
R0 = np.array([[COS, 0, SIN], [0, 1, 0], [-SIN, 0, COS]])
TR = np.array([[0, -1, 0, -0.01], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])
TRAINING = ("000000", "000001", "000002", "000007")


def calibration() -> str:
    """The seven lines of a calibration of the benchmark; those that are not needed are of other
    numbers."""
    other = np.arange(12) + 0.5
    entries = {"P0": other, "P1": other, "P2": P2, "P3": other, "R0_rect": R0}
    entries |= {"Tr_velo_to_cam": TR, "Tr_imu_to_velo": other}
    lines = [
        f"{name}: {' '.join(map(repr, value.ravel().tolist()))}" for name, value in entries.items()
    ]
    return "\n".join(lines) + "\n\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng, root = np.random.default_rng(0), tmp_path / "object"
    for folder, numbers in (("training", TRAINING), ("testing", ("000000", "000001"))):
        (root / folder / "calib").mkdir(parents=True)
        for number in numbers:
            write_sweep(root / folder / "velodyne" / f"{number}.bin", rng)
            write_image(root / folder / "image_2" / f"{number}.png", rng, (124, 38))
            (root / folder / "calib" / f"{number}.txt").write_text(calibration())
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("000000\n000007\n")
    (root / "ImageSets/val.txt").write_text("000001\n")
    (root / "ImageSets/test.txt").write_text("000002\n")  # OpenPCDet's are numbers of testing
    return root


def test_splits_follow_the_lists(root: Path) -> None:
    assert KittiDataset(root).frame_ids == ["training/000000", "training/000007"]
    assert KittiDataset(root, "val").frame_ids == ["training/000001"]
    assert KittiDataset(root, "test").frame_ids == ["testing/000000", "testing/000001"]
    every = KittiDataset(root, "all")
    assert dict(zip(every.frame_ids, map(every.split_of, range(6)), strict=True)) == {
        "training/000000": "train", "training/000001": "val", "training/000002": "",
        "training/000007": "train", "testing/000000": "test", "testing/000001": "test",
    }  # fmt: skip
    check_any(every)
    assert every.scenes == every.frame_ids
    assert [every.frame(index).split for index in (0, 1, 2, 5)] == ["train", "val", "", "test"]
    (root / "testing").rename(root / "elsewhere")
    assert len(KittiDataset(root, "all")) == 4


def test_points_reach_the_image_through_tr_r0_and_p2(root: Path) -> None:
    frame = KittiDataset(root).frame(1)
    (camera,) = frame.cameras
    assert camera.image == root / "training/image_2/000007.png"
    assert (camera.width, camera.height, frame.timestamp) == (124, 38, 0)
    raw = np.fromfile(root / "training/velodyne/000007.bin", "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(frame.points, raw)
    point = np.array([12.0, -1.5, 0.4])
    rectified = R0 @ (TR[:, :3] @ point + TR[:, 3])
    expected = P2[:, :3] @ rectified + P2[:, 3]
    ours = camera.intrinsics @ (camera.camera_from_lidar @ [*point, 1])[:3]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))


def test_there_are_no_point_labels(root: Path) -> None:
    dataset = build_dataset("kitti", root)
    assert dataset.class_names == ()
    assert not any(map(dataset.has_labels, range(2)))
    with pytest.raises(FrameError, match=r"^frame training/000000: kitti has no point labels;"):
        dataset.labels(0)
    with pytest.raises(CleverError, match="none of the 2 frames of kitti train has labels"):
        labelled_indices(dataset, "train")


def test_what_lacks_or_is_wrong_is_one_line(root: Path) -> None:
    (root / "ImageSets/val.txt").write_text("000001\n\nname\n")
    with pytest.raises(CleverError, match=r"val\.txt line 3 is no frame number; restore") as error:
        KittiDataset(root, "val")
    one_line(error)
    assert len(KittiDataset(root)) == 2
    (root / "ImageSets/train.txt").unlink()
    with pytest.raises(
        CleverError, match=r"cannot read the list .*ImageSets/train\.txt: No such .* of OpenPCDet"
    ) as error:
        KittiDataset(root)
    one_line(error)
    (root / "ImageSets/val.txt").unlink()
    assert [*map(KittiDataset(root, "all").split_of, range(4))] == [""] * 4
    with pytest.raises(CleverError, match="kitti has no split 'half'; choose train, val, test or"):
        KittiDataset(root, "half")
    with pytest.raises(CleverError, match=r"no folder .*training/velodyne; pass another"):
        KittiDataset(root / "training", "all")


def test_a_bad_file_loses_its_frame(root: Path) -> None:
    dataset = KittiDataset(root)
    (root / "training/calib/000000.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(
        FrameError, match=r"^frame training/000000: calibration .*calib/000000\.txt: it"
    ) as error:
        dataset.frame(0)
    one_line(error)
    (root / "training/velodyne/000000.bin").unlink()
    with pytest.raises(FrameError, match=r"^frame training/000000: cannot read .*000000\.bin: No"):
        dataset.points(0)
    assert dataset.frame(1).id == "training/000007"


def test_a_tiny_cache(root: Path, tmp_path: Path) -> None:
    cache = tiny_cache("kitti", root, tmp_path / "x.zarr", split="train")
    assert list(cache.ids) == ["training/000000", "training/000007"]
    assert len(cache[1].pair_point)


def test_a_real_frame_equals_that_of_its_drive(shared_data: Path, tmp_path: Path) -> None:
    drive = shared_data / "semantickitti/sequences/40"
    expected = SemanticKittiDataset(shared_data / "semantickitti", ["40"]).frame(0)
    for part, ending in (("velodyne", "bin"), ("image_2", "png")):
        (tmp_path / "training" / part).mkdir(parents=True)
        place = tmp_path / "training" / part / f"000000.{ending}"
        place.symlink_to(drive / part / f"{expected.id.split('/')[1]}.{ending}")
    (tmp_path / "training/calib").mkdir()
    text = (drive / "calib.txt").read_text().replace("Tr:", "Tr_velo_to_cam:")
    (tmp_path / "training/calib/000000.txt").write_text(f"{text}\nR0_rect: 1 0 0 0 1 0 0 0 1\n")
    frame = KittiDataset(tmp_path, "all").frame(0)
    np.testing.assert_array_equal(frame.points, expected.points)
    np.testing.assert_array_equal(frame.cameras[0].intrinsics, expected.cameras[0].intrinsics)
    np.testing.assert_allclose(
        frame.cameras[0].camera_from_lidar, expected.cameras[0].camera_from_lidar, atol=1e-15
    )


def test_boxes_are_the_labels_in_the_lidar_frame(root: Path) -> None:
    """Carried back through Tr and R0 the corners are those of the file's numbers."""
    path = root / "training/label_2/000007.txt"
    path.parent.mkdir()
    path.write_text(
        "Car 0 0 0 50 5 80 30 1.5 1.7 4.0 2.0 1.6 20.0 0.3\n"
        "DontCare -1 -1 -10 0 0 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n"
        "Van 0 2 0 50 5 80 30 2.1 1.9 5.0 -3.0 1.7 30.0 -1.2\n"
    )
    dataset = KittiDataset(root)
    boxes = dataset.boxes(1)
    assert (boxes.names, boxes.points) == (("Car", "Van"), None)
    assert dataset.objects(1).names == ("Car", "DontCare", "Van")
    np.testing.assert_allclose(boxes.rows[:, 3:6], [[4.0, 1.7, 1.5], [5.0, 1.9, 2.1]])
    centres = (R0 @ (TR[:, :3] @ boxes.rows[:, :3].T + TR[:, 3:])).T
    np.testing.assert_allclose(centres, [[2, 1.6 - 0.75, 20], [-3, 1.7 - 1.05, 30]], atol=1e-12)
    headings = np.stack([np.cos(boxes.rows[:, 6]), np.sin(boxes.rows[:, 6]), [0, 0]])
    headings = (R0 @ TR[:, :3] @ headings).T
    expected = [[np.cos(a), 0, -np.sin(a)] for a in (0.3, -1.2)]
    np.testing.assert_allclose(headings, expected, atol=3e-3)  # a lean of 0.02 tilts, not turns
    with pytest.raises(FrameError, match=r"000000.txt: No such file.*restore"):
        dataset.boxes(0)
