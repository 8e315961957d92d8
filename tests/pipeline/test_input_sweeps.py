"""Earlier sweeps in the input, from generated drives to a probe: what is trained on and measured is
the keyframe's own points."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache import CachedFrame, FeatureCache
from clever.cache.store.sweep_reader import CachedSweeps
from clever.errors import CleverError
from clever.pipeline.cache_regions import cache_regions
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.datasets import IGNORE, LidarDataset, build_dataset
from clever.pipeline.datasets.denser_frames import DenserFrames, with_input_sweeps
from clever.pipeline.drives import make_drives, record
from clever.pipeline.drives.raycast import Rays
from clever.pipeline.evaluate import evaluate
from clever.pipeline.finetune import finetune
from clever.pipeline.finetuning.result import FinetuneResult
from clever.pipeline.predict import predict
from clever.pipeline.pretrain import pretrain
from clever.pipeline.rankme import rankme, student_ranks
from clever.pipeline.settings.cache_regions import CacheRegionsSettings
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.make_drives import MakeDrivesSettings
from clever.pipeline.settings.predict import PredictSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.rankme import RankmeSettings
from clever.student.checkpoint import load_student, read_meta
from clever.student.segmenter import load_segmenter


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of two keyframes with two sweeps before each; images of noise, which take no
    light."""

    def noise(rays: Rays, rng: np.random.Generator) -> NDArray[np.uint8]:
        return rng.integers(0, 256, (*rays.shape, 3), np.uint8)

    settings = MakeDrivesSettings(
        out=tmp_path_factory.mktemp("drives") / "out", scenes=2, keyframes=2, image_width=64,
        azimuths=90, sweeps=2, workers=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "photograph", lambda *seen: noise(seen[2], seen[-1]))
        patch.setattr(record, "_shadows", MagicMock())
        return make_drives(settings).root


def held_out(drives: Path) -> LidarDataset:
    return build_dataset("nuscenes", drives, version="v1.0-mini", split="val")


def denser_clouds(store: Path, count: int) -> list[CachedFrame]:
    """Frames of a store with clouds of `count` sweeps more, joined by hand."""
    cache, sweeps = FeatureCache(store), CachedSweeps(store, count)
    frames = [cache[index] for index in range(len(cache))]
    further = [torch.tensor(sweeps.sweeps(frame.id).points) for frame in frames]
    return [
        replace(frame, points=torch.cat([frame.points, points]))
        for frame, points in zip(frames, further, strict=True)
    ]


def probe(drives: Path, out: Path, **changes: Any) -> FinetuneResult:
    values = {
        "checkpoint": "none", "student": "minkunet-tiny", "voxel_size": 0.5, "data_root": drives,
        "dataset": "nuscenes", "version": "v1.0-mini", "recipe": "scalr", "epochs": 2,
        "batch_size": 2, "lr": 0.05, "device": "cpu", "out": out, **changes,
    }  # fmt: skip
    if changes.get("checkpoint"):
        values |= {"student": None, "voxel_size": None}
    return finetune(FinetuneSettings.resolve(None, values))


