"""mIoU against counting by hand, and what becomes of frames that cannot be measured."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.pipeline.datasets import IGNORE, LidarDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.evaluate import (
    SegmentationResult,
    class_difference,
    evaluate,
    intersection_over_union,
    mean_iou,
    measure,
)
from clever.pipeline.list_runs import list_runs
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.list_runs import ListRunsSettings
from clever.pipeline.settings.shared.base import save_settings
from clever.pipeline.settings.shared.choices import ClassMean
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter, Training, load_segmenter, segmenter_digest
from clever.student.tta import tta_words

CPU = torch.device("cpu")
NAMES = ("00/000000", "00/000001", "00/000002", "01/000000")
CLASSES = 4


def by_intensity(points: PointBatch) -> Tensor:
    """A poor prediction that never says 3: the class is a third of the intensity's range."""
    return torch.nn.functional.one_hot((points.intensity * 2.999).long(), CLASSES).float()


def count_by_hand(dataset: LidarDataset, indices: list[int]) -> tuple[list[float | None], int]:
    """IoU of every class by loops over all points of all frames, and the number of labelled
    points."""
    hits, union, points = [0] * CLASSES, [0] * CLASSES, 0
    for index in indices:
        for intensity, label in zip(
            dataset.points(index)[:, 3], dataset.labels(index), strict=True
        ):
            if label == IGNORE:
                continue
            points += 1
            guess = int(intensity * np.float32(2.999))
            for name in {guess, int(label)}:
                union[name] += 1
                hits[name] += guess == label
    return [hit / total if total else None for hit, total in zip(hits, union, strict=True)], points


