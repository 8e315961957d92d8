"""Earlier sweeps of nuScenes as a layer of a store, against poses composed by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from pyquaternion import Quaternion

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.drop import drop_sweeps
from clever.cache.care.summary import summarise
from clever.cache.store.sweep_reader import CachedSweeps
from clever.errors import CleverError, FrameError
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.earlier_sweeps import earlier_sweeps
from clever.pipeline.repair import repair
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import RepairSettings

from ...store_files import content, problems

KEYFRAMES, BETWEEN = 3, 2
POINTS = 60


@pytest.fixture
def drive(write_nuscenes: Callable[..., Path]) -> Path:
    """A scene of three keyframes with two sweeps between each, linked by ``prev``."""
    root = write_nuscenes({"scene-0061": KEYFRAMES}, points=POINTS, labels=False)
    folder, rng = root / "v1.0-mini", np.random.default_rng(8)
    data = json.loads((folder / "sample_data.json").read_text())
    poses = json.loads((folder / "ego_pose.json").read_text())
    lidar = {row["sample_token"]: row for row in data if "LIDAR_TOP" in row["filename"]}
    previous = ""
    for number in range(KEYFRAMES):
        keyframe = lidar[f"scene-0061-{number}"]
        for step in range(BETWEEN if number else 0):
            seconds = number / 2 - (BETWEEN - step) * 0.05
            token, file = f"sweep-{number}-{step}", f"sweeps/LIDAR_TOP/{number}-{step}.pcd.bin"
            turn = Quaternion(axis=(0, 0, 1), radians=0.3 + 0.1 * seconds)
            poses.append(
                {
                    "token": token,
                    "timestamp": 0,
                    "translation": [1000 + 10 * seconds, 600.0, 0.5],
                    "rotation": list(turn.elements),
                }
            )
            data.append(
                {
                    **keyframe,
                    "token": token,
                    "ego_pose_token": token,
                    "is_key_frame": False,
                    "timestamp": keyframe["timestamp"] - (BETWEEN - step) * 50_000,
                    "filename": file,
                    "prev": previous,
                }
            )
            previous = token
            cloud = rng.uniform([-30, -30, -2, 0], [30, 30, 3, 255], (POINTS + step, 4))
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            np.column_stack([cloud, np.zeros(len(cloud))]).astype("<f4").tofile(root / file)
        keyframe["prev"], previous = previous, keyframe["token"]
    (folder / "sample_data.json").write_text(json.dumps(data))
    (folder / "ego_pose.json").write_text(json.dumps(poses))
    return root


def lidar_pose(seconds: float) -> NDArray[np.float64]:
    """Global <- LiDAR of the fixture's car."""
    ego = Quaternion(axis=(0, 0, 1), radians=0.3 + 0.1 * seconds).transformation_matrix
    ego[:3, 3] = (1000 + 10 * seconds, 600.0, 0.5)
    sensor = Quaternion(axis=(0, 0, 1), degrees=-90).transformation_matrix
    sensor[:3, 3] = (0.9, 0, 1.8)
    return np.asarray(ego @ sensor, np.float64)


def add(drive: Path, store: Path, **settings: Any) -> CacheSummary:
    values = {
        "dataset": "nuscenes", "data_root": drive, "version": "v1.0-mini", "split": "all",
        "model": "test_resnet", "weights": "random:0", "layer": ("stride:4",),
        "image_size": (16, 32), "cache": store, **settings,
    }  # fmt: skip
    return cache_teacher(CacheTeacherSettings(**values))


