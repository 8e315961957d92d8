"""`clever detect` on a tree of a few frames: runs, table, what is done twice and what is not."""

import json
from pathlib import Path

import pytest
import torch

from clever.cache.store.files.lock import writer_lock
from clever.errors import CleverError
from clever.pipeline import detect as module
from clever.pipeline.detect import detect
from clever.pipeline.detection_runs.run import train_detector
from clever.pipeline.detectors.checkpoint import load_detector
from clever.pipeline.list_runs import list_runs
from clever.pipeline.settings.detect import DetectSettings
from clever.pipeline.settings.list_runs import ListRunsSettings
from clever.student.checkpoint import save_student
from clever.student.registry import build_student

from .detection_runs.kitti_tree import make_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("kitti"), 4, 2)


def settings(root: Path, out: Path, **values: object) -> DetectSettings:
    small = {
        "dataset": "kitti", "checkpoint": ("none",), "student": "minkunet-tiny", "voxel_size": 0.3,
        "epochs": 1, "batch_size": 2, "device": "cpu", "seeds": (0,), "draws": (0,),
    }  # fmt: skip
    return DetectSettings.model_validate({"data_root": root, "out": out, **small, **values})


@pytest.mark.parametrize("detector", ["point-head", "centre"])
def test_a_detector_is_trained_measured_and_kept(root: Path, tmp_path: Path, detector: str) -> None:
    table = detect(settings(root, tmp_path, detector=detector, cell=1.0, points=200))
    (run,) = table.runs
    assert run.result
    assert run.result.steps == 2
    assert "200 points a frame" in table.protocol()
    folder = tmp_path / run.folder
    assert {path.name for path in (folder / "results").iterdir()} == {"000004.txt", "000005.txt"}
    assert (tmp_path / "table.md").read_text() == f"{table}\n"
    content = json.loads((tmp_path / "detection.json").read_text())
    assert content["runs"][0]["result"]["tables"][0]["title"].startswith("3D AP_R40")
    (listed,) = list_runs(ListRunsSettings(folders=(str(tmp_path / "runs"),))).runs
    assert (listed.kind, list(listed.figures)) == ("detect", ["3D AP_R40 %"])
    assert listed.protocol.startswith("3D AP_R40 %, overlaps 0.7 / 0.5 / 0.5 (strict), mean, mod")
    step, meta = load_detector(folder)
    assert (meta.detector, meta.class_names[0], meta.points) == (detector, "Car", 200)
    assert not step.training
    assert len(step.detections([torch.zeros(5, 4)])) == 1


