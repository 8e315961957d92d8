"""RELLIS-3D on a tree in its layout, with the numbers of its example's calibration: lists, classes,
no-returns, intensities, both LiDARs, camera, times and poses."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clever.cache.projection import visible_pairs
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.datasets.base import label_ids
from clever.pipeline.datasets.rellis3d import Rellis3dDataset
from clever.pipeline.evaluate import evaluate
from clever.pipeline.settings.evaluate import EvaluateSettings

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

OFFICIAL = {
    0: 0, 1: 0, 3: 1, 4: 2, 5: 3, 6: 4, 7: 0, 8: 5, 9: 0, 10: 0, 12: 0, 15: 6, 17: 7, 18: 8,
    19: 9, 23: 10, 27: 11, 31: 12, 33: 13, 34: 14,
}  # fmt: skip
"""The authors' rellis.yaml: class number of a raw id, 0 ignored."""
SEAL = {
    0: 0, 1: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 9, 12: 10, 15: 11, 17: 12, 18: 13,
    19: 14, 23: 15, 27: 16, 31: 17, 33: 18, 34: 19,
}  # fmt: skip
SCANS = {"train": ("00000/000000", "00000/000001", "00004/000007"), "val": ("00001/000000",),
         "test": ("00002/000000",)}  # fmt: skip
Q = (-0.50507811, 0.51206185, 0.49024953, -0.49228464)
T = (-0.13165462, 0.03870398, -0.17253834)
VEL_Q = (0.00018954284517174916, 0.00021657374105704352, -0.0001811754269666679, 0.9999999421723929)
VEL_T = (-0.25209722874775564, 0.0010963734677045065, -0.09197253613570998)
LENS = (-0.134313, -0.025905, 0.002181, 0.00084, 0.0)
SIZE = (192, 120)
"""A tenth of the camera's."""
K = (281.3643, 280.8326, 96.9286, 62.405)