def test_sweeps_lie_in_the_keyframe_s_frame(drive: Path) -> None:
    dataset = build_dataset("nuscenes", drive, version="v1.0-mini", split="all")
    assert earlier_sweeps(dataset, 0, 2) == []
    sweeps = earlier_sweeps(dataset, 2, 4)
    assert [sweep.seconds for sweep in sweeps] == pytest.approx([-0.05, -0.1, -0.5, -0.55])
    assert [len(sweep.points) for sweep in sweeps] == [POINTS + 1, POINTS, POINTS, POINTS + 1]
    files = ["sweeps/LIDAR_TOP/2-1", "sweeps/LIDAR_TOP/2-0", "samples/LIDAR_TOP/scene-0061-1"]
    for sweep, file in zip(sweeps, files, strict=False):
        raw = np.fromfile(drive / f"{file}.pcd.bin", "<f4").reshape(-1, 5)
        motion = np.linalg.solve(lidar_pose(1.0), lidar_pose(1.0 + sweep.seconds))
        expected = (motion @ np.c_[raw[:, :3].astype(float), np.ones(len(raw))].T).T[:, :3]
        np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
        np.testing.assert_allclose(sweep.points[:, 3], raw[:, 3] / 255, rtol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_a_store_with_sweeps(drive: Path, tmp_path: Path, pairs: bool) -> None:
    store = tmp_path / "run.zarr"
    add(drive, store)
    before = content(store)
    summary = add(drive, store, sweeps=2, sweep_pairs=pairs)
    assert summary.sweeps is not None
    assert (summary.sweeps.sweeps, summary.sweeps.frames) == (4, 3)
    assert {name: content(store)[name] for name in before} == before
    assert problems(store) == []
    dataset = build_dataset("nuscenes", drive, version="v1.0-mini", split="all")
    cached, frames = CachedSweeps(store, 2, pairs), FeatureCache(store)
    for index, name in enumerate(dataset.frame_ids):
        sweeps, expected = cached.sweeps(name), earlier_sweeps(dataset, index, 2)
        points = [sweep.points for sweep in expected]
        assert np.array_equal(sweeps.points, np.concatenate([np.empty((0, 4)), *points]))
        assert sweeps.seconds.tolist() == pytest.approx(
            [sweep.seconds for sweep in expected for _ in sweep.points]
        )
        camera = dataset.frame(index).cameras
        for point, m, uv in zip(sweeps.pair_point, sweeps.pair_camera, sweeps.pair_uv, strict=True):
            pose = camera[m].camera_from_lidar
            x, y, z = pose[:3, :3] @ sweeps.points[point, :3].astype(float) + pose[:3, 3]
            u, v = (camera[m].intrinsics @ [x / z, y / z, 1])[:2]
            size = np.array([camera[m].width, camera[m].height])
            assert np.abs(uv * size - 0.5 - (u, v)).max() < 0.01
        assert bool(len(sweeps.pair_point)) == (pairs and index > 0)
    one = CachedSweeps(store, 1, pairs).sweeps(dataset.frame_ids[2])
    assert len(one.points) == POINTS + 1
    assert (one.pair_point < POINTS + 1).all()
    assert len(frames) == 3
    again = content(store)
    nothing = add(drive, store, sweeps=2, sweep_pairs=pairs).sweeps
    assert nothing is not None
    assert nothing.attempted == 0
    assert content(store) == again
    assert [part.info.count for part in summarise(store).sweeps] == [2]
    Copy(store, tmp_path / "copy.zarr", Selection()).run(lambda _: None)
    assert content(tmp_path / "copy.zarr") == again
    assert drop_sweeps(store) > 0
    assert content(store) == before


@pytest.mark.parametrize(("factor", "told"), [(1, False), (1000, True)])
def test_sweeps_in_another_unit_of_time(
    drive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], factor: int, told: bool
) -> None:
    path = drive / "v1.0-mini/sample_data.json"
    rows = json.loads(path.read_text())
    rows = [{**row, "timestamp": row["timestamp"] * factor} for row in rows]
    path.write_text(json.dumps(rows))
    store = tmp_path / "run.zarr"
    add(drive, store, sweeps=2)
    line = f"{store}: of sweeps/2 sweeps follow every 50 s, more than 30, so the unit"
    assert (line in capfd.readouterr().err) == told


