"""`clever predict` with a detector: boxes of frames and files, resumed, in every format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.datasets.kitti import KittiDataset
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.detect import RESULT_FILE, detect
from clever.pipeline.detection_runs.camera_view import camera_view
from clever.pipeline.detection_runs.kitti import FrontView
from clever.pipeline.detection_runs.nuscenes import NuScenesBenchmark
from clever.pipeline.detectors.box_step import BoxStep
from clever.pipeline.detectors.checkpoint import (
    DetectorMeta,
    TrainedDetector,
    load_detector,
    save_detector,
)
from clever.pipeline.detectors.registry import DETECTORS
from clever.pipeline.predict import predict
from clever.pipeline.settings.detect import DetectSettings
from clever.pipeline.settings.predict import PredictSettings
from clever.student.registry import build_student

from .detection_runs.kitti_tree import make_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("kitti"), 4, 2)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that was trained long enough to find something."""
    out = tmp_path_factory.mktemp("table")
    values = {
        "dataset": "kitti", "data_root": root, "checkpoint": ("none",), "out": out, "epochs": 12,
        "student": "minkunet-tiny", "voxel_size": 0.3, "batch_size": 2, "device": "cpu",
        "seeds": (0,), "lr": 0.01, "bank": False,
    }  # fmt: skip
    (planned,) = detect(DetectSettings.model_validate(values)).runs
    return out / planned.folder


def settings(**values: object) -> PredictSettings:
    return PredictSettings.resolve(None, {"device": "cpu", **values})


def sweep(root: Path, number: int) -> Path:
    return root / f"training/velodyne/{number:06}.bin"


@pytest.mark.slow
def test_frames_get_the_results_that_the_run_was_measured_by(
    root: Path, run: Path, tmp_path: Path
) -> None:
    values = {"checkpoint": run, "data_root": root}
    out = tmp_path / "kitti"
    summary = predict(settings(**values, out=out, output_format="kitti"))
    for name in ("000004.txt", "000005.txt"):
        lines = (out / "training" / name).read_text()
        assert lines == (run / "results" / name).read_text()
        assert lines.startswith(("Car -1 -1 ", "Pedestrian -1 -1 "))
    assert str(summary).startswith("point-head, kitti train, 100 % by frames (4 of 4)")
    assert "x 0 to 70.4, y -40 to 40, z -3 to 1 m of the LiDAR" in str(summary)
    assert (len(summary.outputs.files), summary.outputs.current) == (2, [])
    again = predict(settings(**values, out=tmp_path / "json"))
    detector = load_detector(run)
    names: list[str] = []
    frames = FrontView(KittiDataset(root, split="val"))
    for index, number in enumerate((4, 5)):
        records = json.loads((tmp_path / f"json/training/{number:06}.json").read_text())
        expected = detector(frames.points(index))
        assert len(records) > 0
        names += expected.names(detector.meta.class_names)
        assert [entry["name"] for entry in records] == expected.names(detector.meta.class_names)
        assert [entry["score"] for entry in records] == expected.scores.tolist()
        assert [entry["box"] for entry in records] == expected.boxes.rows.tolist()
    words = str(again).rpartition("\nin these: ")[2].split(", ")
    assert set(words) == {f"{names.count(name)} {name}" for name in names}
    meaning = json.loads((tmp_path / "json/classes.json").read_text())
    assert meaning["classes"] == ["Car", "Pedestrian", "Cyclist"]
    assert "yaw in radians" in meaning["box"]
    assert "rectified camera 0" in json.loads((out / "classes.json").read_text())["line"]


def test_no_labels_are_read_and_a_bad_frame_costs_no_other(run: Path, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "kitti", 1, 3)
    for path in (root / "training/label_2").iterdir():
        path.unlink()
    values = {"checkpoint": run, "data_root": root, "out": tmp_path / "out"}
    first = predict(settings(**values, limit=1))
    sweep(root, 2).write_bytes(b"1")
    both = predict(settings(**values))
    assert [file.source for file in first.outputs.files] == ["training/000001"]
    assert both.outputs.current == ["training/000001"]
    assert [file.source for file in both.outputs.files] == ["training/000003"]
    assert [bad.id for bad in both.bad] == ["training/000002"]
    with pytest.raises(CleverError, match=r"holds a run with other settings \(output_format"):
        predict(settings(**values, output_format="kitti"))