@pytest.fixture(scope="module")
def run(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of random weights on clouds of three sweeps."""
    return probe(drives, tmp_path_factory.mktemp("probe") / "out", input_sweeps=2).out


@pytest.mark.slow
def test_sweeps_come_behind_the_own_points_without_labels(drives: Path) -> None:
    dataset = held_out(drives)
    frames = pickle.loads(pickle.dumps(with_input_sweeps(dataset, 2)))
    own, sweeps = dataset.points(1), dataset.earlier_sweeps(1, 2)  # pyright: ignore
    assert len(sweeps) == 2
    points, labels = frames.points(1), frames.labels(1)
    np.testing.assert_array_equal(points, np.concatenate([own, *(one.points for one in sweeps)]))
    np.testing.assert_array_equal(labels[: len(own)], dataset.labels(1))
    assert (labels[len(own) :] == IGNORE).all()
    assert len(labels) == len(points) > 2.5 * len(own)
    assert (frames.name, len(frames), frames.class_mean) == ("nuscenes", 2, "present")
    assert frames.frame_ids == dataset.frame_ids
    assert frames.has_labels(1)
    assert frames.label_sources(1) == ()
    assert with_input_sweeps(dataset, 0) is dataset


def test_a_dataset_without_sweeps_says_so(write_kitti: Callable[..., Path]) -> None:
    kitti = build_dataset("semantickitti", write_kitti({"08": 1}), sequences=["08"])
    with pytest.raises(CleverError, match="semantickitti has no sweeps between its frames"):
        DenserFrames(kitti, 1)


def test_a_probe_is_measured_on_the_own_points_alone(drives: Path, run: Path) -> None:
    result = FinetuneResult.model_validate_json((run / "result.json").read_text())
    dataset = held_out(drives)
    assert result.evaluation.points == sum(
        int((dataset.labels(index) != IGNORE).sum()) for index in range(len(dataset))
    )
    assert "at 0.5 m, 2 earlier sweeps in the input, " in result.evaluation.protocol
    segmenter, training = load_segmenter(run)
    assert training.input_sweeps == 2
    confusion = np.zeros((16, 16), np.int64)
    for index in range(len(dataset)):
        own, labels = dataset.points(index), dataset.labels(index)
        cloud = with_input_sweeps(dataset, 2).points(index)
        guess, _ = load_segmenter(run)(cloud)
        for label, one in zip(labels, guess[: len(own)], strict=True):
            if label != IGNORE:
                confusion[label, one] += 1
    assert result.evaluation.confusion == confusion.tolist()
    assert segmenter.classifier.linear.weight.shape[0] == 16


def test_evaluation_takes_the_sweeps_of_the_run(drives: Path, run: Path) -> None:
    values = {"checkpoint": run, "data_root": drives, "device": "cpu"}
    trained = FinetuneResult.model_validate_json((run / "result.json").read_text()).evaluation
    same = evaluate(EvaluateSettings.resolve(None, values))
    assert same.confusion == trained.confusion
    assert same.protocol == trained.protocol
    other = evaluate(EvaluateSettings.resolve(None, {**values, "input_sweeps": 0}))
    assert other.points == same.points
    assert other.confusion != same.confusion
    assert ", measured with 0 earlier sweeps in the input, " in other.protocol
    assert (run / "evaluate-nuscenes-val-sweeps-0").is_dir()


def test_predictions_are_of_the_own_points(
    drives: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = held_out(drives)
    values = {"checkpoint": run, "device": "cpu"}
    predict(PredictSettings.resolve(None, {
        **values, "data_root": drives, "out": tmp_path / "labels", "output_format": "npy",
    }))  # fmt: skip
    for index, frame in enumerate(dataset.frame_ids):
        records = np.load(tmp_path / f"labels/{frame}.npy")
        labels, confidence = load_segmenter(run)(with_input_sweeps(dataset, 2).points(index))
        count = len(dataset.points(index))
        np.testing.assert_array_equal(records["label"], labels[:count])
        np.testing.assert_array_equal(records["confidence"], confidence[:count])
    path = tmp_path / "cloud.bin"
    dataset.points(0).tofile(path)
    capsys.readouterr()
    predict(PredictSettings.resolve(None, {**values, "points": [path], "out": tmp_path / "a.npy"}))
    assert "trained with 2 earlier sweeps in every cloud" in capsys.readouterr().err
    assert len(np.load(tmp_path / "a.npy")) == len(dataset.points(0))


@pytest.mark.slow
def test_from_drives_with_sweeps_to_a_probe_with_them(
    drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"dataset": "nuscenes", "data_root": drives, "version": "v1.0-mini", "split": "all"}
    store = tmp_path / "run.zarr"
    summary = cache_teacher(
        CacheTeacherSettings.resolve(None, {
            **place, "model": "test_resnet", "weights": "random:0", "layer": ("stride:4",),
            "image_size": (16, 32), "sweeps": 2, "sweep_pairs": True, "cache": store,
        })
    )  # fmt: skip
    assert summary.sweeps is not None
    assert (summary.sweeps.frames, summary.sweeps.sweeps, summary.sweeps.failed) == (4, 8, [])
    sweeps = CachedSweeps(store, 2, pairs=True)
    assert all(len(sweeps.sweeps(frame).pair_point) > 100 for frame in held_out(drives).frame_ids)
    cache_regions(CacheRegionsSettings(**place, cache=store, size=(16, 32), segments=20))
    result = pretrain(PretrainSettings.resolve(None, {
        "cache": store, "student": "minkunet-tiny", "voxel_size": 0.5, "terms": "regions,d2s",
        "mix3d": 0, "occupancy_weight": 0, "input_sweeps": 1, "dense_sweeps": 2, "epochs": 1,
        "batch_size": 2, "device": "cpu", "rankme_every": 0, "out": tmp_path / "pre",
    }))  # fmt: skip
    assert {"regions", "d2s"} <= result.losses.last.keys()
    assert all(np.isfinite(list(result.losses.last.values())))
    assert read_meta(tmp_path / "pre/student.safetensors")["meta"]["input_sweeps"] == 1
    ranks = rankme(RankmeSettings(cache=store, checkpoint=tmp_path / "pre", rows=500))
    assert (ranks.input_sweeps, ranks.cached_frames) == (1, 4)
    assert "0.5 m voxels, " in str(ranks)
    assert ", 1 earlier sweep in the input\n" in str(ranks)
    clouds, student = denser_clouds(store, 1), load_student(tmp_path / "pre")
    assert ranks.ranks == student_ranks(student, clouds, torch.device("cpu"), rows=500)
    capsys.readouterr()
    probe(drives, tmp_path / "without", checkpoint=tmp_path / "pre")
    line = "was pre-trained with 1 earlier sweep in every cloud and is given 0 here"
    assert line in capsys.readouterr().err
    probe(drives, tmp_path / "with", checkpoint=tmp_path / "pre", input_sweeps=1)
    assert line not in capsys.readouterr().err


def test_the_loss_is_over_the_own_points(drives: Path) -> None:
    """Cross-entropy of a denser frame is that of its own rows."""
    from clever.pipeline.steps.labelled import LabelledFrames, collate_labelled

    dataset = build_dataset("nuscenes", drives, version="v1.0-mini", split="train")
    frames = LabelledFrames(with_input_sweeps(dataset, 2), [0, 1])
    batch = collate_labelled([frames[0, 0], frames[1, 0]])
    counts = [len(dataset.points(index)) for index in (0, 1)]
    starts = [0, batch.points.counts[0]]
    own = torch.zeros(len(batch.labels), dtype=torch.bool)
    for start, count in zip(starts, counts, strict=True):
        own[start : start + count] = True
    assert (batch.labels[~own] == IGNORE).all()
    expected = np.concatenate([dataset.labels(index) for index in (0, 1)])
    np.testing.assert_array_equal(batch.labels[own].numpy(), expected)
