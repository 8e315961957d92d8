"""`clever predict`: every point's label in every format, resumed, and as benchmarks want it."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement
from typer.testing import CliRunner

from clever.cli.main import build_app
from clever.errors import CleverError, OutputError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.folder import FolderDataset
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.evaluate import evaluate
from clever.pipeline.pictures.class_colours import class_colours
from clever.pipeline.predict import predict
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.predict import PredictSettings
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter, Training, load_segmenter
from clever.student.tta import tta_words

KITTI_IDS = (10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81)
"""Published raw ids of classes 1 to 19 (semantic-kitti-api, learning_map_inv)."""
Cloud = NDArray[np.float32]


def save_segmenter(folder: Path, dataset: Any, seed: int = 0) -> Path:
    """An untrained segmenter whose labels vary."""
    torch.manual_seed(seed)
    student = build_student("minkunet-tiny", 0.5)
    training = Training(
        dataset=dataset.name,
        version=None,
        class_names=dataset.class_names,
        batch_norm=False,
        head="linear probe",
        initialisation="random initialisation",
        frames="train 00 (3 scans)",
        scenes=("00",),
        details="50 epochs",
    )
    probe = LinearProbe(student.out_channels, len(dataset.class_names))
    with torch.no_grad():
        probe.linear.weight *= 1000
    Segmenter(student, probe).save(folder, training)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_segmenter(tmp_path / "run", SemanticKittiDataset)


@pytest.fixture
def write_scan(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a KITTI scan of 250 points, the name being its seed."""

    def write(name: str) -> Path:
        rng = np.random.default_rng(list(name.encode()))
        path = tmp_path / name
        rng.uniform([-8, -8, -2, 0], [8, 8, 1, 1], (250, 4)).astype("<f4").tofile(path)
        return path

    return write


def scan(path: Path) -> Cloud:
    return np.fromfile(path, "<f4").reshape(-1, 4)


def settings(**values: object) -> PredictSettings:
    return PredictSettings.resolve(None, {"device": "cpu", **values})