def test_damage_is_seen_and_repaired(drive: Path, tmp_path: Path) -> None:
    store = tmp_path / "run.zarr"
    add(drive, store, sweeps=2, sweep_pairs=True)
    intact = content(store)
    for name in [name for name in intact if name.startswith("sweeps/")]:
        data = bytearray(intact[name])
        data[len(data) // 2] ^= 4
        (store / name).write_bytes(data)
        result = repair(
            RepairSettings(path=store, data_root=drive, version="v1.0-mini", split="all")
        )
        assert result.problems, name
        assert result.remainder == []
        assert content(store) == intact, name


def test_a_shard_whose_frames_cannot_be_had_again_is_left(drive: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "run.zarr", drive / "sweeps/LIDAR_TOP/2-1.pcd.bin"
    add(drive, store, sweeps=2)
    name = next(name for name in content(store) if re.match(r"sweeps/2/xyzi/c/", name))
    data = bytearray((store / name).read_bytes())
    data[len(data) // 2] ^= 4
    (store / name).write_bytes(data)
    before, points = content(store), file.read_bytes()
    settings = RepairSettings(path=store, data_root=drive, version="v1.0-mini", split="all")
    file.write_bytes(points[:-1])
    with pytest.raises(CleverError, match=r"shard 0 of sweeps/2 is left as it is, because frame"):
        repair(settings)
    assert content(store) == before
    file.write_bytes(points)
    assert repair(settings).remainder == []


def test_skipped_sweeps_are_tried_again(drive: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "run.zarr", drive / "sweeps/LIDAR_TOP/2-1.pcd.bin"
    data = file.read_bytes()
    file.write_bytes(b"")
    first = add(drive, store, sweeps=2).sweeps
    file.write_bytes(data)
    same, again = (
        add(drive, store, sweeps=2, retry_failed=retry).sweeps for retry in (False, True)
    )
    assert first is not None
    assert same is not None
    assert again is not None
    assert [len(part.failed) for part in (first, same, again)] == [1, 1, 0]
    assert again.frames == 3
    assert problems(store) == []


def test_sweeps_asked_for_wrongly(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="say how many by `sweeps`"):
        add(drive, tmp_path / "run.zarr", sweep_pairs=True)
    assert not (tmp_path / "run.zarr").exists()
    with pytest.raises(ValidationError, match="less than or equal to 1000"):
        add(drive, tmp_path / "run.zarr", sweeps=10**11)


def test_what_is_not_there_is_one_line(
    drive: Path, tmp_path: Path, write_kitti: Callable[..., Path]
) -> None:
    store = tmp_path / "run.zarr"
    (drive / "sweeps/LIDAR_TOP/2-1.pcd.bin").unlink()
    summary = add(drive, store, sweeps=2)
    assert summary.sweeps is not None
    ((frame, reason),) = summary.sweeps.failed
    assert frame == "scene-0061-2"
    assert "2-1.pcd.bin" in reason
    advice = "; cache-teacher adds them, and cache verify names those that are there and damaged$"
    with pytest.raises(CleverError, match=f"no 3 earlier sweeps{advice}"):
        CachedSweeps(store, 3)
    with pytest.raises(CleverError, match=f"no 2 earlier sweeps with pairs{advice}"):
        CachedSweeps(store, 2, pairs=True)
    with pytest.raises(CleverError, match="has no sweeps between its frames"):
        add(
            write_kitti({"00": 2}), tmp_path / "kitti.zarr", sweeps=1, dataset="semantickitti",
            version=None,
        )  # fmt: skip
    poses = drive / "v1.0-mini/ego_pose.json"
    rows = [row for row in json.loads(poses.read_text()) if row["token"] != "sweep-1-0"]
    poses.write_text(json.dumps(rows))
    dataset = build_dataset("nuscenes", drive, version="v1.0-mini", split="all")
    with pytest.raises(FrameError, match=r"ego_pose\.json has no record sweep-1-0"):
        earlier_sweeps(dataset, 1, 2)
