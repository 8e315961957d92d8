"""`clever features`: row i is what the student says of point i, and nothing is guessed, dropped or
overwritten."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from typer.testing import CliRunner

from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.features import features
from clever.pipeline.settings.features import FeaturesSettings
from clever.pipeline.training.seeds import seeded
from clever.student.checkpoint import load_student, save_student
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.student import Student

Cloud = NDArray[np.float32]


@pytest.fixture(scope="module")
def student() -> Student:
    with seeded(0, "student"):
        return build_student("minkunet-tiny", 0.25).eval()


@pytest.fixture
def run(student: Student, tmp_path: Path) -> Path:
    save_student(tmp_path / "run", student, {"origin": "drawn at random"})
    return tmp_path / "run"


@pytest.fixture
def write_kitti_scan(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a KITTI scan of 250 points, the name being its seed."""

    def write(name: str) -> Path:
        rng = np.random.default_rng(list(name.encode()))
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rng.uniform([-8, -8, -2, 0], [8, 8, 1, 1], (250, 4)).astype("<f4").tofile(path)
        return path

    return write


def scan(path: Path) -> Cloud:
    return np.fromfile(path, "<f4").reshape(-1, 4)


def expected(student: Student, points: Cloud) -> Cloud:
    with torch.no_grad():
        return student(PointBatch.from_clouds([torch.from_numpy(points)])).numpy()


def settings(**values: object) -> FeaturesSettings:
    return FeaturesSettings.resolve(None, {"device": "cpu", **values})


def contents(path: Path) -> Cloud:
    with safe_open(path, "numpy") as file:
        assert list(file.keys()) == ["features"]
        return file.get_tensor("features")


def test_rows_are_the_students_features_of_the_points(
    student: Student, run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_kitti_scan("a.bin")
    summary = features(settings(points=[path], checkpoint=run, out=tmp_path / "a.safetensors"))
    rows = expected(student, scan(path))
    np.testing.assert_array_equal(contents(tmp_path / "a.safetensors"), rows)
    assert (summary.files[0].points, summary.files[0].channels) == (250, 64)
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        meta = json.loads(file.metadata()["clever"])
    assert meta["student"]["meta"]["origin"] == "drawn at random"
    assert meta["source"] == str(path)
    assert meta["read"].startswith("KITTI .bin (4 x float32), intensity / 1 = 0.00")
    features(settings(points=[path], checkpoint=run, out=tmp_path / "b.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), rows)
    features(settings(points=[path], checkpoint=run, out=tmp_path / "c.npy", dtype="float16"))
    half = np.load(tmp_path / "c.npy")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, rows.astype(np.float16))
    with pytest.raises(CleverError, match=r"c\.npy exists; remove it or choose another `out`"):
        features(settings(points=[path], checkpoint=run, out=tmp_path / "c.npy"))


def test_the_two_lines_of_the_readme(
    student: Student, run: Path, write_kitti_scan: Callable[[str], Path]
) -> None:
    points = torch.from_numpy(scan(write_kitti_scan("a.bin")))
    loaded = load_student(run)
    rows = loaded(PointBatch.from_clouds([points]))
    np.testing.assert_array_equal(rows.detach().numpy(), expected(student, points.numpy()))


def test_scale_and_origin_reach_the_student(student: Student, run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-8, -8, -2, 0], [8, 8, 1, 1], (200, 4)).astype(np.float32)
    points[:, :3] = points[:, :3].round(3)
    points[:, 3] = (points[:, 3] * 255).round() / np.float32(255)
    place = np.array([691_000.0, 5_334_000.0, 519.0])
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), place
    content = laspy.LasData(header)
    content.x, content.y, content.z = (points[:, :3].astype(float) + place).T
    content.intensity = (points[:, 3] * 255).round()
    content.write(str(tmp_path / "a.laz"))
    values = {"points": [tmp_path / "a.laz"], "checkpoint": run, "out": tmp_path / "a.npy"}
    summary = features(settings(**values, origin="691000,5334000,519", intensity_scale=255))
    assert "LAS 1.4 (compressed), intensity / 255 = 0" in str(summary)
    moved_points = points.copy()
    moved_points[:, :3] = (np.asarray(laspy.read(tmp_path / "a.laz").xyz) - place).astype(
        np.float32
    )
    np.testing.assert_allclose(moved_points, points, atol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected(student, moved_points))