def test_files_have_boxes_in_their_own_frame(root: Path, run: Path, tmp_path: Path) -> None:
    path, detector = sweep(root, 4), load_detector(run)
    values = {"checkpoint": run, "points": [path]}
    summary = predict(settings(**values, out=tmp_path / "one.json"))
    records = json.loads((tmp_path / "one.json").read_text())
    cloud = np.fromfile(path, "<f4").reshape(-1, 4)
    expected = detector(cloud)
    assert [entry["box"] for entry in records] == expected.boxes.rows.tolist()
    meaning = tmp_path / "one.json.classes.json"
    assert f"{path}: 540 points, KITTI .bin (4 x float32)" in str(summary)
    assert f"one.json, {len(records)} boxes" in str(summary)
    assert str(summary).endswith(f"what stands in it: {meaning}")
    for taken in ("one.json", "two.json.classes.json"):
        (tmp_path / taken).touch()
    for name in ("one", "two"):
        with pytest.raises(CleverError, match=f"{name}.json.* exists; remove it or choose another"):
            predict(settings(**values, out=tmp_path / f"{name}.json"))
    # The same points about a sensor that stands elsewhere.
    moved = tmp_path / "moved.bin"
    (cloud + np.array([64, -32, 2, 0], np.float32)).tofile(moved)
    values = {"checkpoint": run, "points": [moved], "origin": "64,-32,2"}
    predict(settings(**values, out=tmp_path / "moved.json"))
    shifted = json.loads((tmp_path / "moved.json").read_text())
    np.testing.assert_allclose(
        [entry["box"] for entry in shifted],
        expected.boxes.rows.numpy() + np.array([64, -32, 2, 0, 0, 0, 0]),
        atol=1e-3,
    )


def test_a_folder_of_files_goes_on(root: Path, run: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"12345")
    values = {"checkpoint": run, "out": tmp_path / "out"}
    first = predict(settings(**values, points=[sweep(root, 0), bad]))
    assert [entry.id for entry in first.bad] == [str(bad)]
    again = predict(settings(**values, points=[sweep(root, 0), sweep(root, 1)])).outputs
    assert (again.current, [file.source for file in again.files]) == (
        [sweep(root, 0)], [str(sweep(root, 1))],
    )  # fmt: skip
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"000000.json", "000001.json", "classes.json", "sources.jsonl"} <= names