def test_every_format_holds_what_the_segmenter_says(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_scan("a.bin")
    labels, confidence = load_segmenter(checkpoint)(scan(path))
    assert len(set(labels.tolist())) > 3  # or the test shows little
    base = {"points": [path], "checkpoint": checkpoint}
    for ending in ("label", "npy", "ply"):
        predict(settings(**base, out=tmp_path / f"out.{ending}"))
    ids = np.fromfile(tmp_path / "out.label", "<u4")
    assert ids.tolist() == [KITTI_IDS[label] for label in labels]
    np.testing.assert_array_equal(np.load(tmp_path / "out.confidence.npy"), confidence)
    records = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(records["label"], labels)
    np.testing.assert_array_equal(records["confidence"], confidence)
    ply = PlyData.read(tmp_path / "out.ply")
    vertex = ply["vertex"]
    for axis, column in zip("xyz", scan(path).T, strict=False):
        np.testing.assert_array_equal(vertex[axis], column)
    np.testing.assert_array_equal(vertex["label"], labels)
    np.testing.assert_array_equal(vertex["confidence"], confidence)
    colours = np.stack([vertex[name] for name in ("red", "green", "blue")], 1)
    expected = class_colours(SemanticKittiDataset.class_names)[labels]
    np.testing.assert_array_equal(colours, expected)
    assert "label 0 car" in ply.comments
    by_id = json.loads((tmp_path / "out.label.classes.json").read_text())
    by_number = json.loads((tmp_path / "out.npy.classes.json").read_text())
    assert (by_id["classes"]["10"], by_number["classes"]["0"]) == ("car", "car")
    assert (by_id["no prediction"], by_number["no prediction"]) == (0, 255)
    with pytest.raises(CleverError, match=r"out\.ply exists; remove it or choose another `out`"):
        predict(settings(**base, out=tmp_path / "out.ply"))


def test_what_lies_beside_an_output_is_not_written_over(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    base = {"points": [write_scan("a.bin")], "checkpoint": checkpoint}
    for name in ("mine.confidence.npy", "mine.label.classes.json"):
        (tmp_path / name).write_bytes(b"1")
        with pytest.raises(CleverError, match=f"{name} exists; remove it or choose another"):
            predict(settings(**base, out=tmp_path / "mine.label"))
        assert (tmp_path / name).read_bytes() == b"1"
        assert not (tmp_path / "mine.label").exists()
        (tmp_path / name).unlink()


def test_points_without_return_keep_their_row(checkpoint: Path, tmp_path: Path) -> None:
    rows = np.zeros(6, [("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("intensity", "u1")])
    place = np.array([500_000.0, 5_000_000.0, 100.0])
    points = np.random.default_rng(0).uniform(-5, 5, (6, 3)).round(3)
    rows["x"], rows["y"], rows["z"] = (points + place).T
    rows["intensity"] = [0, 50, 100, 150, 200, 250]
    rows["x"][2] = np.nan
    source = tmp_path / "in.ply"
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(source))
    base = {"points": [source], "checkpoint": checkpoint, "origin": "500000,5000000,100"}
    summary = predict(settings(**base, out=tmp_path / "out.ply"))
    assert "6 points, PLY (binary), field intensity, intensity / 255 = 0 to 0.98" in str(summary)
    assert str(summary).count("out.ply, 1 without a label") == 1
    vertex = PlyData.read(tmp_path / "out.ply")["vertex"]
    np.testing.assert_array_equal(vertex["x"], rows["x"])  # in the file's frame and numbers
    assert vertex["x"].dtype == np.float64
    assert (vertex["label"][2], vertex["red"][2]) == (255, 127)
    assert np.isnan(vertex["confidence"][2])
    predict(settings(**base, out=tmp_path / "out.label"))
    ids = np.fromfile(tmp_path / "out.label", "<u4")
    assert ids[2] == 0
    assert set(np.delete(ids, 2).tolist()) <= set(KITTI_IDS)


def test_a_folder_goes_on_and_a_bad_file_costs_no_other(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = [write_scan(name) for name in ("a.bin", "b.bin")]
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"12345")
    values = {"checkpoint": checkpoint, "out": tmp_path / "out"}
    first = predict(settings(points=[paths[0], bad], **values)).outputs
    assert [file.source for file in first.files] == [str(paths[0])]
    assert [entry.id for entry in first.bad] == [str(bad)]
    again = predict(settings(points=paths, **values)).outputs
    assert ([file.source for file in again.files], again.current) == ([str(paths[1])], paths[:1])
    for path in paths:
        labels, _ = load_segmenter(checkpoint)(scan(path))
        ids = np.fromfile(tmp_path / f"out/{path.stem}.label", "<u4")
        assert ids.tolist() == [KITTI_IDS[label] for label in labels]
    classes = json.loads((tmp_path / "out/classes.json").read_text())
    assert classes["classes"]["10"] == "car"
    assert (list(map(int, classes["classes"])), classes["no prediction"]) == ([*KITTI_IDS], 0)
    # Another classifier on the same student: all are made anew.
    segmenter, training = load_segmenter(checkpoint)
    with torch.no_grad():
        segmenter.classifier.linear.bias[4] += 1000
    segmenter.save(checkpoint, training, with_student=False)
    assert len(predict(settings(points=paths, **values)).outputs.files) == 2
    assert set(np.fromfile(tmp_path / "out/a.label", "<u4").tolist()) == {20}
    with pytest.raises(CleverError, match=r"other settings \(tta: False -> True\)"):
        predict(settings(points=paths, **values, tta=True))
    with pytest.raises(CleverError, match=r"bad\.bin has 5 bytes"):
        predict(settings(points=[bad], **values))


def test_an_output_that_cannot_be_written_is_no_bad_file(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = [write_scan(name) for name in ("a.bin", "b.bin")]
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(CleverError, match="out exists and holds no run; choose another `out`"):
        predict(settings(points=paths, checkpoint=checkpoint, out=out))
    out.unlink()
    predict(settings(points=paths, checkpoint=checkpoint, out=out))
    for name in ("a", "b"):
        (out / f"{name}.label").unlink()
    (out / "a.label").mkdir()  # no file can take its place
    write_scan("a.bin").write_bytes(scan(paths[0])[::-1].tobytes())
    with pytest.raises(OutputError, match=r"^cannot write .*/out/a\.label: Is a directory"):
        predict(settings(points=paths, checkpoint=checkpoint, out=out))
    assert not (out / "b.label").exists()


def test_a_first_run_without_an_output_binds_nobody(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    path, out = write_scan("a.bin"), tmp_path / "out"
    with pytest.raises(CleverError, match="read as nuScenes"):
        predict(settings(points=[path], checkpoint=checkpoint, out=out, input_format="nuscenes"))
    with pytest.raises(CleverError, match=r"cannot read .*: Is a directory; give files$"):
        predict(settings(points=[tmp_path], checkpoint=checkpoint, out=out))
    values = {"points": [path], "checkpoint": checkpoint, "out": out, "output_format": "npy"}
    assert len(predict(settings(**values)).outputs.files) == 1
    assert json.loads((out / "classes.json").read_text())["no prediction"] == 255
    (out / "sources.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(CleverError, match=r"sources\.jsonl cannot be read .*; remove it"):
        predict(settings(**values))


def test_frames_of_a_dataset(checkpoint: Path, kitti_root: Path, tmp_path: Path) -> None:
    """The training dataset's validation part by default, every frame in its scene's folder."""
    values = {"checkpoint": checkpoint, "data_root": kitti_root, "out": tmp_path / "out"}
    values |= {"output_format": "npy", "tta": True}
    one = predict(settings(**values, limit=1)).outputs
    both = predict(settings(**values))
    assert ([file.source for file in one.files], both.outputs.current) == (
        ["08/000000"], ["08/000000"]
    )  # fmt: skip
    dataset = SemanticKittiDataset(kitti_root, split="val")
    for index, frame in enumerate(dataset.frame_ids):
        labels, confidence = load_segmenter(checkpoint)(dataset.points(index), tta=True)
        records = np.load(tmp_path / f"out/{frame}.npy")
        np.testing.assert_array_equal(records["label"], labels)
        np.testing.assert_array_equal(records["confidence"], confidence)
    classes = json.loads((tmp_path / "out/classes.json").read_text())
    assert (classes["classes"]["18"], classes["no prediction"]) == ("traffic-sign", 255)
    assert str(both).startswith("linear probe, semantickitti train 00 (3 scans), 50 epochs, random")
    assert f"{tta_words(True)}, all points\n1 frame, 400 points, " in str(both)
    assert both.rate == pytest.approx(1 / both.outputs.seconds)
    sweeps = [kitti_root / f"sequences/08/velodyne/00000{number}.bin" for number in (0, 1)]
    scan(sweeps[0])[::-1].copy().tofile(sweeps[0])  # as many points in another order
    sweeps[1].write_bytes(b"1")
    changed = predict(settings(**values)).outputs
    assert [file.source for file in changed.files] == ["08/000000"]
    assert [entry.reason[:23] for entry in changed.bad] == ["frame 08/000001: sweep "]
    labels, _ = load_segmenter(checkpoint)(scan(sweeps[0]), tta=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out/08/000000.npy")["label"], labels)


def test_frames_are_no_single_file(checkpoint: Path, kitti_root: Path, tmp_path: Path) -> None:
    values = {"checkpoint": checkpoint, "data_root": kitti_root, "out": tmp_path / "p9.ply"}
    with pytest.raises(CleverError, match=r"p9\.ply` is one file, .* `output_format=ply` for that"):
        predict(settings(**values))
    assert not (tmp_path / "p9.ply").exists()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({0: "ignore", 252: "car", 40: "road", 10: "car"}, [40, 252]),
        ({0: "road", 7: "road", 9: "car"}, [7, 9]),
        ({0: "road", 9: "car"}, [1, 2]),  # 0 is no prediction
    ],
)
def test_a_drive_of_ones_own_gets_its_own_ids(
    raw: dict[int, str], expected: list[int], write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    labels = {"files": "{frame}.label", "classes": ["road", "car"], "map": raw}
    content: dict[str, Any] = {
        "points": {
            "files": "{frame}.bin",
            "input_format": "bin",
            "columns": ["x", "y", "z", "intensity"],
            "intensity_scale": 1.0,
        },
        "cameras": {},
        "labels": labels,
    }
    path = write_scan("a.bin")
    (tmp_path / "drive.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    run = save_segmenter(tmp_path / "run", FolderDataset(tmp_path, split="all"))
    values = {"checkpoint": run, "data_root": tmp_path, "split": "all"}
    predict(settings(**values, out=tmp_path / "out"))
    positions, _ = load_segmenter(run)(scan(path))
    assert set(positions.tolist()) == {0, 1}
    ids = np.fromfile(tmp_path / "out/a.label", "<u4")
    assert ids.tolist() == [expected[label] for label in positions]
    classes = json.loads((tmp_path / "out/classes.json").read_text())["classes"]
    assert classes == {str(expected[0]): "road", str(expected[1]): "car"}
    # Of a file, the ids that the run has kept.
    segmenter, training = load_segmenter(run)
    segmenter.save(run, training.model_copy(update={"label_ids": tuple(expected)}))
    predict(settings(points=[path], checkpoint=run, out=tmp_path / "one.label"))
    assert np.fromfile(tmp_path / "one.label", "<u4").tolist() == ids.tolist()
    assert json.loads((tmp_path / "one.label.classes.json").read_text())["classes"] == classes


def test_labels_of_a_dataset_that_is_not_installed(
    checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path
) -> None:
    segmenter, training = load_segmenter(checkpoint)
    other = training.model_copy(update={"dataset": "no_such_module:Dataset"})
    segmenter.save(tmp_path / "other", other)
    path = write_scan("a.bin")
    base = {"points": [path], "checkpoint": tmp_path / "other"}
    predict(settings(**base, out=tmp_path / "out.label"))
    labels, _ = load_segmenter(checkpoint)(scan(path))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out.label", "<u4"), labels + 1)


def test_a_submission_to_semantickitti_reads_back_as_labels(
    checkpoint: Path, write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"8": 2}, labels=False)
    values = {"checkpoint": checkpoint, "data_root": root, "out": tmp_path / "out"}
    summary = predict(settings(**values, submission=True))
    folder = tmp_path / "out/submission"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "sequences/08/predictions/000000.label", "sequences/08/predictions/000001.label"
    ]  # fmt: skip
    part = "split val; a benchmark itself measures `split=test`"
    assert f"hand in the contents of {folder}, {part}\n" in f"{summary}\n"
    (folder / "sequences/08/predictions").rename(root / "sequences/8/labels")
    dataset = SemanticKittiDataset(root, split="val")
    for index in range(2):
        labels, _ = load_segmenter(checkpoint)(dataset.points(index))
        np.testing.assert_array_equal(dataset.labels(index), labels)
    assert predict(settings(**values, submission=True)).outputs.current == []


def link_samples(path: Path) -> None:
    """Name the next keyframe of every keyframe, as the devkit wants it."""
    samples = json.loads(path.read_text())
    for one, other in pairwise(samples):
        if one["scene_token"] == other["scene_token"]:
            one["next"] = other["token"]
    path.write_text(json.dumps(samples))


def test_the_devkit_takes_a_submission_to_nuscenes_and_finds_our_miou(
    write_nuscenes: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    from nuscenes import NuScenes
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.eval.lidarseg.validate_submission import validate_submission

    root = write_nuscenes({"scene-0103": 2, "scene-0916": 1})
    link_samples(root / "v1.0-mini/sample.json")
    run = save_segmenter(tmp_path / "run", NuScenesDataset)
    values = {"checkpoint": run, "data_root": root, "device": "cpu"}
    summary = predict(settings(**values, out=tmp_path / "out", submission=True))
    assert "`use_external` is false" in str(summary)
    folder = tmp_path / "out/submission"
    devkit = NuScenes("v1.0-mini", str(root), verbose=False)
    validate_submission(devkit, str(folder), "mini_val")
    official = LidarSegEval(devkit, str(folder), "mini_val").evaluate()
    ours = evaluate(EvaluateSettings.resolve(None, values))
    assert official["miou"] == pytest.approx(ours.miou)
    assert ours.miou > 0


def test_an_incomplete_submission_says_so(
    checkpoint: Path, kitti_root: Path, tmp_path: Path
) -> None:
    values = {"checkpoint": checkpoint, "data_root": kitti_root, "out": tmp_path / "out"}
    values |= {"submission": True}
    first = str(predict(settings(**values, limit=1)))
    assert "1 of 2 frames lacking" in first
    assert f"\nwritten to {tmp_path / 'out'}\n" in first
    (kitti_root / "sequences/08/velodyne/000001.bin").write_bytes(b"1")
    summary = predict(settings(**values))
    assert "skipped frame 08/000001: sweep" in str(summary)
    assert "1 of 2 frames lacking" in str(summary)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"points": ["a.bin"], "split": "test"}, "`points` names files; leave `split` out"),
        ({"points": ["a.bin"], "dataset": "nuscenes"}, "leave `dataset` out"),
        ({"points": ["a.bin"], "submission": True}, "leave `submission` out"),
        ({"data_root": "/data", "origin": "0,0,1"}, "frames are labelled; leave `origin` out"),
        (
            {"data_root": "/data", "submission": True, "output_format": "npy"},
            "has its own format; leave `output_format` out",
        ),
        ({}, "name files in `points`, or a dataset with `data_root`"),
    ],
)
def test_contradictions_are_one_line(
    changes: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEVER_DATA_ROOT", raising=False)
    with pytest.raises(CleverError, match=complaint):
        predict(settings(checkpoint=tmp_path / "none", out=tmp_path / "out", **changes))


def test_other_classes_are_no_submission(
    checkpoint: Path, nuscenes_root: Path, tmp_path: Path
) -> None:
    values = {"checkpoint": checkpoint, "data_root": nuscenes_root, "dataset": "nuscenes"}
    with pytest.raises(CleverError, match="trained for the classes of semantickitti, not of"):
        predict(settings(**values, out=tmp_path / "out", submission=True))
    labels = predict(settings(**values, out=tmp_path / "other")).outputs.files
    assert [file.out.name for file in labels] == ["scene-0103-0.label", "scene-0103-1.label"]


def test_the_command(checkpoint: Path, write_scan: Callable[[str], Path], tmp_path: Path) -> None:
    app, good, bad = build_app("predict"), write_scan("good.bin"), tmp_path / "bad.bin"
    bad.write_bytes(b"12345")
    base = ["--checkpoint", str(checkpoint), "--device", "cpu", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["predict", str(good), str(bad), *base])
    assert result.exit_code == 3
    assert f"{good}: 250 points, KITTI .bin (4 x float32), intensity / 1" in result.stdout
    assert "no TTA, all points\n" in result.stdout
    assert "1 file, 250 points, " in result.stdout
    assert " files/s on cpu, reading and writing included" in result.stdout
    assert f"skipped {bad} has 5 bytes" in result.stdout
    wrong = CliRunner().invoke(app, ["predict", str(good), *base, "--submission"])
    assert (wrong.exit_code, wrong.stderr) == (
        2, "error: POINTS names files; leave --submission out\n"
    )  # fmt: skip


def test_real_scans(checkpoint: Path, shared_data: Path, tmp_path: Path) -> None:
    """Every point of a validation scan, as a file and as a frame of its dataset."""
    root = shared_data / "semantickitti"
    path = root / "sequences/08/velodyne/000000.bin"
    predict(settings(points=[path], checkpoint=checkpoint, out=tmp_path / "files"))
    values = {"checkpoint": checkpoint, "data_root": root, "limit": 1}
    predict(settings(**values, out=tmp_path / "frames"))
    points = build_dataset("semantickitti", root, sequences=["08"]).points(0)
    labels, confidence = load_segmenter(checkpoint)(points)
    for place in ("files/000000", "frames/08/000000"):
        ids = np.fromfile(tmp_path / f"{place}.label", "<u4")
        assert ids.tolist() == [KITTI_IDS[label] for label in labels]
        np.testing.assert_array_equal(np.load(tmp_path / f"{place}.confidence.npy"), confidence)
