"""The KITTI odometry adapter on tiny drives and on the real one: order, splits, values, bad
input."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clever.cache.images import load_image
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset

# raw id -> class number of the benchmark's own table (0: unlabelled; the dataset counts from 0 and
# ignores that one)
LEARNING_MAP = {
    0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 7, 32: 8, 40: 9,
    44: 10, 48: 11, 49: 12,
    50: 13, 51: 14, 52: 0, 60: 9, 70: 15, 71: 16, 72: 17, 80: 18, 81: 19, 99: 0, 252: 1, 253: 7,
    254: 6, 255: 8,
    256: 5, 257: 5, 258: 4, 259: 5,
}  # fmt: skip


def file(root: Path, part: str, frame: str = "00/000000") -> Path:
    sequence, number = frame.split("/")
    ending = {"velodyne": "bin", "labels": "label", "image_2": "png"}[part]
    return root / "sequences" / sequence / part / f"{number}.{ending}"


def one_line(error: pytest.ExceptionInfo[CleverError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_splits_sequences_and_order(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"10": 1, "00": 2, "08": 1, "40": 2, "11": 1}, points=10)
    assert SemanticKittiDataset(root).frame_ids == ["00/000000", "00/000001", "10/000000"]
    assert SemanticKittiDataset(root, split="val").frame_ids == ["08/000000"]
    assert list(dict.fromkeys(SemanticKittiDataset(root, split="all").scenes)) == [
        "00",
        "08",
        "10",
        "11",
        "40",
    ]
    subset = SemanticKittiDataset(root, ["40", "8", "08"], split="train")
    assert subset.frame_ids == ["40/000000", "40/000001", "08/000000"]
    assert subset.scenes == ["40", "40", "08"]
    assert SemanticKittiDataset(root, [], split="val").frame_ids == ["08/000000"]
    inner = SemanticKittiDataset(root / "sequences", ["40"])
    np.testing.assert_array_equal(inner.points(1), subset.points(1))


def test_frames_know_their_split(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 1, "08": 1, "21": 1, "40": 1}, points=10)
    dataset = SemanticKittiDataset(root, split="all")
    splits = {dataset.scenes[index]: dataset.frame(index).split for index in range(4)}
    assert splits == {"00": "train", "08": "val", "21": "test", "40": ""}
    assert SemanticKittiDataset(root, split="test").frame_ids == ["21/000000"]


def test_a_frame_holds_what_the_files_hold(kitti_root: Path) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    frame = dataset.frame(2)
    assert (frame.id, frame.scene, frame.timestamp) == ("00/000002", "00", 400_000)
    raw = np.fromfile(file(kitti_root, "velodyne", frame.id), np.float32).reshape(-1, 4)
    assert frame.points.dtype == np.float32
    np.testing.assert_array_equal(frame.points, raw)
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))
    (camera,) = frame.cameras
    assert dataset.cameras == (camera.name,)
    assert camera.image == file(kitti_root, "image_2", frame.id)
    assert (camera.width, camera.height) == (124, 38)


def test_p2_is_taken_apart_exactly(kitti_root: Path) -> None:
    (camera,) = SemanticKittiDataset(kitti_root).frame(0).cameras
    p2 = np.array([[72, 0, 60, 4.5], [0, 72, 20, 0.2], [0, 0, 1, 0.003]])
    tr = np.array([[0, -1, 0, -0.01], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])
    np.testing.assert_array_equal(camera.intrinsics, p2[:, :3])
    np.testing.assert_allclose(
        camera.intrinsics @ camera.camera_from_lidar[:3], p2 @ tr, rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(camera.camera_from_lidar[:3, :3], tr[:3, :3])
    assert camera.camera_from_lidar[3].tolist() == [0, 0, 0, 1]
    # 4.5 = 72 tx + 60 tz with tz = 0.003, then camera 0 <- LiDAR
    np.testing.assert_allclose(
        camera.camera_from_lidar[:3, 3], [0.06 - 0.01, 0.14 / 72 - 0.08, 0.003 - 0.27], rtol=1e-12
    )


def test_poses_lead_from_lidar_through_camera_0(write_kitti: Callable[..., Path]) -> None:
    dataset = SemanticKittiDataset(write_kitti({"00": 3}, poses=True))
    # camera 0 of frame 2 stands at (0.2, 0, 2) and is turned 0.04 rad about y; a LiDAR point 10.27
    # m ahead of the sensor, 0.01 m to the right and 0.08 m down lies 10 m straight ahead of camera
    # 0
    world = dataset.frame(2).global_from_lidar @ [10.27, -0.01, -0.08, 1]
    np.testing.assert_allclose(
        world, [0.2 + 10 * np.sin(0.04), 0, 2 + 10 * np.cos(0.04), 1], rtol=0, atol=1e-9
    )
    assert not np.allclose(dataset.frame(2).global_from_lidar, dataset.frame(1).global_from_lidar)


def test_frames_lie_a_tenth_of_a_second_apart_without_times(kitti_root: Path) -> None:
    (kitti_root / "sequences/00/times.txt").unlink()
    for part in ("velodyne", "image_2"):
        file(kitti_root, part, "00/000001").unlink()
    dataset = SemanticKittiDataset(kitti_root)
    assert [dataset.frame(index).timestamp for index in range(2)] == [
        0,
        200_000,
    ]  # the frame number counts


def test_labels_follow_the_benchmark_map(kitti_root: Path) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    raw = np.fromfile(file(kitti_root, "labels"), "<u4")
    assert raw.max() > 0xFFFF  # instances in the upper half
    raw[: len(LEARNING_MAP)] = list(LEARNING_MAP)
    raw.tofile(file(kitti_root, "labels"))
    classes = np.array([LEARNING_MAP[int(value)] for value in raw & 0xFFFF])
    labels = dataset.labels(0)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(classes == 0, IGNORE, classes - 1))
    assert len(dataset.class_names) == 19
    names = {
        10: "car",
        31: "bicyclist",
        40: "road",
        60: "road",
        72: "terrain",
        81: "traffic-sign",
        258: "truck",
    }
    assert {raw: dataset.class_names[LEARNING_MAP[raw] - 1] for raw in names} == names


def test_images_labels_and_calibration_may_be_missing(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"00": 1}, images=False, labels=False)
    dataset = SemanticKittiDataset(root)
    assert dataset.points(0).shape == (400, 4)
    assert not dataset.has_labels(0)
    with pytest.raises(
        FrameError, match=r"^frame 00/000000: cannot read .*labels/000000\.label: No such file"
    ):
        dataset.labels(0)
    with pytest.raises(FrameError, match=r"^frame 00/000000: no image .*image_2/000000\.png"):
        dataset.frame(0)
    (root / "sequences/00/calib.txt").unlink()
    with pytest.raises(
        FrameError,
        match=r"^frame 00/000000: cannot read calibration .*calib\.txt: No such file.*; put it ",
    ):
        dataset.frame(0)
    assert dataset.points(0).shape == (400, 4)


def test_hidden_files_are_no_sweeps(kitti_root: Path) -> None:
    """macOS leaves such a file beside every file on a foreign disk."""
    frames = SemanticKittiDataset(kitti_root).frame_ids
    (kitti_root / "sequences/00/velodyne/._000000.bin").write_bytes(b"Mac OS X")
    assert SemanticKittiDataset(kitti_root).frame_ids == frames


BAD_SWEEPS = {
    "is empty": lambda data: b"",
    "has 1001 bytes, no multiple of 16": lambda data: data[:1001],
    "holds NaN or infinite": lambda data: np.float32(np.nan).tobytes() + data[4:],
    "has intensities from .* to 1.5, expected 0 to 1": lambda data: (
        data[:12] + np.float32(1.5).tobytes() + data[16:]
    ),
    r"holds NaN or infinite values: 1 of 400 points, .* point 2, in its intensity": lambda data: (
        data[:44] + np.float32(np.nan).tobytes() + data[48:]
    ),
    "is big-endian float32": lambda data: np.frombuffer(data, "<f4").astype(">f4").tobytes(),
    "is int32": lambda data: (
        (np.frombuffer(data, "<f4").reshape(-1, 4) * np.array([1000, 1000, 1000, 1], np.float32))
        .astype("<i4")
        .tobytes()
    ),
    "is float64": lambda data: np.frombuffer(data, "<f4").astype("<f8").tobytes(),
    r"has coordinates up to \d{5} m, and half of its points lie beyond \d{5} m": lambda data: (
        np.frombuffer(data, "<f4").reshape(-1, 4) * np.array([1000, 1000, 1000, 1], np.float32)
    ).tobytes(),
    r"has 1 of 400 points more than 1638.4 m .* point 0, at 1e\+30 m": lambda data: (
        np.float32(1e30).tobytes() + data[4:]
    ),
    "has 1 of 400 points more than 1638.4 m .* point 0, at 9000 m": lambda data: (
        np.float32(-9000).tobytes() + data[4:]
    ),
    "is too small: its only point spans 0 m, a sweep at least 1 m": lambda data: data[:16],
    "is too small: its 2 points span 0 m": lambda data: 2 * data[:16],
    "has intensities from -0.5": lambda data: data[:12] + np.float32(-0.5).tobytes() + data[16:],
}


@pytest.mark.parametrize("reason", BAD_SWEEPS)
def test_bad_sweep_is_a_bad_frame(kitti_root: Path, reason: str) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    path = file(kitti_root, "velodyne")
    path.write_bytes(BAD_SWEEPS[reason](path.read_bytes()))
    for load in (dataset.points, dataset.frame):
        with pytest.raises(
            FrameError, match=rf"^frame 00/000000: .*velodyne/000000\.bin {reason}"
        ) as error:
            load(0)
        one_line(error)
    assert dataset.frame(1).points.shape == (400, 4)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(399, "<u4").tobytes(), "holds 399 labels but the sweep has 400 points"),
        (np.zeros(400, "<u4").tobytes()[:-2], "holds 399.5 labels but the sweep has 400 points"),
        (np.full(400, 2, "<u4").tobytes(), r"holds unknown label ids \[2\]"),
        (np.full(400, 40, ">u4").tobytes(), "names no class .* of its uint32 numbers; it may be b"),
    ],
)
def test_bad_labels_are_a_bad_frame(kitti_root: Path, labels: bytes, reason: str) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    file(kitti_root, "labels").write_bytes(labels)
    assert dataset.has_labels(0)
    with pytest.raises(FrameError, match=rf"^frame 00/000000: .*000000\.label {reason}") as error:
        dataset.labels(0)
    one_line(error)


def test_calibration_in_a_tree_beside_the_sequences(kitti_root: Path, tmp_path: Path) -> None:
    root = kitti_root.rename(tmp_path / "dataset")
    (expected,) = SemanticKittiDataset(root).frame(0).cameras
    beside = tmp_path / "calib/dataset/sequences/00/calib.txt"
    beside.parent.mkdir(parents=True)
    (root / "sequences/00/calib.txt").rename(beside)
    for place in (root, root / "sequences"):
        (camera,) = SemanticKittiDataset(place).frame(0).cameras
        np.testing.assert_array_equal(camera.camera_from_lidar, expected.camera_from_lidar)
    # The one in the sequence's own folder wins.
    (root / "sequences/00/calib.txt").write_text("")
    with pytest.raises(FrameError, match=r"^frame 00/000000: calibration .*dataset/sequences/00/c"):
        SemanticKittiDataset(root).frame(0)


P2, TR = "P2: 72 0 60 4.5 0 72 20 0.2 0 0 1 0.003", "Tr: 0 -1 0 -0.01 0 0 -1 -0.08 1 0 0 -0.27"
HALF_TURN = "-1 0 0 0 -1 0 0 0 1"


@pytest.mark.parametrize(
    "text",
    [
        f"calib_time: 09-Jan-2012 13:57:47\n# odometry\n{P2}\n\n{TR} # velodyne\nword\nP1: a b",
        f"\ufeff{P2}\r\n{TR}\r\n",
        f"{P2}\nname: M\xfcller\n{TR}",
        f"{P2.replace(':', '')}\n{TR.replace(':', '')}",
        f"P_rect_02: {P2[4:]}\nP_rect_03: 1\n{TR}",
        f"{P2}\n{TR.replace('Tr', 'Tr_velo_to_cam')}\nR0_rect: 1 0 0 0 1 0 0 0 1",
        f"{P2}\nR_rect 1 0 0 0 1 0 0 0 1\nTr_velo_cam {TR[4:]}",
        f"{P2}\n{TR}\nR0_rect: {HALF_TURN}\nTr_velo_to_cam: 1",  # Tr is rectified already
        f"{P2}\n{TR}\n{TR}",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_only_what_is_needed_of_a_calibration_counts(
    kitti_root: Path, text: str, encoding: str
) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    (expected,) = dataset.frame(0).cameras
    path = kitti_root / "sequences/00/calib.txt"
    path.write_bytes(text.encode("utf-8" if "\ufeff" in text else encoding))
    (camera,) = dataset.frame(0).cameras
    np.testing.assert_array_equal(camera.intrinsics, expected.intrinsics)
    np.testing.assert_array_equal(camera.camera_from_lidar, expected.camera_from_lidar)


def test_rectification_turns_what_is_not_rectified(kitti_root: Path) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    (before,) = dataset.frame(0).cameras
    text = f"{P2}\nR0_rect: {HALF_TURN}\n{TR.replace('Tr', 'Tr_velo_cam')}"
    (kitti_root / "sequences/00/calib.txt").write_text(text)
    (camera,) = dataset.frame(0).cameras
    offset = np.array([0.06, 0.14 / 72, 0.003])  # of camera 2, as P2's last column says
    turned = np.diag([-1, -1, 1]) @ (before.camera_from_lidar[:3, 3] - offset)
    np.testing.assert_allclose(camera.camera_from_lidar[:3, 3], turned + offset, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TR, "it has no P2 or P_rect_02, the projection of camera 2; take the file from"),
        (P2, "it has no Tr or Tr_velo_cam or Tr_velo_to_cam, the place of the LiDAR in camera 0"),
        (
            f"{P2}\n{TR.replace('Tr', 'Tr_velo_to_cam')}",
            "it has no R0_rect or R_rect or R_rect_00, the rectification that Tr_velo_to_cam needs",
        ),
        (f"{P2} 1\n{TR}", "its P2 has 13 numbers, not 12"),
        (f"{P2}\n{TR}\nTr: 1 0 0 0 0 1 0 0 0 0 1 0", "it has several Tr"),
        (f"{P2}\n{TR.replace('-1', '-2')}", "its transform from the LiDAR does not rotate"),
        (f"{P2}\n{TR.replace(' -1 0 ', ' 1 0 ')}", "its transform from the LiDAR is a reflection"),
    ],
)
def test_what_a_calibration_lacks_is_named(kitti_root: Path, text: str, reason: str) -> None:
    (kitti_root / "sequences/00/calib.txt").write_text(text)
    with pytest.raises(FrameError, match=rf"00/calib\.txt: {reason}") as error:
        SemanticKittiDataset(kitti_root).frame(0)
    one_line(error)


@pytest.mark.parametrize("size", [(62, 19), (248, 76), (124, 84)])
def test_images_of_another_size_than_the_calibrations(
    kitti_root: Path, size: tuple[int, int]
) -> None:
    image = file(kitti_root, "image_2")
    with Image.open(image) as picture:
        picture.resize(size).save(image)
    dataset = SemanticKittiDataset(kitti_root)
    with pytest.raises(
        FrameError,
        match=rf"^frame 00/000000: calibration .*calib\.txt does not fit {image}: its principal "
        rf"point \(60, 20\) lies outside the middle half of its image of {size[0]}x{size[1]}",
    ) as error:
        dataset.frame(0)
    one_line(error)
    assert dataset.frame(1).id == "00/000001"


def test_numbers_of_sequences_and_frames_need_no_padding(write_kitti: Callable[..., Path]) -> None:
    root = write_kitti({"8": 11, "9": 1}, points=10)
    for path in (root / "sequences/8").glob("*/*"):
        path.rename(path.with_name(f"{int(path.stem)}{path.suffix}"))
    dataset = SemanticKittiDataset(root, ["08"])
    assert dataset.frame_ids == [f"8/{number}" for number in range(11)]
    assert dataset.frame(10).timestamp == 2_000_000
    assert dataset.frame(10).split == "val"
    assert SemanticKittiDataset(root, split="val").frame_ids == dataset.frame_ids
    assert SemanticKittiDataset(root, split="train").scenes == ["9"]
    write_kitti({"08": 1}, points=10)
    with pytest.raises(CleverError, match=r"sequence 008 may be 08 or 8: .* as its folder"):
        SemanticKittiDataset(root, ["008"])
    write_kitti({"008": 1}, points=10)
    assert SemanticKittiDataset(root, ["8", "008"]).scenes == ["8"] * 11 + ["008"]
    assert SemanticKittiDataset(root, split="val").scenes == ["008", "08"] + ["8"] * 11
    with pytest.raises(CleverError, match=r"sequence 0008 may be 008 or 08 or 8: .* as its folder"):
        SemanticKittiDataset(root, ["0008"])


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("velodyne", "cannot read .*000000.bin: Is a directory"),
        ("image_2", "cannot read image .*000000.png: it is a folder"),
        ("labels", "cannot read .*000000.label: Is a directory"),
    ],
)
def test_a_folder_where_a_file_is_meant(kitti_root: Path, part: str, reason: str) -> None:
    path = file(kitti_root, part)
    path.unlink()
    path.mkdir()
    dataset = SemanticKittiDataset(kitti_root)
    with pytest.raises(FrameError, match=rf"^frame 00/000000: {reason}") as error:
        dataset.labels(0) if part == "labels" else dataset.frame(0)
    one_line(error)
    assert len(dataset.frame(1).points) == len(dataset.labels(1)) == 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P2: 1 2 3\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n",
        "P2: 72 0 60 4 0 72 20 0 0 0 1 0\n",
        "P2: 72 0 60 4 0 72 20 0 0 0 1 a\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n",
        "P2: 0 0 0 0 0 0 0 0 0 0 0 0\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n",
        "P2: 72 0 60 4 0 72 20 0 0 0 1 0\nTr: nan 0 0 0 0 1 0 0 0 0 1 0\n",
    ],
)
def test_bad_calibration_is_a_bad_frame(kitti_root: Path, text: str) -> None:
    dataset = SemanticKittiDataset(kitti_root)
    (kitti_root / "sequences/00/calib.txt").write_text(text)
    with pytest.raises(FrameError, match=r"^frame 00/000000: calibration .*00/calib\.txt") as error:
        dataset.frame(0)
    one_line(error)


def test_damaged_image_is_a_bad_frame(kitti_root: Path) -> None:
    file(kitti_root, "image_2").write_bytes(b"no picture")
    with pytest.raises(
        FrameError, match=r"^frame 00/000000: cannot read image .*image_2/000000\.png"
    ) as error:
        SemanticKittiDataset(kitti_root).frame(0)
    one_line(error)


@pytest.mark.parametrize("name", ["times", "poses"])
def test_short_times_or_poses_lose_only_the_frames_beyond(
    write_kitti: Callable[..., Path], name: str
) -> None:
    root = write_kitti({"00": 3}, poses=True)
    path = root / f"sequences/00/{name}.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    dataset = SemanticKittiDataset(root)
    assert dataset.frame(1).id == "00/000001"
    with pytest.raises(
        FrameError, match=rf"^frame 00/000002: .*{name}\.txt has 2 lines, none for this frame"
    ) as error:
        dataset.frame(2)
    one_line(error)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0", r"has 2 numbers, not \d+"),
        ("", r"has 0 numbers, not \d+"),
        ("\xe9", r"has 1 numbers, not 12|holds what is no number"),
        ("nan", r"has 1 numbers, not 12|holds NaN or infinity"),
        ("0 " * 12, "has 12 numbers, not 1|is singular"),
        ("nan " * 12, "has 12 numbers, not 1|holds NaN or infinity"),
        ("2 0 0 0 0 2 0 0 0 0 2 0", "has 12 numbers, not 1|does not rotate"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "has 12 numbers, not 1|is a reflection"),
    ],
)
@pytest.mark.parametrize("name", ["times", "poses"])
def test_a_bad_line_of_times_or_poses_loses_its_frame(
    write_kitti: Callable[..., Path], name: str, line: str, reason: str
) -> None:
    root = write_kitti({"00": 3}, poses=True)
    path = root / f"sequences/00/{name}.txt"
    first, _, last = path.read_text().splitlines()
    path.write_bytes(f"{first}\n{line}\n{last}\n".encode("latin-1"))
    dataset = SemanticKittiDataset(root)
    with pytest.raises(
        FrameError, match=rf"^frame 00/000001: .*00/{name}\.txt line 2 ({reason})"
    ) as error:
        dataset.frame(1)
    one_line(error)
    assert [dataset.frame(index).timestamp for index in (0, 2)] == [0, 400_000]


def test_what_is_not_there_is_named_beside_what_is(kitti_root: Path) -> None:
    with pytest.raises(CleverError, match=r"no sequence 40, 41: .* holds sequences 00, 08; choose"):
        SemanticKittiDataset(kitti_root, ["40", "00", "41"])
    with pytest.raises(CleverError, match="no split 'testing'; choose train, val, test or all"):
        SemanticKittiDataset(kitti_root, split="testing")
    with pytest.raises(CleverError, match="holds no KITTI sequence"):
        SemanticKittiDataset(kitti_root / "sequences/00/image_2")


def test_split_without_sequences_says_which_there_are(write_kitti: Callable[..., Path]) -> None:
    with pytest.raises(
        CleverError,
        match=r"no sequence of split 'val' \(08\): .* holds sequences 40; choose .* `split=all`",
    ):
        SemanticKittiDataset(write_kitti({"40": 1}), split="val")


def test_files_that_are_no_frames_are_named(kitti_root: Path) -> None:
    (kitti_root / "sequences/00/velodyne/copy of 000001.bin").write_bytes(b"")
    with pytest.raises(
        CleverError, match=r"velodyne/copy of 000001\.bin: the name is no frame number"
    ):
        SemanticKittiDataset(kitti_root)
    for path in (kitti_root / "sequences/08/velodyne").iterdir():
        path.unlink()
    with pytest.raises(CleverError, match=r"08/velodyne holds no \.bin file"):
        SemanticKittiDataset(kitti_root, split="val")


def test_pickled_dataset_reads_the_same(write_kitti: Callable[..., Path]) -> None:
    dataset = SemanticKittiDataset(write_kitti({"00": 3}, poses=True))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.frame(2).points, dataset.frame(2).points)
    np.testing.assert_array_equal(
        copy.frame(2).global_from_lidar, dataset.frame(2).global_from_lidar
    )


def test_real_drive_and_real_labels(shared_data: Path) -> None:
    root = shared_data / "semantickitti"
    drive = SemanticKittiDataset(root, ["40"])
    assert drive.frame_ids == [f"40/{number:06}" for number in range(39)]
    frames = [drive.frame(index) for index in (0, 38)]
    assert [frame.timestamp for frame in frames] == [0, 7_600_000]
    for frame in frames:
        assert load_image(frame.cameras[0].image).shape == (375, 1242, 3)
        assert (frame.cameras[0].width, frame.cameras[0].height) == (1242, 375)
        assert 70_000 <= len(frame.points) <= 114_500
    train, val = SemanticKittiDataset(root), SemanticKittiDataset(root, split="val")
    assert (len(train), len(val)) == (21, 5)
    for dataset in (train, val):
        assert all(dataset.has_labels(index) for index in range(len(dataset)))
        cloud, labels = dataset.points(0), dataset.labels(0)
        assert cloud.shape == (len(labels), 4)
        road = labels == dataset.class_names.index("road")
        trees = labels == dataset.class_names.index("vegetation")
        # the road is flat, 1.7 m below the sensor, and plants stand above it
        assert abs(np.median(cloud[road, 2]) + 1.73) < 0.3
        assert np.median(cloud[trees, 2]) > np.median(cloud[road, 2]) + 1