def transform(q: tuple[float, ...], t: tuple[float, ...]) -> np.ndarray:
    """(4, 4) of w, x, y, z and a translation."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([*q[1:], q[0]]).as_matrix()
    matrix[:3, 3] = t
    return matrix


def yaml_of(key: str, q: tuple[float, ...], t: tuple[float, ...]) -> str:
    parts = zip("wxyz", q, strict=True), zip("xyz", t, strict=True)
    lines = [f"    {axis}: {value!r}" for axis, value in parts[0]]
    places = [f"    {axis}: {value!r}" for axis, value in parts[1]]
    return "\n".join([f"{key}:", "  q:", *lines, "  t:", *places, ""])


def write_scan(root: Path, scan: str, prefix: str, rng: np.random.Generator, full: float) -> None:
    """300 points, the first of every ten no return, whose label is 0 as in the release."""
    sequence, number = scan.split("/")
    cloud = root / sequence / f"{prefix}_cloud_node_kitti_bin/{number}.bin"
    rows = write_sweep(cloud, rng, full=full)
    rows[::10, :3] = 0
    rows.tofile(cloud)
    labels = root / sequence / f"{prefix}_cloud_node_semantickitti_label_id/{number}.label"
    write_labels(labels, rng, tuple(OFFICIAL), 300)
    raw = np.fromfile(labels, "<u4")
    raw[::10] = 0
    raw.tofile(labels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng, root = np.random.default_rng(0), tmp_path / "Rellis-3D"
    for split, scans in SCANS.items():
        lines = []
        for scan in scans:
            sequence, number = scan.split("/")
            write_scan(root, scan, "os1", rng, 0.0115)
            write_scan(root, scan, "vel", rng, 255)
            image = f"frame{number}-1581624663_{149 + int(number)}.jpg"
            write_image(root / sequence / "pylon_camera_node" / image, rng, SIZE)
            lines.append(
                f"{sequence}/os1_cloud_node_kitti_bin/{number}.bin "
                f"{sequence}/os1_cloud_node_semantickitti_label_id/{number}.label\n"
            )
        (root / f"pt_{split}.lst").write_text("".join(lines))
    for sequence in ("00000", "00001", "00002", "00004"):
        folder = root / "Rellis_3D_cam_intrinsic/Rellis-3D" / sequence
        folder.mkdir(parents=True)
        (folder / "camera_info.txt").write_text(" ".join(map(str, K)))
        (root / sequence / "transforms.yaml").write_text(
            yaml_of("os1_cloud_node-pylon_camera_node", Q, T)
        )
    (root / "vel2os1.yaml").write_text(yaml_of("vel2os1", VEL_Q, VEL_T))
    return root


def cloud_of(root: Path, scan: str, prefix: str = "os1") -> np.ndarray:
    sequence, number = scan.split("/")
    path = root / sequence / f"{prefix}_cloud_node_kitti_bin/{number}.bin"
    return np.fromfile(path, "<f4").reshape(-1, 4)


def test_splits_follow_the_lists(root: Path) -> None:
    for split, scans in SCANS.items():
        dataset = Rellis3dDataset(root, split)
        assert dataset.frame_ids == list(scans)
        assert {dataset.frame(index).split for index in range(len(dataset))} == {split}
        check_any(dataset)
    every = Rellis3dDataset(root, "all")
    assert every.frame_ids == [scan for scans in SCANS.values() for scan in scans]
    assert [every.split_of(index) for index in (0, 3, 4)] == ["train", "val", "test"]
    assert every.scenes == ["00000", "00000", "00004", "00001", "00002"]


def test_no_returns_go_with_their_labels(root: Path) -> None:
    dataset, raw = Rellis3dDataset(root), cloud_of(root, "00004/000007")
    hits = np.arange(300) % 10 > 0
    points, labels = dataset.points(2), dataset.labels(2)
    np.testing.assert_array_equal(points[:, :3], raw[hits, :3])
    path = root / "00004/os1_cloud_node_semantickitti_label_id/000007.label"
    numbers = np.array([OFFICIAL[int(value)] for value in np.fromfile(path, "<u4") & 0xFFFF])[hits]
    np.testing.assert_array_equal(labels, np.where(numbers == 0, IGNORE, numbers - 1))
    raw[5, :3] = (0, 0, 1)  # on an axis, yet a return
    raw.tofile(root / "00004/os1_cloud_node_kitti_bin/000007.bin")
    assert len(dataset.points(2)) == len(dataset.labels(2)) == 270


def test_intensity_of_either_lidar(root: Path) -> None:
    hits = np.arange(300) % 10 > 0
    ouster = cloud_of(root, "00000/000001")[hits, 3]
    np.testing.assert_allclose(
        Rellis3dDataset(root).points(1)[:, 3], np.tanh(ouster / 0.01), rtol=1e-5
    )
    raw = Rellis3dDataset(root, intensity_scale="1").points(1)[:, 3]
    np.testing.assert_allclose(raw, ouster, rtol=1e-4)  # the tanh of a hundredth
    velodyne = cloud_of(root, "00000/000001", "vel")[hits]
    dataset = build_dataset("rellis3d", root, options={"lidar": "velodyne"})
    np.testing.assert_allclose(dataset.points(1)[:, 3], velodyne[:, 3] / 255, rtol=1e-6)
    np.testing.assert_array_equal(dataset.points(1)[:, :3], velodyne[:, :3])
    check_any(dataset)


@pytest.mark.parametrize(("classes", "table"), [("official", OFFICIAL), ("seal", SEAL)])
def test_classes_follow_the_published_maps(root: Path, classes: str, table: dict[int, int]) -> None:
    whole = cloud_of(root, "00000/000000")
    whole[::10] = whole[1::10]  # without no-returns every row has a label
    whole.tofile(root / "00000/os1_cloud_node_kitti_bin/000000.bin")
    dataset = build_dataset("rellis3d", root, options={"classes": classes})
    path = root / "00000/os1_cloud_node_semantickitti_label_id/000000.label"
    check_table(dataset, table, path)
    assert [table[raw] for raw in label_ids(dataset, dataset.class_names)] == [
        *range(1, len(dataset.class_names) + 1)
    ]
    names = {3: "grass", 4: "tree", 17: "person", 23: "concrete", 34: "rubble"}
    assert {raw: dataset.class_names[table[raw] - 1] for raw in names} == names
    np.full(300, 2, "<u4").tofile(path)
    with pytest.raises(FrameError, match=r"^frame 00000/000000: .* unknown label ids \[2\]"):
        dataset.labels(0)


def project(points: np.ndarray, camera_from_lidar: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 3) by OpenCV's five coefficients, written out."""
    x, y, z = (points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]).T
    a, b = x / z, y / z
    k1, k2, p1, p2, k3 = LENS
    s = a * a + b * b
    radial = 1 + k1 * s + k2 * s**2 + k3 * s**3
    u = a * radial + 2 * p1 * a * b + p2 * (s + 2 * a * a)
    v = b * radial + p1 * (s + 2 * b * b) + 2 * p2 * a * b
    return np.column_stack([K[0] * u + K[2], K[1] * v + K[3]])


