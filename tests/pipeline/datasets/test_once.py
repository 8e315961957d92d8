"""ONCE sequences written by the test: lens, extrinsics, poses, lists; every damaged file is one
line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clever.cache import FeatureCache
from clever.cache.projection import project
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets.once import CAMERAS, OnceDataset
from clever.pipeline.steps.labelled import labelled_indices

from .tiny_trees import check_any, write_image, write_sweep

TIMES = (1616343527200, 1616343527700)
SIZE = (64, 40)
FOCAL, CENTRE = (50.0, 51.0), (33.0, 19.0)
K = (-0.2, 0.05, 0.002, -0.003, 0.01)
"""k1 k2 p1 p2 k3."""


def extrinsics(camera: int) -> np.ndarray:
    """(4, 4) LiDAR (x right, y forward, z up) <- camera, turned by the camera's number."""
    axes = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    result = np.eye(4)
    result[:3, :3] = (Rotation.from_euler("z", 0.9 * camera) * axes).as_matrix()
    result[:3, 3] = (0.1 * camera, 0.5, -0.3)
    return result


def pose(number: int) -> list[float]:
    return [
        *Rotation.from_euler("z", 0.3 * number + 0.1).as_quat().tolist(),
        5.0 * number,
        2.0,
        0.5,
    ]


def record() -> dict[str, Any]:
    (fx, fy), (cx, cy) = FOCAL, CENTRE
    calibration = {
        name: {
            "cam_to_velo": extrinsics(number).tolist(),
            "cam_intrinsic": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
            "distortion": list(K),
        }
        for number, name in enumerate(CAMERAS)
    }
    frames = [{"frame_id": str(t), "pose": pose(n), "annos": {}} for n, t in enumerate(TIMES)]
    return {"meta_info": {}, "calib": calibration, "frames": frames}


def write_sequence(root: Path, name: str) -> dict[int, np.ndarray]:
    rng, folder, sweeps = np.random.default_rng(int(name)), root / "data" / name, {}
    for time in TIMES:
        sweeps[time] = write_sweep(folder / "lidar_roof" / f"{time}.bin", rng, 400, full=255)
        for camera in CAMERAS:
            write_image(folder / camera / f"{time}.jpg", rng, SIZE)
    (folder / f"{name}.json").write_text(json.dumps(record()))
    return sweeps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "once"
    for name in ("000076", "000080", "000104"):
        write_sequence(root, name)
    lists = root / "ImageSets"
    lists.mkdir()
    for split, names in (
        ("train", ["000080", "000076"]),
        ("val", ["000999"]),
        ("test_set", ["000104"]),
        ("raw_small", ["000104"]),
    ):
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def reason(dataset: OnceDataset, index: int = 0) -> str:
    with pytest.raises(FrameError) as caught:
        dataset.frame(index)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def changed(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "data" / "000080" / "000080.json"
    content = record()
    change(content)
    path.write_text(json.dumps(content))


def test_points_poses_and_times(root: Path) -> None:
    dataset = OnceDataset(root)
    assert dataset.frame_ids == [f"{s}/{t}" for s in ("000080", "000076") for t in TIMES]
    sweeps = write_sequence(root, "000080")
    for number, time in enumerate(TIMES):
        points = dataset.points(number)
        np.testing.assert_array_equal(points[:, :3], sweeps[time][:, :3])
        np.testing.assert_allclose(points[:, 3], sweeps[time][:, 3] / 255, rtol=1e-6)
        frame = dataset.frame(number)
        assert (frame.timestamp, frame.split) == (time * 1000, "train")
        turn = Rotation.from_euler("z", 0.3 * number + 0.1).as_matrix()
        np.testing.assert_allclose(frame.global_from_lidar[:3, :3], turn, atol=1e-12)
        np.testing.assert_array_equal(frame.global_from_lidar[:3, 3], pose(number)[4:])
    check_any(dataset)
    np.testing.assert_allclose(
        OnceDataset(root, intensity_scale="510").points(0)[:, 3], dataset.points(0)[:, 3] / 2
    )


def test_points_go_through_the_lens(root: Path) -> None:
    frame = OnceDataset(root).frame(0)
    k1, k2, p1, p2, k3 = K
    for number, camera in enumerate(frame.cameras):
        assert (camera.name, camera.width, camera.height) == (CAMERAS[number], *SIZE)
        mount = extrinsics(number)
        seen = (frame.points[:, :3].astype(float) - mount[:3, 3]) @ mount[:3, :3]
        uv, depth = project(frame.points[:, :3], camera)
        np.testing.assert_allclose(depth, seen[:, 2], atol=1e-9)
        near = (depth > 0.5) & (np.hypot(seen[:, 0], seen[:, 1]) < 0.9 * depth)
        assert near.sum() > 20
        x, y = (seen[near, :2] / seen[near, 2:]).T
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        expected = np.column_stack(
            [
                FOCAL[0] * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + CENTRE[0],
                FOCAL[1] * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + CENTRE[1],
            ]
        )
        np.testing.assert_allclose(uv[near], expected, atol=1e-8)


def test_splits_and_sequences(root: Path) -> None:
    assert set(OnceDataset(root, split="test").scenes) == {"000104"}
    assert set(OnceDataset(root, split="raw_small").scenes) == {"000104"}
    assert OnceDataset(root, split="raw_small").frame(0).split == "test"  # the first that lists it
    every = OnceDataset(root, split="all")
    assert list(dict.fromkeys(every.scenes)) == ["000076", "000080", "000104"]
    part = OnceDataset(root, sequences=["104", "76"], cameras=["cam09", "cam01"])
    assert list(dict.fromkeys(part.scenes)) == ["000104", "000076"]
    assert [camera.name for camera in part.frame(0).cameras] == ["cam09", "cam01"]
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        (
            {"split": "raw_large"},
            "once has no split 'raw_large'; choose train, val, test, raw_small",
        ),
        (
            {"split": "val"},
            r"no sequence of split 'val' \(000999\): .* holds sequences 000076, 000080, 000104",
        ),
        ({"cameras": ["cam02"]}, "once has no camera cam02; choose `cameras` among cam01"),
        ({"sequences": ["5"]}, "no sequence 5"),
    )
    for words, line in wrong:
        with pytest.raises(CleverError, match=line):
            OnceDataset(root, **words)
    (root / "ImageSets" / "test.txt").write_text("000076\n")
    assert set(OnceDataset(root, split="test").scenes) == {"000076"}
    (root / "data" / "000080" / "lidar_roof" / "first.bin").touch()
    with pytest.raises(CleverError, match=r"first\.bin: the name is no time in milliseconds"):
        OnceDataset(root)


