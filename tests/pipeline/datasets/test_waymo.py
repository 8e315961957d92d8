"""Waymo segments written by the test: points, pairs, labels and cameras against compositions of its
own; every damaged file is one line."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.cache import FeatureCache
from clever.cache.images import load_image
from clever.cache.projection import project, visible_pairs
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE
from clever.pipeline.datasets.waymo import CLASSES, WaymoDataset
from clever.pipeline.datasets.waymo_range_images import Laser, points_of
from clever.pipeline.steps.labelled import labelled_indices

from .waymo_files import (
    CAMERA_POSES,
    EDGES,
    INTRINSICS,
    LASER_POSES,
    SEGMENT,
    SHAPES,
    SIZE,
    TOP_INCLINATIONS,
    Scripted,
    change_column,
    pa,
    pq,
    scripted_frame,
    write_segment,
)

ORDER = [(echo, laser) for echo in range(2) for laser in range(1, 6)]
"""First returns of all LiDARs, then second ones."""


@pytest.fixture
def frames() -> list[Scripted]:
    rng = np.random.default_rng(0)
    return [scripted_frame(rng, number, labelled=number != 1) for number in range(3)]


@pytest.fixture
def root(tmp_path: Path, frames: list[Scripted]) -> Path:
    return write_segment(tmp_path / "waymo", frames)


def file(root: Path, component: str) -> Path:
    return root / "training" / component / f"{SEGMENT}.parquet"


def one_line(dataset: WaymoDataset, index: int = 0) -> str:
    with pytest.raises(FrameError) as failure:
        dataset.frame(index)
    assert "\n" not in str(failure.value)
    assert failure.value.frame == dataset.frame_ids[index]
    return failure.value.reason


def matrix(roll: float, pitch: float, yaw: float, place: NDArray[Any]) -> NDArray[np.float64]:
    """(4, 4): turn about z, then y, then x."""
    result = np.eye(4)
    for axis, angle in (("z", yaw), ("y", pitch), ("x", roll)):
        result[:3, :3] = result[:3, :3] @ Rotation.from_euler(axis, angle).as_matrix()
    result[:3, 3] = place
    return result


def expected_points(frame: Scripted) -> NDArray[np.float64]:
    """(N, 4) pixel by pixel, by products of 4 x 4 matrices."""
    rows = []
    for echo, laser in ORDER:
        image, (height, width) = frame.ranges[laser][echo], SHAPES[laser]
        assert image is not None
        step = (EDGES[1] - EDGES[0]) / height
        spread = [EDGES[1] - step / 2, EDGES[1] - 3 * step / 2, EDGES[1] - 5 * step / 2]
        inclinations = TOP_INCLINATIONS[::-1] if laser == 1 else spread
        turn = Rotation.from_matrix(LASER_POSES[laser][:3, :3]).as_euler("ZYX")[0]
        for i in range(height):
            for j in range(width):
                distance, intensity = image[i, j, :2].astype(float)
                if distance <= 0:
                    continue
                # Column by column from the back over the left to the front and the right.
                azimuth = np.radians(180 - (j + 0.5) * 360 / width) - turn
                aim = matrix(0, -inclinations[i], azimuth, np.zeros(3))
                point = LASER_POSES[laser] @ aim @ [distance, 0, 0, 1]
                if laser == 1:
                    roll, pitch, yaw, *place = frame.pixel_poses[i, j].astype(float)
                    measured = matrix(roll, pitch, yaw, np.array(place))
                    point = np.linalg.solve(frame.world_from_vehicle, measured @ point)
                rows.append([*point[:3], np.tanh(intensity)])
    return np.array(rows)


def valid(frame: Scripted, images: dict[int, list[NDArray[Any] | None]]) -> NDArray[Any]:
    """(N, channels) of other images at the pixels that are points."""
    parts = []
    for echo, laser in ORDER:
        ranges, image = frame.ranges[laser][echo], images[laser][echo]
        assert ranges is not None
        assert image is not None
        parts.append(image[ranges[..., 0] > 0])
    return np.concatenate(parts)


def test_points_of_all_lidars_and_returns(root: Path, frames: list[Scripted]) -> None:
    dataset = WaymoDataset(root)
    for index, frame in enumerate(frames):
        points, expected = dataset.points(index), expected_points(frame)
        assert points.dtype == np.float32
        assert len(points) == len(expected) > 250
        np.testing.assert_allclose(points[:, :3], expected[:, :3], atol=2e-4)
        np.testing.assert_allclose(points[:, 3], expected[:, 3], atol=1e-6)
        np.testing.assert_array_equal(dataset.frame(index).points, points)


def test_a_range_image_of_known_points() -> None:
    """Points on a grid of angles, put into the pixels that the model says, come back."""
    rng = np.random.default_rng(3)
    height, width, turn = 8, 64, 0.7
    vehicle_from_laser = matrix(0, 0, turn, np.array([1.0, -2.0, 0.5]))
    inclinations = np.sort(rng.uniform(-0.4, 0.2, height))
    bearing = rng.permutation(width) * 2 * np.pi / width - np.pi + np.pi / width  # vehicle's axes
    beam = rng.integers(0, height, width)
    distance = rng.uniform(2, 60, width)
    aside = distance * np.cos(inclinations[beam])
    expected = np.column_stack(
        [
            aside * np.cos(bearing) + 1.0,
            aside * np.sin(bearing) - 2.0,
            distance * np.sin(inclinations[beam]) + 0.5,
        ]
    )
    # The inverse of the model: azimuth to column, inclination to row.
    column = np.round(width / 2 * (1 - bearing / np.pi) - 0.5).astype(int)
    row = height - 1 - beam
    ranges = np.full((height, width), -1, np.float32)
    ranges[row, column] = distance
    laser = Laser(vehicle_from_laser, inclinations, 0.0, 0.0)
    points = points_of(ranges, laser, None, np.eye(4))
    order = np.lexsort((column, row))
    np.testing.assert_allclose(points, expected[order], atol=1e-5)
    still = np.zeros((height, width, 6), np.float32)
    np.testing.assert_allclose(points_of(ranges, laser, still, np.eye(4)), points, atol=1e-12)
    with pytest.raises(ValueError, match="has 8 beam inclinations, its range image 7 rows"):
        points_of(ranges[1:], laser, None, np.eye(4))


def test_pairs_are_the_dataset_s_own(root: Path, frames: list[Scripted]) -> None:
    frame = WaymoDataset(root).frame(0)
    projections = valid(frames[0], frames[0].projections)
    twice = 0
    for number, camera in enumerate(frame.cameras, 1):
        expected = [
            (point, *row[slot + 1 : slot + 3])
            for point, row in enumerate(projections)
            for slot in (0, 3)
            if row[slot] == number
        ]
        assert camera.projected is not None
        point, uv = camera.projected.point, camera.projected.uv
        np.testing.assert_array_equal(np.column_stack([point, uv]), expected)
        twice += len(expected)
    assert twice > len(projections)  # most points are in two cameras
    pairs = visible_pairs(frame)
    for number, camera in enumerate(frame.cameras):
        assert camera.projected is not None
        point, uv = camera.projected.point, camera.projected.uv
        depth = project(frame.points[point, :3], camera)[1]
        inner = ((uv > 1) & (uv < np.array(SIZE) - 1)).all(1) & (depth > 1)
        part = slice(pairs.offsets[number], pairs.offsets[number + 1])
        np.testing.assert_array_equal(pairs.point[part], point[inner])
        np.testing.assert_array_equal(pairs.uv[part], uv[inner])
        assert inner.any()


def test_cameras_against_the_dataset_s_model(root: Path, frames: list[Scripted]) -> None:
    frame = WaymoDataset(root).frame(2)
    np.testing.assert_array_equal(frame.global_from_lidar, frames[2].world_from_vehicle)
    assert (frame.timestamp, frame.scene, frame.split) == (frames[2].time, SEGMENT, "train")
    assert frame.id == f"{SEGMENT}/{frames[2].time}"
    model = INTRINSICS
    for number, camera in enumerate(frame.cameras, 1):
        assert (camera.width, camera.height) == SIZE
        world = (
            frames[2].world_from_vehicle
            @ np.column_stack([frame.points[:, :3].astype(float), np.ones(len(frame.points))]).T
        )
        x, y, z, _ = np.linalg.solve(frames[2].image_poses[number] @ CAMERA_POSES[number], world)
        uv, depth = project(frame.points[:, :3], camera)
        np.testing.assert_allclose(depth, x, atol=1e-9)
        # Waymo's own model: x forward, y left, z up; pixels from the left edge of the first one.
        near = (x > 0.5) & (np.hypot(y, z) < 0.5 * x)
        u, v = -y[near] / x[near], -z[near] / x[near]
        r2 = u * u + v * v
        radial = 1 + model["k1"] * r2 + model["k2"] * r2**2 + model["k3"] * r2**3
        p1, p2 = model["p1"], model["p2"]
        du = 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
        dv = 2 * p2 * u * v + p1 * (r2 + 2 * v * v)
        edge = np.column_stack(
            [
                model["f_u"] * (u * radial + du) + model["c_u"],
                model["f_v"] * (v * radial + dv) + model["c_v"],
            ]
        )
        assert near.sum() > 5
        np.testing.assert_allclose(uv[near], edge - 0.5, atol=1e-8)


def test_labels_of_top_alone(root: Path, frames: list[Scripted]) -> None:
    dataset = WaymoDataset(root)
    assert [dataset.has_labels(index) for index in range(3)] == [True, False, True]
    assert labelled_indices(dataset, "train") == [0, 2]
    expected = []
    for echo, laser in ORDER:
        ranges = frames[2].ranges[laser][echo]
        assert ranges is not None
        if laser == 1:
            labels = frames[2].segmentation[1][echo]
            assert labels is not None
            raw = labels[..., 1][ranges[..., 0] > 0]
            expected += [IGNORE if value == 0 else value - 1 for value in raw]
        else:
            expected += [IGNORE] * int((ranges[..., 0] > 0).sum())
    labels = dataset.labels(2)
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected
    assert len(labels) == len(dataset.points(2))
    assert len(set(expected) - {IGNORE}) > 15
    assert (len(CLASSES), CLASSES[0], CLASSES[17], CLASSES[21]) == (22, "car", "road", "sidewalk")
    with pytest.raises(FrameError, match=r"labels no point at .*; choose a labelled frame"):
        dataset.labels(1)


def test_without_segmentation_nothing_is_labelled(root: Path) -> None:
    file(root, "lidar_segmentation").unlink()
    dataset = WaymoDataset(root)
    assert not any(dataset.has_labels(index) for index in range(3))
    file(root, "lidar_segmentation").write_bytes(b"PAR1 no more")
    assert dataset.has_labels(0)  # `labels` tells what is wrong
    with pytest.raises(FrameError, match=r"cannot read .*lidar_segmentation"):
        dataset.labels(0)


def test_a_class_that_is_none(tmp_path: Path, frames: list[Scripted]) -> None:
    frames[0].segmentation[1][0][..., 1] = 23  # pyright: ignore[reportOptionalSubscript]
    dataset = WaymoDataset(write_segment(tmp_path / "other", frames))
    with pytest.raises(FrameError, match=r"lidar_segmentation.* unknown label ids \[23\]"):
        dataset.labels(0)
    assert dataset.labels(2).size


def test_images_in_the_table(root: Path, frames: list[Scripted]) -> None:
    from .waymo_files import jpeg

    camera = pickle.loads(pickle.dumps(WaymoDataset(root).frame(1))).cameras[2]
    path = root / "jpeg"
    path.write_bytes(jpeg(frames[1].time % 97 + 3))
    np.testing.assert_array_equal(load_image(camera.image, *SIZE), load_image(path))
    name = "[CameraImageComponent].image"
    assert str(camera.image) == f"{file(root, 'camera_image')} (row 5, column {name})"
    change_column(file(root, "camera_image"), name, pa.array([b"x"] * 5 + [None] * 10, pa.binary()))
    with pytest.raises(CleverError, match=r"camera_image.*\(row 5, .*is missing"):
        load_image(camera.image)
    first = WaymoDataset(root).frame(0).cameras[2].image
    with pytest.raises(CleverError, match=r"\(row 0, .*cannot be decoded"):
        load_image(first)


def test_a_null_return_is_none(tmp_path: Path, frames: list[Scripted]) -> None:
    whole = expected_points(frames[0])
    frames[0].ranges[4][1] = None
    dataset = WaymoDataset(write_segment(tmp_path / "other", frames))
    frames[0].ranges[4][1] = np.full((*SHAPES[4], 4), -1.0)
    expected = expected_points(frames[0])
    assert len(expected) < len(whole)
    np.testing.assert_allclose(dataset.points(0), expected, atol=2e-4)
    assert len(dataset.labels(0)) == len(expected)


def test_row_groups_of_any_size(root: Path) -> None:
    before = [WaymoDataset(root).points(index) for index in range(3)]
    path = file(root, "lidar")
    for size in (1, 5, 100):
        pq.write_table(pq.read_table(path), path, row_group_size=size)
        dataset = WaymoDataset(root)
        for index in (2, 0, 1):
            np.testing.assert_array_equal(dataset.points(index), before[index])


def test_splits_segments_and_cameras(tmp_path: Path) -> None:
    root, rng = tmp_path / "waymo", np.random.default_rng(1)
    names = {"training": ("b", "a"), "validation": ("c",), "testing": ("d",)}
    times = {}
    for folder, segments in names.items():
        for number, name in enumerate(segments):
            scripted = [scripted_frame(rng, frame, False) for frame in (1, 0)][: number + 1]
            write_segment(root, scripted, name, folder)
            times[name] = sorted(frame.time for frame in scripted)
    dataset = WaymoDataset(root)
    assert dataset.frame_ids == [f"a/{t}" for t in times["a"]] + [f"b/{t}" for t in times["b"]]
    assert dataset.scenes == ["a", "a", "b"]
    assert WaymoDataset(root, split="val").scenes == ["c"]
    assert WaymoDataset(root, split="test").frame(0).split == "test"
    assert WaymoDataset(root, split="all").scenes == ["a", "a", "b", "c", "d"]
    subset = WaymoDataset(root, sequences=["c", "b"], cameras=["SIDE_LEFT", "FRONT"])
    assert subset.scenes == ["c", "b"]
    frame = subset.frame(0)
    assert frame.split == "val"
    assert [camera.name for camera in frame.cameras] == ["SIDE_LEFT", "FRONT"]
    all_cameras = WaymoDataset(root, split="val").frame(0).cameras
    for camera, number in zip(frame.cameras, (3, 0), strict=True):
        np.testing.assert_array_equal(
            camera.camera_from_lidar, all_cameras[number].camera_from_lidar
        )
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"split": "mini"}, "waymo has no split 'mini'; choose train, val, test or all"),
        ({"sequences": ["e"]}, "no sequence e: .* holds sequences a, b, c, d; choose"),
        ({"cameras": ["REAR"]}, "waymo has no camera REAR; choose `cameras` among FRONT,"),
    )
    for words, line in wrong:
        with pytest.raises(CleverError, match=line):
            WaymoDataset(root, **words)
    for split in ("train", "all"):
        with pytest.raises(CleverError, match="holds no sequence in the layout of waymo; pass"):
            WaymoDataset(tmp_path, split=split)


@pytest.mark.parametrize(
    ("component", "column", "line"),
    [
        ("lidar", "[LiDARComponent].range_image_return1.values", "has no column"),
        ("lidar_pose", "[LiDARPoseComponent].range_image_return1.shape", "has no column"),
        ("lidar_calibration", "key.laser_name", "has no column"),
        ("camera_calibration", "[CameraCalibrationComponent].width", "has no column"),
        ("camera_image", "[CameraImageComponent].pose.transform", "has no column"),
        ("vehicle_pose", None, "cannot read"),
        ("lidar_camera_projection", None, "cannot read"),
    ],
)
def test_a_damaged_file_is_one_line(
    root: Path, component: str, column: str | None, line: str
) -> None:
    dataset, path = WaymoDataset(root), file(root, component)
    if column:
        change_column(path, column, None)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    reason = one_line(dataset)
    assert str(path) in reason
    assert line in reason
    assert reason.endswith("restore the file")
    path.unlink()
    assert "No such file or directory; restore the file" in one_line(dataset)


def test_a_bad_frame_costs_no_other(tmp_path: Path, frames: list[Scripted]) -> None:
    frames[0].ranges[2][0][1, 1, 0] = np.nan  # pyright: ignore[reportOptionalSubscript]
    frames[1].ranges.pop(5)
    dataset = WaymoDataset(write_segment(tmp_path / "other", frames))
    assert "the range image of FRONT in" in one_line(dataset, 0)
    assert f"has no REAR at {frames[1].time}" in one_line(dataset, 1)
    assert len(dataset.frame(2).points) > 250


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda f: f.projections[3].__setitem__(0, np.zeros((3, 19, 6))), "3 x 19 pixels for"),
        (lambda f: f.projections.pop(3), "nothing for return 1 of SIDE_LEFT"),
        (lambda f: f.projections[3][0].__setitem__((..., 3), 6), "names unknown cameras at"),
        (lambda f: f.ranges[1].__setitem__(0, np.ones((3, 36, 4))), "TOP: its calibration has 4"),
        (lambda f: f.ranges[3].__setitem__(0, np.ones((3, 20, 5))), "1 values|are no image of"),
        (lambda f: f.ranges[1][0].__setitem__((..., 1), -1.0), "has intensities from -1 to"),
        (lambda f: f.world_from_vehicle.fill(0), "transform has the last row 0 0 0 0"),
        (lambda f: f.image_poses[4].__setitem__((0, 0), np.inf), "pose.transform is not finite"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, frames: list[Scripted], spoil: Callable[[Scripted], object], line: str
) -> None:
    import re

    spoil(frames[0])
    dataset = WaymoDataset(write_segment(tmp_path / "other", frames))
    assert re.search(line, one_line(dataset, 0))
    dataset.frame(1)


def test_a_sensor_twice(root: Path) -> None:
    path = file(root, "lidar")
    numbers = pa.array([1, 1, 3, 4, 5] * 3, pa.int8())
    dataset = WaymoDataset(root)
    change_column(path, "key.laser_name", numbers)
    assert "has several rows for one sensor at" in one_line(dataset)
    change_column(path, "key.laser_name", pa.array([None, 2, 3, 4, 5] * 3, pa.int8()))
    assert "has 3 empty values in column key.laser_name" in one_line(dataset)


def test_pickled_and_cached(
    root: Path, cached: Callable[..., FeatureCache], frames: list[Scripted]
) -> None:
    dataset = WaymoDataset(root)
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.points(2), dataset.points(2))
    assert len(pickle.dumps(dataset)) < 3000
    store = cached("waymo", root)
    pairs = visible_pairs(dataset.frame(0))
    np.testing.assert_array_equal(store[0].points.numpy(), dataset.points(0))
    np.testing.assert_array_equal(store[0].pair_point.numpy(), pairs.point)
    np.testing.assert_allclose(store[0].pair_uv.numpy() * SIZE - 0.5, pairs.uv, atol=1e-3)


def test_without_pyarrow(root: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from clever.errors import CleverError\n"
        "from clever.pipeline.datasets import build_dataset\n"
        f"try: build_dataset('waymo', {str(root)!r})\n"
        "except CleverError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.count("\n") == 1, result.stderr
    assert result.stdout.startswith("Parquet and Feather files need the package pyarrow (")
    assert result.stdout.endswith("pip install 'clever-distiller[datasets]'\n")