def test_other_datasets_are_searched_as_the_training_frames_were(
    run: Path, write_kitti: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A KITTI detector sees what the first camera sees; the results are in that camera's frame."""
    root = write_kitti({"8": 1})
    values = {"checkpoint": run, "data_root": root, "dataset": "semantickitti"}
    predict(settings(**values, out=tmp_path / "plain"))
    other = "the detector learnt from kitti; what it finds in semantickitti has the classes"
    assert other in capsys.readouterr().err
    predict(settings(**values, out=tmp_path / "camera", output_format="kitti"))
    dataset = SemanticKittiDataset(root, split="val")
    view = camera_view(dataset, 0)
    (camera,), (frame,) = dataset.frame(0).cameras, dataset.frame_ids
    seen = view.points(dataset.points(0))
    assert 0 < len(seen) < len(dataset.points(0))
    pixels = (camera.camera_from_lidar @ np.c_[seen[:, :3], np.ones(len(seen))].T)[:3]
    u, v, depth = camera.intrinsics @ pixels
    assert depth.min() > 0
    assert ((u >= 0) & (u < camera.width * depth) & (v >= 0) & (v < camera.height * depth)).all()
    records = json.loads((tmp_path / f"plain/{frame}.json").read_text())
    expected = load_detector(run)(seen)
    assert [entry["score"] for entry in records] == expected.scores.tolist()
    lines = (tmp_path / f"camera/{frame}.txt").read_text().splitlines()
    assert len(lines) == len(records)


def test_frames_without_a_camera(run: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive/a.bin").write_bytes(sweep(root, 4).read_bytes())
    (tmp_path / "drive/drive.yaml").write_text(
        "points: {files: '{frame}.bin', input_format: bin, columns: [x, y, z, intensity],"
        " intensity_scale: 1.0}\ncameras: {}\n"
    )
    values = {
        "checkpoint": run, "data_root": tmp_path / "drive", "dataset": "folder", "split": "all",
    }  # fmt: skip
    predict(settings(**values, out=tmp_path / "out"))
    predict(settings(checkpoint=run, points=[sweep(root, 4)], out=tmp_path / "one.json"))
    assert (tmp_path / "out/a.json").read_text() == (tmp_path / "one.json").read_text()
    with pytest.raises(CleverError, match="frame a: it has no camera, and KITTI's results need"):
        predict(settings(**values, out=tmp_path / "kitti", output_format="kitti"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tta": True}, "finds boxes; leave `tta` out"),
        ({"data_root": "/data", "submission": True}, "finds boxes; leave `submission` out"),
        ({"output_format": "ply"}, "written as json or kitti; `output_format=ply` is one of lab"),
        ({"output_format": "kitti"}, "need a camera, and files have none; choose `output_format="),
    ],
)
def test_what_means_nothing_for_boxes_is_one_line(
    changes: dict[str, Any], complaint: str, root: Path, run: Path, tmp_path: Path
) -> None:
    inputs = {} if "data_root" in changes else {"points": [sweep(root, 0)]}
    with pytest.raises(CleverError, match=complaint):
        predict(settings(checkpoint=run, out=tmp_path / "out", **inputs, **changes))


def test_a_table_of_detectors_is_no_detector(tmp_path: Path) -> None:
    (tmp_path / RESULT_FILE).write_text("{}")
    with pytest.raises(CleverError, match=r"is a table of detectors; give one of its runs"):
        predict(settings(checkpoint=tmp_path, points=["a.bin"], out=tmp_path / "out"))


def test_a_damaged_head_is_one_line(run: Path, root: Path, tmp_path: Path) -> None:
    for path in run.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    head = tmp_path / "detector.safetensors"
    head.write_bytes(head.read_bytes()[:-64])
    with pytest.raises(CleverError, match=r"detector\.safetensors is damaged"):
        predict(settings(checkpoint=tmp_path, points=[sweep(root, 0)], out=tmp_path / "out"))


def test_a_cloud_of_any_kind(run: Path, root: Path) -> None:
    detector: TrainedDetector = load_detector(run)
    cloud = np.fromfile(sweep(root, 4), "<f4").reshape(-1, 4)
    expected = detector(cloud)
    gaps = np.full((3, 4), np.nan, np.float32)
    again = detector(np.concatenate([cloud, gaps, cloud[:5] - [200, 0, 0, 0]]).astype(np.float32))
    assert torch.equal(again.boxes.rows, expected.boxes.rows)  # neither is anywhere
    for nothing in (cloud[:0], gaps, cloud - [200, 0, 0, 0]):
        assert len(detector(nothing).scores) == 0
    with pytest.raises(CleverError, match=r"the shape \(3, 3\), not \(N, 4\)"):
        detector(gaps[:, :3])
    with pytest.raises(CleverError, match=r"intensities from .* to .*; bring them to 0 to 1"):
        detector(cloud * [1, 1, 1, 255])
    few = detector._replace(meta=detector.meta.model_copy(update={"points": 100}))
    assert torch.equal(few(cloud).boxes.rows, few(cloud).boxes.rows)
    assert few(cloud).boxes.rows.tolist() != expected.boxes.rows.tolist()
    with torch.no_grad():
        next(few.step.student.parameters()).fill_(torch.nan)
    with pytest.raises(CleverError, match="features are not finite; its weights are of no use"):
        few(cloud)


def test_the_command(run: Path, root: Path, tmp_path: Path) -> None:
    base = ["predict", "--checkpoint", str(run), "--device", "cpu"]
    flags = ["--data-root", str(root), "--output-format", "kitti", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app("predict"), [*base, *flags])
    assert result.exit_code == 0
    assert "2 frames, " in result.stdout
    wrong = CliRunner().invoke(build_app("predict"), [*base, *flags, "--tta"])
    assert wrong.exit_code != 0


def test_a_detector_of_nuscenes_sees_all_around(nuscenes_root: Path, tmp_path: Path) -> None:
    """An untrained one: its heat is a tenth everywhere, so that some cells are above it."""
    torch.manual_seed(1)
    benchmark, student = NuScenesBenchmark(), build_student("minkunet-tiny", 0.5)
    meta = DetectorMeta(
        detector="centre",
        dataset="nuscenes",
        class_names=benchmark.class_names,
        sizes=((1.0, 1.0, 1.0),) * 10,
        area=(benchmark.area.low, benchmark.area.high),
        cell=0.8,
        points=None,
        details="untrained",
    )
    head = DETECTORS["centre"](meta.plan(student.out_channels))
    save_detector(tmp_path / "run", BoxStep(student, head, frozen=False), meta)
    values = {"checkpoint": tmp_path / "run", "data_root": nuscenes_root}
    predict(settings(**values, out=tmp_path / "plain"))
    predict(settings(**values, out=tmp_path / "camera", output_format="kitti"))
    dataset, detector = NuScenesDataset(nuscenes_root, split="val"), load_detector(tmp_path / "run")
    for index, name in enumerate(dataset.frame_ids):
        expected = detector(dataset.points(index))
        records = json.loads((tmp_path / f"plain/{name}.json").read_text())
        assert 0 < len(records) <= 100
        assert [entry["box"] for entry in records] == expected.boxes.rows.tolist()
        # KITTI's x to the right, y down, z ahead of the first camera; y is that of the bottom.
        lines = (tmp_path / f"camera/{name}.txt").read_text().splitlines()
        camera = dataset.frame(index).cameras[0]
        centres = np.c_[expected.boxes.centres, np.ones(len(records))] @ camera.camera_from_lidar.T
        rows = np.array([line.split()[1:] for line in lines], float)
        np.testing.assert_allclose(rows[:, [10, 12]], centres[:, [0, 2]], atol=1e-4)
        np.testing.assert_allclose(rows[:, 11] - rows[:, 7] / 2, centres[:, 1], atol=1e-4)
        np.testing.assert_allclose(rows[:, -1], expected.scores, atol=1e-6)
        behind = centres[:, 2] < -10
        assert behind.any()
        assert (rows[behind, 3:7] == 0).all()