def test_miou_equals_counting_by_hand(make_labelled: Callable[..., LidarDataset]) -> None:
    dataset = make_labelled(NAMES)
    result = measure(
        by_intensity, dataset, range(4), CPU, lambda measured: f"{list(measured)}", "present"
    )
    expected, points = count_by_hand(dataset, [0, 1, 2, 3])
    assert list(result.iou.values()) == pytest.approx(expected)
    assert result.iou["never"] is None
    assert result.miou == pytest.approx(np.mean([iou for iou in expected if iou is not None]))
    assert (result.points, result.frames, np.sum(result.confusion)) == (points, 4, points)
    assert points == 4 * 135


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    confusion = torch.tensor([[2, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    iou = intersection_over_union(confusion)
    assert iou.tolist()[0::2] == pytest.approx([2 / 3, 0])
    assert torch.isnan(iou[1])
    assert mean_iou(iou, "present") == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert mean_iou(iou, "all") == pytest.approx((2 / 3 + 0 + 0 + 1) / 4)


def test_ignored_points_change_nothing(make_labelled: Callable[..., LidarDataset]) -> None:
    dataset = make_labelled(NAMES)
    calls = iter(range(4))

    def wrong_where_ignored(points: PointBatch) -> Tensor:
        logits = by_intensity(points)
        ignored = torch.from_numpy(dataset.labels(next(calls)) == IGNORE)
        return torch.where(ignored[:, None], torch.tensor([0.0, 0, 0, 9]), logits)

    changed = measure(
        wrong_where_ignored, dataset, range(4), CPU, lambda measured: f"{list(measured)}", "present"
    )
    assert changed == measure(
        by_intensity, dataset, range(4), CPU, lambda measured: f"{list(measured)}", "present"
    )


def test_bad_frames_are_named_and_cost_no_other(
    make_labelled: Callable[..., LidarDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(points: PointBatch) -> Tensor:
        if torch.equal(points.xyz, torch.from_numpy(dataset.points(3)[:, :3])):
            raise CleverError("a point lies too far away")
        return by_intensity(points)

    dataset = make_labelled(NAMES, broken=("00/000001",))
    result = measure(
        predict, dataset, range(4), CPU, lambda measured: f"{list(measured)}", "present"
    )
    assert [(frame.id, frame.reason) for frame in result.bad] == [
        ("00/000001", "cannot read 00/000001.bin"),
        ("01/000000", "a point lies too far away"),
    ]
    assert "skipped frame 00/000001: cannot read" in capsys.readouterr().err
    whole = measure(
        by_intensity,
        make_labelled(NAMES),
        [0, 2],
        CPU,
        lambda measured: f"{list(measured)}",
        "present",
    )
    assert (result.protocol, whole.protocol) == ("[0, 2]", "[0, 2]")
    assert (result.frames, result.iou, result.miou) == (2, whole.iou, whole.miou)


@pytest.mark.parametrize("label", [19, 254])
def test_a_label_of_no_class_costs_its_frame_alone(
    make_labelled: Callable[..., LidarDataset], label: int
) -> None:
    dataset = make_labelled(NAMES)
    dataset.labels(1)[2:4] = label
    rest = measure(by_intensity, dataset, [0, 2], CPU, str, "present")
    result = measure(by_intensity, dataset, [0, 1, 2], CPU, str, "present")
    assert result.confusion == rest.confusion
    assert [frame.id for frame in result.bad] == [NAMES[1]]
    classes = len(dataset.class_names)
    assert result.bad[0].reason == (
        f"2 labels of no class, e.g. {label}: the {classes} classes are 0 to {classes - 1}, no "
        "class is 255"
    )


def test_nothing_to_measure_is_an_error(make_labelled: Callable[..., LidarDataset]) -> None:
    with pytest.raises(
        CleverError, match=r"none of 1 frame could be measured; .*00/000000: cannot read"
    ):
        measure(
            by_intensity,
            make_labelled(NAMES[:1], broken=NAMES[:1]),
            [0],
            CPU,
            lambda measured: f"{list(measured)}",
            "present",
        )
    dataset = make_labelled(NAMES[:1])
    dataset.labels(0)[:] = IGNORE
    with pytest.raises(CleverError, match="no point has a label"):
        measure(by_intensity, dataset, [0], CPU, str, "present")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained segmenter for SemanticKITTI's classes."""
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.5)
    training = Training(
        dataset="semantickitti",
        version=None,
        class_names=SemanticKittiDataset.class_names,
        batch_norm=False,
        head="linear probe",
        initialisation="random initialisation",
        frames="train 00 (3 scans)",
        scenes=("00",),
        details="50 epochs",
    )
    Segmenter(student, LinearProbe(student.out_channels, 19)).save(tmp_path / "run", training)
    return tmp_path / "run"


def test_a_checkpoint_is_measured_and_the_result_written(
    checkpoint: Path, kitti_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = EvaluateSettings.resolve(
        None, {"checkpoint": checkpoint, "data_root": kitti_root, "device": "cpu"}
    )
    result = evaluate(settings)
    folder = checkpoint / "evaluate-semantickitti-val"
    listing = ListRunsSettings(folders=(str(checkpoint),))
    assert result.weights == segmenter_digest(checkpoint)
    assert (
        SegmentationResult.model_validate(json.loads((folder / "result.json").read_text()))
        == result
    )
    assert result.protocol == (
        "linear probe, semantickitti train 00 (3 scans) -> val 08 (2 scans), 50 epochs, random "
        "initialisation, "
        "no TTA, all points, mean over all classes, absent ones count 0"
    )
    assert (result.frames, result.bad) == (2, [])
    lines = [line.split(",") for line in (folder / "confusion.csv").read_text().splitlines()]
    assert lines[0][1:] == [line[0] for line in lines[1:]] == list(result.iou)
    assert [list(map(int, line[1:])) for line in lines[1:]] == result.confusion
    assert (folder / "confusion.png").stat().st_size > 10_000
    assert EvaluateSettings.resolve(folder / "settings.yaml", {}).out == folder
    assert evaluate(settings) == result
    assert f"mIoU {100 * result.miou:.2f} %" in str(result)
    assert "`dataset=semantickitti`, that of the run\n" in capsys.readouterr().err
    # A trial of fewer frames has a folder of its own.
    trial = evaluate(settings.model_copy(update={"limit": 1, "dataset": "semantickitti"}))
    assert "`dataset=" not in capsys.readouterr().err
    assert trial.frames == 1
    assert (checkpoint / "evaluate-semantickitti-val-first-1/result.json").is_file()
    # And so has another mean.
    assert evaluate(settings.model_copy(update={"mean": "present"})).mean == "present"
    assert (checkpoint / "evaluate-semantickitti-val-mean-present/result.json").is_file()
    assert evaluate(settings) == result
    # A listing knows of which weights each is.
    assert [run.outdated for run in list_runs(listing).runs] == [False] * 3
    segmenter, training = load_segmenter(checkpoint)
    with torch.no_grad():
        next(segmenter.parameters()).add_(1)
    segmenter.save(checkpoint, training)
    evaluate(settings.model_copy(update={"limit": 1}))
    runs = {run.folder.name: run for run in list_runs(listing).runs}
    name = "evaluate-semantickitti-val"
    assert {run.folder.name for run in runs.values() if run.outdated} == {
        name, f"{name}-mean-present"
    }  # fmt: skip
    assert ", of earlier weights" in str(list_runs(listing))
    # An evaluation in a run's folder is of that run, wherever both went.
    save_settings(FinetuneSettings.resolve(None, {"data_root": "d", "mode": "probe"}), checkpoint)
    moved = checkpoint.rename(checkpoint.parent / "moved")
    runs = list_runs(ListRunsSettings(folders=(str(moved),))).runs
    assert sum(run.outdated for run in runs) == 2
    moved.rename(checkpoint)
    # Weights that are damaged are others; of those that are gone nothing can be said.
    (checkpoint / "classifier.safetensors").write_bytes(b"?")
    assert all(run.outdated for run in list_runs(listing).runs if run.kind == "evaluate")
    (checkpoint / "classifier.safetensors").unlink()
    assert not any(run.outdated for run in list_runs(listing).runs)


def test_with_tta_the_mean_of_ten_passes_is_measured_and_said(
    checkpoint: Path, kitti_root: Path
) -> None:
    values = {"checkpoint": checkpoint, "data_root": kitti_root, "device": "cpu"}
    plain = evaluate(EvaluateSettings.resolve(None, values))
    result = evaluate(EvaluateSettings.resolve(None, {**values, "tta": True}))
    assert (checkpoint / "evaluate-semantickitti-val-tta/result.json").is_file()
    assert ", TTA (mean softmax of 10 passes: scale 0.9, " in result.protocol
    assert result.protocol.replace(tta_words(True), "no TTA") == plain.protocol
    segmenter, _ = load_segmenter(checkpoint)
    dataset = SemanticKittiDataset(kitti_root, split="val")
    expected = torch.zeros(19, 19, dtype=torch.int64)
    for index in range(len(dataset)):
        cloud = torch.from_numpy(dataset.points(index))
        total = torch.zeros(len(cloud), 19)
        with torch.inference_mode():
            for sign in (1, -1):
                for scale in (0.9, 0.95, 1.0, 1.05, 1.1):
                    copy = cloud * torch.tensor([sign * scale, sign * scale, scale, 1])
                    total += segmenter(PointBatch.from_clouds([copy])).softmax(1)
        labels = torch.from_numpy(dataset.labels(index)).long()
        for label, guess in zip(labels.tolist(), total.argmax(1).tolist(), strict=True):
            if label != IGNORE:
                expected[label, guess] += 1
    assert result.confusion == expected.tolist() != plain.confusion


def test_scenes_of_the_training_are_told(checkpoint: Path, kitti_root: Path) -> None:
    values = {
        "checkpoint": checkpoint,
        "data_root": kitti_root,
        "sequences": "00,08",
        "limit": 4,
        "device": "cpu",
    }
    result = evaluate(EvaluateSettings.resolve(None, values))
    assert (
        "-> sequences 00 08 (4 scans, 1 of its scenes seen in training), 50 epochs"
        in result.protocol
    )


def test_other_classes_and_missing_weights_are_refused(
    checkpoint: Path, nuscenes_root: Path, kitti_root: Path, tmp_path: Path
) -> None:
    values = {
        "checkpoint": checkpoint,
        "dataset": "nuscenes",
        "data_root": nuscenes_root,
        "device": "cpu",
    }
    with pytest.raises(
        CleverError, match="trained for the classes of semantickitti, not of nuscenes"
    ):
        evaluate(EvaluateSettings.resolve(None, values))
    values = {"checkpoint": tmp_path / "none", "data_root": kitti_root}
    with pytest.raises(CleverError, match="none is no folder; give the output folder of a"):
        evaluate(EvaluateSettings.resolve(None, values))


def evaluation(iou: dict[str, float | None], mean: ClassMean = "present") -> SegmentationResult:
    return SegmentationResult(
        protocol="p",
        mean=mean,
        miou=0.5,
        iou=iou,
        confusion=[[2, 0, 0], [0, 0, 0], [0, 1, 0]],
        points=3,
        frames=1,
        unlabelled=0,
        bad=[],
    )


def test_means_over_other_classes_are_said_and_compared_over_the_same() -> None:
    own = evaluation({"car": 0.5, "bus": None, "tree": 0.25})
    other = evaluation({"car": 0.25, "bus": 0.0, "tree": 0.0})
    assert class_difference({"own": own, "other": other}) == (
        "not all of them have bus in labels or predictions; over the 2 classes that all have: "
        "own 37.5 %, other 12.5 %"
    )
    assert class_difference({"own": own, "same": own}) == ""
    assert class_difference({"own": evaluation(own.iou, "all"), "other": other}) == ""
    assert class_difference({"own": own, "other": evaluation(dict.fromkeys(own.iou))}) == ""
    assert own.present == ("car", "tree")
    assert str(own).splitlines()[1:6] == [
        "  class  IoU %",
        "  car     50.0  2 labelled points",
        "  bus        -  no labelled point",
        "  tree    25.0  1 labelled point",
        "mIoU 50.00 % (mean over the classes that occur in labels or predictions, 2 of 3; one "
        "confusion matrix over all labelled points)",
    ]