@pytest.mark.parametrize("entry", [None, [0, 0, 0, 0, 0, 0, 0]])
def test_a_frame_without_a_pose(root: Path, entry: Any) -> None:
    changed(root, lambda content: content["frames"][0].update(pose=entry))
    np.testing.assert_array_equal(OnceDataset(root).frame(0).global_from_lidar, np.eye(4))
    assert OnceDataset(root).frame(1).global_from_lidar[0, 3] == 5
    changed(root, lambda content: content["frames"].pop(0))
    np.testing.assert_array_equal(OnceDataset(root).frame(0).global_from_lidar, np.eye(4))


def test_no_labels(root: Path) -> None:
    dataset = OnceDataset(root)
    with pytest.raises(CleverError, match="none of the 4 frames of once train has labels"):
        labelled_indices(dataset, "train")
    with pytest.raises(FrameError, match="once has no point labels; choose another dataset"):
        dataset.labels(0)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c: c.pop("calib"), "has no `calib` or no `frames`; restore the file"),
        (lambda c: c["calib"].pop("cam05"), "has no calibration of cam05; restore the file"),
        (lambda c: c["calib"]["cam05"].pop("cam_to_velo"), "cam_to_velo of cam05 is not 16 finite"),
        (
            lambda c: c["calib"]["cam05"].update(cam_intrinsic=[1] * 8),
            "cam_intrinsic of cam05 is not",
        ),
        (
            lambda c: c["calib"]["cam05"].update(distortion=[0.1] * 6),
            "camera cam05: its radial-tang",
        ),
        (
            lambda c: c["calib"]["cam05"].update(distortion=["a"]),
            "distortion of cam05 is not 1 fini",
        ),
        (
            lambda c: c["calib"]["cam05"].update(cam_to_velo=[[0] * 4] * 4),
            "camera cam05: its transf",
        ),
        (
            lambda c: c["frames"][0].update(pose=[1, 2]),
            f"pose of {TIMES[0]} is not 7 finite numbers",
        ),
        (lambda c: c["frames"][0].update(pose=[2.0] * 7), "hold a quaternion of length 4"),
    ],
)
def test_what_is_wrong_is_one_line(
    root: Path, change: Callable[[dict[str, Any]], object], line: str
) -> None:
    changed(root, change)
    dataset = OnceDataset(root)
    assert line in reason(dataset)
    dataset.frame(2)  # of another sequence


def test_damaged_files(root: Path) -> None:
    dataset, folder = OnceDataset(root), root / "data" / "000080"
    (folder / "cam07" / f"{TIMES[0]}.jpg").unlink()
    assert "cam07" in reason(dataset)
    dataset.frame(1)
    dataset.sweep(1).write_bytes(b"123")
    assert "has 3 bytes, no multiple of 16 a point" in reason(dataset, 1)
    (folder / "000080.json").write_text("{")
    assert f"{folder / '000080.json'} is no JSON" in reason(dataset)
    (folder / "000080.json").unlink()
    assert (
        reason(dataset)
        == f"cannot read {folder / '000080.json'}: No such file or directory; restore the file"
    )


def test_cached(root: Path, cached: Callable[..., FeatureCache]) -> None:
    store = cached("once", root, sequences=("000076",))
    np.testing.assert_array_equal(store[1].points.numpy(), OnceDataset(root).points(3))
    assert store[1].pair_point.numel() > 10