def test_finished_runs_are_read_and_others_added(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = detect(settings(root, tmp_path, fraction=(0.5,)))
    assert ": 1 run: 1 start x 50 % of 4 frames x seeds 0 " in capsys.readouterr().err
    trained: list[str] = []

    def spy(run, data):
        result = train_detector(run, data)
        trained.append(result.finished)
        return result

    monkeypatch.setattr(module, "train_detector", spy)
    again = detect(settings(root, tmp_path, fraction=(0.5,), draws=(0, 1)))
    assert again.runs[0] == first.runs[0]
    assert [(run.draw, run.seed) for run in again.runs] == [(0, 0), (1, 0)]
    assert trained[0] != trained[1]
    frames = [
        (tmp_path / run.folder / "train_frames.txt").read_text().split() for run in again.runs
    ]
    assert len(frames[0]) == len(frames[1]) == 2
    assert "seeds 0 x draws 0, 1" in again.protocol()


def test_a_table_of_other_runs_is_moved_aside(root: Path, tmp_path: Path) -> None:
    first = detect(settings(root, tmp_path, fraction=(0.5,)))
    text = (tmp_path / "table.md").read_text()
    detect(settings(root, tmp_path, fraction=(0.5,)))  # the same: nothing is moved
    assert not (tmp_path / "table-1.md").exists()
    other = detect(settings(root, tmp_path, fraction=(0.5,), seeds=(1,)))
    assert [run.seed for run in other.runs] == [1]
    assert (tmp_path / "table-1.md").read_text() == text
    stored = (tmp_path / "detection-1.json").read_text()
    assert module.DetectionTable.model_validate_json(stored) == first
    both = detect(settings(root, tmp_path, fraction=(0.5,), seeds=(0, 1)))
    assert [run.seed for run in both.runs] == [0, 1]
    assert not (tmp_path / "table-2.md").exists()  # it holds all that was there


def test_two_commands_in_one_folder(root: Path, tmp_path: Path) -> None:
    with writer_lock(tmp_path), pytest.raises(CleverError, match="is being written by process"):
        detect(settings(root, tmp_path, fraction=(0.5,)))
    assert not list(tmp_path.iterdir())


def test_starts_stand_side_by_side(root: Path, tmp_path: Path) -> None:
    save_student(tmp_path / "pre", build_student("minkunet-tiny", 0.25), {"origin": "a test"})
    names = ("none", str(tmp_path / "pre"))
    values = {"checkpoint": names, "student": None, "voxel_size": None, "mode": "probe"}
    table = detect(settings(root, tmp_path / "out", **values))
    assert [run.start for run in table.runs] == ["random weights", "pre"]
    # Random weights are of the checkpoint's student.
    words = [run.result.facts["student"] for run in table.runs if run.result]
    assert words == ["minkunet-tiny at 0.25 m"] * 2
    assert str(table).count("mean, moderate, pre less random weights at 100 %") == 4
    assert "on the frozen student" in table.protocol()


def test_the_dataset_is_that_of_the_pre_training(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = build_student("minkunet-tiny", 0.25)
    for name, dataset in {"pre": "kitti", "other": "nuscenes", "strange": "waymo"}.items():
        save_student(tmp_path / name, student, {"dataset": dataset})
    save_student(tmp_path / "unknown", student, {"origin": "a test"})

    def starts(*names: str) -> dict[str, object]:
        paths = tuple(name if name == "none" else str(tmp_path / name) for name in names)
        return {"checkpoint": paths, "dataset": None, "student": None, "voxel_size": None}

    table = detect(settings(root, tmp_path / "out", **starts("none", "unknown", "pre")))
    assert "`dataset=kitti`, that of the pre-training\n" in capsys.readouterr().err
    assert (table.dataset, len(table.runs)) == ("kitti", 3)
    for names, complaint in {
        ("none",): "no checkpoint says what to train on; give `dataset`: kitti or nuscenes",
        ("pre", "other"): "pre-trained on kitti, nuscenes; detectors are trained on kitti and",
        ("none", "strange"): "pre-trained on waymo; .* choose one as `dataset`",
    }.items():
        with pytest.raises(CleverError, match=f"^{complaint}"):
            detect(settings(root, tmp_path / "out", **starts(*names)))


def test_a_run_that_is_stopped_says_how_it_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run, data):
        raise KeyboardInterrupt("a step")

    detect(settings(root, tmp_path))
    real = module.train_detector
    monkeypatch.setattr(
        module, "train_detector", lambda run, data: (stop if run.seed else real)(run, data)
    )
    with pytest.raises(KeyboardInterrupt, match=r"^stopped; 1 of 2 runs are finished"):
        detect(settings(root, tmp_path, seeds=(0, 1)))


def test_a_failure_costs_its_run_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run, data):
        if run.seed == 1:
            raise CleverError("the loss is not finite")
        return train_detector(run, data)

    monkeypatch.setattr(module, "train_detector", fail)
    table = detect(settings(root, tmp_path, seeds=(0, 1)))
    assert table.bad == ["failed: random weights, 100 %, draw 0, seed 1: the loss is not finite"]
    with pytest.raises(CleverError, match=r"^1 run, all failed; the first: the loss is not finite"):
        detect(settings(root, tmp_path, seeds=(1,)))


def test_bad_frames_are_skipped_and_named(root: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "kitti", 2, 2)
    (tree / "training/label_2/000001.txt").unlink()
    (tree / "training/velodyne/000003.bin").unlink()
    table = detect(settings(tree, tmp_path / "out"))
    assert [line.partition(":")[0] for line in table.bad] == [
        "skipped frame training/000001", "skipped frame training/000003",
    ]  # fmt: skip
    (tree / "training/label_2/000000.txt").unlink()
    with pytest.raises(CleverError, match="none of the 2 training frames can be used"):
        detect(settings(tree, tmp_path / "out2"))


def test_frames_to_train_on_are_not_measured(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="4 frames are in the training and in the validation"):
        detect(settings(root, tmp_path, val_split="train"))


def test_several_processes_are_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CleverError, match="one process each"):
        detect(settings(root, tmp_path))


def test_shares_are_given_once_and_as_text() -> None:
    assert DetectSettings.resolve(None, {"fraction": "0.05,0.1"}).fraction == (0.05, 0.1)
    assert DetectSettings.resolve(None, {"fraction": "0.05"}).fraction == (0.05,)
    with pytest.raises(CleverError, match="is given 2 times"):
        DetectSettings.resolve(None, {"fraction": "0.1,0.1"})
    with pytest.raises(CleverError, match="less than or equal to 1"):
        DetectSettings.resolve(None, {"fraction": "5"})
