"""What the tests of datasets share: files of one sweep, what holds for any dataset, and tiny runs
of the jobs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clever.cache import FeatureCache
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.datasets import IGNORE, LidarDataset
from clever.pipeline.evaluate import SegmentationResult, evaluate
from clever.pipeline.finetune import finetune
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings


def write_sweep(
    path: Path, rng: np.random.Generator, points: int = 300, columns: int = 4, full: float = 1.0
) -> NDArray[np.float32]:
    """Draw points around the sensor and write them: x, y, z, intensity up to `full`, further
    columns; returns (points, columns)."""
    rows = rng.uniform([-20, -20, -2, 0], [20, 20, 3, full], (points, 4))
    rows = np.column_stack([rows, rng.uniform(0, 64, (points, columns - 4))]).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.tofile(path)
    return rows


def write_labels(path: Path, rng: np.random.Generator, ids: tuple[int, ...], points: int) -> None:
    """Draw raw ids, with an instance in the upper 16 bits, and write them."""
    raw = rng.choice(ids, points) | rng.integers(0, 9, points) << 16
    path.parent.mkdir(parents=True, exist_ok=True)
    raw.astype("<u4").tofile(path)


def write_image(path: Path, rng: np.random.Generator, size: tuple[int, int]) -> None:
    """Draw an image of a width and a height and write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def one_line(error: pytest.ExceptionInfo[CleverError]) -> str:
    """The message, which has no line break."""
    text = str(error.value)
    assert "\n" not in text
    return text


def check_table(dataset: LidarDataset, table: dict[int, int], path: Path, index: int = 0) -> None:
    """Write every raw id of a benchmark's table, which counts its classes from 1 and ignores 0,
    into the label file of a frame, and compare what the dataset reads."""
    raw = np.fromfile(path, "<u4")
    raw[: len(table)] = list(table)
    raw.tofile(path)
    numbers = np.array([table[int(value)] for value in raw & 0xFFFF])
    expected = np.where(numbers == 0, IGNORE, numbers - 1)
    np.testing.assert_array_equal(dataset.labels(index), expected)
    assert set(table.values()) - {0} == set(range(1, len(dataset.class_names) + 1))


def check_any(dataset: LidarDataset) -> None:
    """What holds for every frame of every dataset, and for a copy that a worker receives."""
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(dataset) == len(dataset.frame_ids) == len(dataset.scenes) > 0
    assert len(set(dataset.frame_ids)) == len(dataset)
    assert list(copy.frame_ids) == list(dataset.frame_ids)
    for index in range(len(dataset)):
        points, frame = dataset.points(index), dataset.frame(index)
        assert points.dtype == np.float32
        assert 0 <= points[:, 3].min() <= points[:, 3].max() <= 1
        np.testing.assert_array_equal(frame.points, points)
        np.testing.assert_array_equal(copy.points(index), points)
        assert (frame.id, frame.scene) == (dataset.frame_ids[index], dataset.scenes[index])
        assert tuple(camera.name for camera in frame.cameras) == dataset.cameras
        if dataset.has_labels(index):
            labels = dataset.labels(index)
            assert (labels.dtype, labels.shape) == (np.uint8, points.shape[:1])
            assert set(labels.tolist()) <= {*range(len(dataset.class_names)), IGNORE}


def tiny_cache(dataset: str, root: Path, cache: Path, **values: Any) -> FeatureCache:
    """Run `cache-teacher` with a tiny teacher of random weights."""
    settings = CacheTeacherSettings(
        dataset=dataset,
        data_root=root,
        cache=cache,
        model="test_vit",
        weights="random:0",
        image_size=(32, 64),
        device="cpu",
        **{"split": "all", **values},
    )
    cache_teacher(settings)
    return FeatureCache(cache)


def tiny_probe(dataset: str, root: Path, out: Path, **values: Any) -> SegmentationResult:
    """Run a probe of random weights and `evaluate`, which finds the same."""
    shared = {"data_root": root, "device": "cpu"}
    if option := values.pop("dataset_option", None):
        shared["dataset_option"] = option
    tiny = {
        "checkpoint": "none", "student": "minkunet-tiny", "voxel_size": 0.5, "dataset": dataset,
        "recipe": "scalr", "epochs": 1, "batch_size": 2, "out": out,
    }  # fmt: skip
    result = finetune(FinetuneSettings.resolve(None, {**tiny, **shared, **values}))
    val = {"split": values.get("val_split", "val"), "version": values.get("version")}
    val["sequences"] = values.get("val_sequences")
    again = evaluate(EvaluateSettings.resolve(None, {"checkpoint": out, **shared, **val}))
    assert again.confusion == result.evaluation.confusion
    return result.evaluation