def test_points_reach_the_image_through_the_inverse_and_the_lens(root: Path) -> None:
    frame = Rellis3dDataset(root, "all").frame(0)
    (camera,) = frame.cameras
    expected = np.linalg.inv(transform(Q, T))
    np.testing.assert_allclose(camera.camera_from_lidar, expected, atol=1e-12)
    # The Ouster is mounted turned by half a turn: the camera looks against its x axis.
    assert (camera.camera_from_lidar @ [-10, 0, 0, 1])[2] > 9.5
    pairs = visible_pairs(frame, 1.0, 1.0, "none")
    assert len(pairs.point) > 10
    points = frame.points[pairs.point.astype(int), :3].astype(np.float64)
    np.testing.assert_allclose(pairs.uv, project(points, expected), atol=1e-3)


def test_the_velodyne_goes_through_the_ouster(root: Path) -> None:
    frame = Rellis3dDataset(root, lidar="velodyne").frame(0)
    expected = np.linalg.inv(transform(Q, T)) @ transform(VEL_Q, VEL_T)
    np.testing.assert_allclose(frame.cameras[0].camera_from_lidar, expected, atol=1e-12)
    # The camera looks along the Velodyne's x axis.
    assert (frame.cameras[0].camera_from_lidar @ [10, 0, 0, 1])[2] > 9.5


def test_images_are_matched_by_number_and_give_the_time(root: Path) -> None:
    frame = Rellis3dDataset(root).frame(2)
    folder = root / "00004/pylon_camera_node"
    assert frame.cameras[0].image == folder / "frame000007-1581624663_156.jpg"
    assert frame.timestamp == 1_581_624_663_156_000
    assert (frame.cameras[0].width, frame.cameras[0].height) == SIZE


def test_poses_are_those_of_the_ouster(root: Path) -> None:
    rows = np.tile(np.eye(4)[:3].ravel(), (8, 1))
    rows[:, 3] = np.arange(8) * 0.5
    np.savetxt(root / "00004/poses.txt", rows)
    frame = Rellis3dDataset(root).frame(2)
    np.testing.assert_array_equal(frame.global_from_lidar[:3, 3], [3.5, 0, 0])
    velodyne = Rellis3dDataset(root, lidar="velodyne").frame(2)
    np.testing.assert_allclose(
        velodyne.global_from_lidar, frame.global_from_lidar @ transform(VEL_Q, VEL_T), atol=1e-12
    )
    np.testing.assert_array_equal(Rellis3dDataset(root).frame(0).global_from_lidar, np.eye(4))
    np.savetxt(root / "00004/poses.txt", rows[:7])
    with pytest.raises(FrameError, match=r"^frame 00004/000007: .*poses\.txt has 7 lines, none"):
        Rellis3dDataset(root).frame(2)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": "half"}, "rellis3d has no split 'half'; choose train, val, test or all"),
        ({"lidar": "os0"}, "`dataset_option=lidar=os0` is none of ouster and velodyne"),
        ({"classes": "20"}, "`dataset_option=classes=20` is none of official and seal"),
    ],
)
def test_a_wrong_choice_is_one_line(root: Path, options: dict[str, str], line: str) -> None:
    with pytest.raises(CleverError, match=line) as error:
        Rellis3dDataset(root, **options)
    one_line(error)