def test_a_dark_cloud_is_pointed_out(
    run: Path,
    write_kitti_scan: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_kitti_scan("a.bin")
    features(settings(points=[path], checkpoint=run, out=tmp_path / "a.npy"))
    assert "brightest" not in capsys.readouterr().err
    features(settings(points=[path], checkpoint=run, out=tmp_path / "b.npy", intensity_scale=255))
    assert (
        "the brightest point has 0.00387 of full intensity; if the file's full"
        in capsys.readouterr().err
    )


def test_points_without_return_have_nan_features_in_their_rows(
    student: Student, run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write_kitti_scan("a.bin")
    points = scan(path)
    points[[0, 77], 1] = np.nan
    points.tofile(path)
    features(settings(points=[path], checkpoint=run, out=tmp_path / "a.npy"))
    rows = np.load(tmp_path / "a.npy")
    finite = np.isfinite(points).all(1)
    assert np.isnan(rows[~finite]).all()
    np.testing.assert_array_equal(rows[finite], expected(student, points[finite]))
    assert (
        "2 of 250 points are not finite (no return); their features are NaN"
        in capsys.readouterr().err
    )


def test_a_folder_goes_on_where_it_was_and_keeps_to_its_settings(
    student: Student, run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = [write_kitti_scan(name) for name in ("a.bin", "b.bin", "c.bin")]
    out = tmp_path / "out"
    values = {"checkpoint": run, "out": out, "output_format": "npy"}
    assert len(features(settings(points=paths[:2], **values)).files) == 2
    assert sorted(path.name for path in out.iterdir()) == [
        "a.npy", "b.npy", "settings.yaml", "sources.jsonl",
    ]  # fmt: skip
    again = features(settings(points=paths, **values))
    assert ([each.source for each in again.files], again.current) == (paths[2:], paths[:2])
    assert "already up to date: 2 outputs" in str(again)
    points = scan(paths[0])[::-1].copy()
    points.tofile(paths[0])
    assert [each.source for each in features(settings(points=paths, **values)).files] == paths[:1]
    np.testing.assert_array_equal(np.load(out / "a.npy"), expected(student, points))
    older = scan(paths[0])[::-1].copy()  # as many bytes, and older than the output
    older.tofile(paths[0])
    os.utime(paths[0], (1e9, 1e9))
    assert [each.source for each in features(settings(points=paths, **values)).files] == paths[:1]
    np.testing.assert_array_equal(np.load(out / "a.npy"), expected(student, older))
    os.utime(paths[1])  # touched, not changed
    os.utime(run / "student.safetensors")
    assert features(settings(points=paths, **values)).current == paths
    (out / "c.npy").unlink()
    assert [each.source for each in features(settings(points=paths, **values)).files] == paths[2:]
    with (out / "sources.jsonl").open("a") as file:
        file.write('{"output": "a.npy", "pa')  # a run that was killed
    assert features(settings(points=paths, **values)).current == paths
    save_student(run, build_student("minkunet-tiny", 0.5), {})  # other weights
    assert len(features(settings(points=paths, **values)).files) == 3
    with pytest.raises(
        CleverError, match=r"other settings \(dtype: float32 -> float16\); choose another `out`"
    ):
        features(settings(points=paths, **values, dtype="float16"))
    with pytest.raises(CleverError, match=r"run exists and holds no run; choose another `out`"):
        features(settings(points=paths, checkpoint=run, out=run))


def test_a_first_run_that_failed_for_all_files_does_not_bar_the_corrected_one(
    run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    path, out = write_kitti_scan("a.bin"), tmp_path / "out"
    with pytest.raises(CleverError, match=r"a\.bin"):
        features(settings(points=[path], checkpoint=run, out=out, input_format="nuscenes"))
    assert len(features(settings(points=[path], checkpoint=run, out=out)).files) == 1
    trained = run / "settings.yaml"
    trained.write_text("cache: a.zarr\n")
    (run / "student.json").unlink()
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(CleverError):
        features(settings(points=[path], checkpoint=run, out=run))
    assert sorted(path.name for path in run.iterdir()) == before


def test_outputs_that_would_collide_or_contradict(
    run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    one, other = write_kitti_scan("one/a.bin"), write_kitti_scan("two/a.bin")
    with pytest.raises(
        CleverError, match=r"one/a\.bin and .*two/a\.bin would both become a\.safetensors"
    ):
        features(settings(points=[one, other], checkpoint=run, out=tmp_path / "out"))
    with pytest.raises(CleverError, match=r"a\.npy` is one file for 2 inputs; give a folder"):
        features(settings(points=[one, other], checkpoint=run, out=tmp_path / "a.npy"))
    with pytest.raises(CleverError, match=r"a\.npy` is no safetensors file"):
        features(
            settings(
                points=[one], checkpoint=run, out=tmp_path / "a.npy", output_format="safetensors"
            )
        )
    with pytest.raises(CleverError, match="no point files given"):
        features(settings(checkpoint=run, out=tmp_path / "a.npy"))
    assert not (tmp_path / "out").exists()


def test_features_that_do_not_fit(
    student: Student, write_kitti_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_kitti_scan("a.bin")
    large = build_student(student.name, student.voxel_size)
    large.load_state_dict(student.state_dict())
    final = [module for module in large.modules() if isinstance(module, torch.nn.BatchNorm1d)][-1]
    with torch.no_grad():
        final.bias.fill_(1e6)
    save_student(tmp_path / "large", large, {})
    values = {"points": [path], "checkpoint": tmp_path / "large", "out": tmp_path / "a.npy"}
    with pytest.raises(
        CleverError, match=r"a\.bin: features are too large for float16; use `dtype=float32`"
    ):
        features(settings(**values, dtype="float16"))
    features(settings(**values))
    with torch.no_grad():
        final.bias.fill_(torch.nan)
    save_student(tmp_path / "broken", large, {})
    with pytest.raises(CleverError, match=r"a\.bin: the student's features are not finite"):
        features(settings(points=[path], checkpoint=tmp_path / "broken", out=tmp_path / "b.npy"))
    assert not (tmp_path / "b.npy").exists()


def test_the_command(run: Path, write_kitti_scan: Callable[[str], Path], tmp_path: Path) -> None:
    app = build_app("features")
    good, bad = write_kitti_scan("good.bin"), tmp_path / "bad.bin"
    bad.write_bytes(b"12345")
    base = ["--checkpoint", str(run), "--device", "cpu"]
    result = CliRunner().invoke(
        app, ["features", str(good), str(bad), "--out", str(tmp_path / "out"), *base]
    )
    assert result.exit_code == 3
    assert f"{good}: 250 points, KITTI .bin (4 x float32), intensity / 1 = 0.00" in result.stdout
    assert f"skipped {bad} has 5 bytes, no multiple of 16" in result.stdout
    assert contents(tmp_path / "out/good.safetensors").shape == (250, 64)
    alone = CliRunner().invoke(
        app, ["features", str(bad), "--out", str(tmp_path / "bad.npy"), *base]
    )
    assert (alone.exit_code, alone.stdout) == (2, "")
    assert alone.stderr.startswith(f"error: {bad} has 5 bytes")
    assert alone.stderr.count("\n") == 1
    config = tmp_path / "features.yaml"
    config.write_text(
        f"points: [{good}]\norigin: [0, 0, 1]\ncheckpoint: {run}\nout: {tmp_path / 'low.npy'}\n"
    )
    low = CliRunner().invoke(app, ["features", "--config", str(config), "--origin", "-0,0,1.5"])
    assert low.exit_code == 0, low.stderr
    moved = scan(good) - np.array([0, 0, 1.5, 0], np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "low.npy"), expected(load_student(run), moved))


def test_real_frames_as_the_datasets_read_them(
    student: Student, run: Path, shared_data: Path, tmp_path: Path
) -> None:
    kitti = build_dataset("semantickitti", shared_data / "semantickitti", sequences=["08"])
    scan = shared_data / "semantickitti/sequences/08/velodyne/000000.bin"
    sweep = next((shared_data / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    features(settings(points=[scan, sweep], checkpoint=run, out=tmp_path / "out"))
    np.testing.assert_array_equal(
        contents(tmp_path / "out/000000.safetensors"), expected(student, kitti.points(0))
    )
    nuscenes = build_dataset("nuscenes", shared_data / "nuscenes", version="v1.0-mini", split="all")
    name = sweep.name.removesuffix(".pcd.bin")
    np.testing.assert_array_equal(
        contents(tmp_path / f"out/{name}.safetensors"), expected(student, nuscenes.points(0))
    )