def test_lists_that_lack_or_are_damaged_are_one_line(root: Path) -> None:
    train = (root / "pt_train.lst").read_text()
    (root / "pt_val.lst").write_text(train)
    with pytest.raises(
        CleverError, match=r"pt_val\.lst line 1: frame 00000/000000 is listed twice"
    ):
        Rellis3dDataset(root, "all")
    for text in ("00000/000000.bin 00000/000000.label\n", "\n00000/os1_x/000000.bin\n"):
        (root / "pt_val.lst").write_text(text)
        number = text.count("\n")
        with pytest.raises(
            CleverError, match=rf"pt_val\.lst line {number} is not SEQUENCE/os1_cloud"
        ) as error:
            Rellis3dDataset(root, "val")
        one_line(error)
    (root / "pt_val.lst").unlink()
    with pytest.raises(
        CleverError, match=r"cannot read the list .*pt_val\.lst: No such file .* Ouster LiDAR Split"
    ) as error:
        Rellis3dDataset(root, "val")
    one_line(error)
    assert len(Rellis3dDataset(root)) == 3


BAD = {
    r"no image frame000000-\*\.jpg in .*00000/pylon_camera_node; restore": (
        "00000/pylon_camera_node/frame000000-1581624663_149.jpg", None
    ),
    "several images frame0000-7_0.jpg, frame000000-1581624663_149.jpg in": (
        "00000/pylon_camera_node/frame0000-7_0.jpg", ""
    ),
    "no transforms.yaml of its sequence under .*; unpack": ("00000/transforms.yaml", None),
    "calibration .*transforms.yaml has no os1_cloud_node-pylon_camera_node with q": (
        "00000/transforms.yaml", yaml_of("other", Q, T)
    ),
    "calibration .*transforms.yaml is no YAML": ("00000/transforms.yaml", "a: [1\nb"),
    "calibration .*transforms.yaml has a quaternion q that has the length 2, not 1": (
        "00000/transforms.yaml", yaml_of("os1_cloud_node-pylon_camera_node", (2, 0, 0, 0), T)
    ),
    "calibration .*transforms.yaml has a translation t that is not finite": (
        "00000/transforms.yaml",
        yaml_of("os1_cloud_node-pylon_camera_node", Q, T).replace("-0.17253834", ".nan"),
    ),
    "calibration .*camera_info.txt has 3 numbers, not 4": (
        "Rellis_3D_cam_intrinsic/Rellis-3D/00000/camera_info.txt", "1 2 3"
    ),
    "cannot read calibration .*camera_info.txt: Is a directory": (
        "Rellis_3D_cam_intrinsic/Rellis-3D/00000/camera_info.txt", "folder"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_file_loses_its_frame(root: Path, reason: str) -> None:
    name, text = BAD[reason]
    (root / name).unlink(missing_ok=True)
    if text == "folder":
        (root / name).mkdir()
    elif text is not None:
        (root / name).write_text(text)
    dataset = Rellis3dDataset(root)
    with pytest.raises(FrameError, match=f"^frame 00000/000000: {reason}") as error:
        dataset.frame(0)
    one_line(error)
    assert dataset.frame(2).id == "00004/000007"
    assert len(dataset.points(0)) == 270


def test_cache_and_probe(root: Path, tmp_path: Path) -> None:
    cache = tiny_cache("rellis3d", root, tmp_path / "x.zarr", split="train")
    assert list(cache.ids) == list(SCANS["train"])
    assert len(cache[0].points) == 270
    assert len(cache[0].pair_point)
    result = tiny_probe("rellis3d", root, tmp_path / "run", dataset_option="classes=seal")
    assert (result.frames, result.mean, len(result.iou)) == (1, "all", 19)
    official = {"checkpoint": tmp_path / "run", "data_root": root, "device": "cpu"}
    with pytest.raises(
        CleverError, match="classes of rellis3d with other options; give the `dataset_option` of"
    ):
        evaluate(EvaluateSettings.resolve(None, official))
