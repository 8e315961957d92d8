"""ScribbleKITTI: scribbles where it trains, full labels where it measures; everything else as
SemanticKITTI."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.datasets.scribblekitti import ScribbleKittiDataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset

from .test_semantickitti import LEARNING_MAP
from .tiny_trees import check_any, check_table, one_line, tiny_cache, tiny_probe


def scribble(root: Path, sequence: str, every: int = 12) -> None:
    """Write scribbles as the release does: the labels of every n-th point, 0 at the others."""
    folder = root / "sequences" / sequence
    (folder / "scribbles").mkdir()
    for path in (folder / "labels").iterdir():
        raw = np.fromfile(path, "<u4")
        raw[np.arange(len(raw)) % every > 0] = 0
        raw.tofile(folder / "scribbles" / path.name)


@pytest.fixture
def root(write_kitti: Callable[..., Path]) -> Path:
    """Sequences 00 (2 frames, train), 08 (1, val), 11 (1, test) and 40 (1, in no split)."""
    root = write_kitti({"00": 2, "08": 1, "11": 1, "40": 1}, points=300, poses=True)
    scribble(root, "00")
    return root


def test_scribbles_for_training_and_full_labels_elsewhere(root: Path) -> None:
    train, full = ScribbleKittiDataset(root), SemanticKittiDataset(root)
    assert train.frame_ids == full.frame_ids == ["00/000000", "00/000001"]
    for index in range(2):
        labels = full.labels(index)
        labels[np.arange(300) % 12 > 0] = IGNORE
        np.testing.assert_array_equal(train.labels(index), labels)
    for sequence in ("08", "11", "40"):
        others = ScribbleKittiDataset(root, [sequence]), SemanticKittiDataset(root, [sequence])
        np.testing.assert_array_equal(others[0].labels(0), others[1].labels(0))
    assert ScribbleKittiDataset(root, split="val").frame_ids == ["08/000000"]
    every = ScribbleKittiDataset(root, split="all")
    check_any(every)
    assert [every.frame(index).split for index in range(5)] == ["train", "train", "val", "test", ""]


def test_frames_and_classes_are_those_of_semantickitti(root: Path) -> None:
    scribbles, full_labels = ScribbleKittiDataset(root), SemanticKittiDataset(root)
    assert (scribbles.class_names, scribbles.class_mean) == (full_labels.class_names, "all")
    for one, other in zip(
        (scribbles.frame(index) for index in range(2)),
        (full_labels.frame(index) for index in range(2)),
        strict=True,
    ):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.global_from_lidar, other.global_from_lidar)
        np.testing.assert_array_equal(
            one.cameras[0].camera_from_lidar, other.cameras[0].camera_from_lidar
        )
        assert (one.timestamp, one.cameras[0].image) == (other.timestamp, other.cameras[0].image)
    check_table(scribbles, LEARNING_MAP, root / "sequences/00/scribbles/000000.label")


def test_a_lacking_scribble_loses_its_frame(root: Path) -> None:
    (root / "sequences/00/scribbles/000000.label").unlink()
    dataset = ScribbleKittiDataset(root)
    assert [dataset.has_labels(index) for index in range(2)] == [False, True]
    with pytest.raises(
        FrameError, match=r"^frame 00/000000: cannot read .*00/scribbles/000000\.label: No such"
    ) as error:
        dataset.labels(0)
    one_line(error)


def test_semantickitti_without_scribbles_is_refused(root: Path) -> None:
    shutil.rmtree(root / "sequences/00/scribbles")
    choices: list[dict[str, Any]] = [{}, {"split": "all"}, {"sequences": ["0", "8"]}]
    for choice in choices:
        with pytest.raises(
            CleverError,
            match=r"none of 1 training sequences has scribbles, e\.g\. .*00/scribbles; ",
        ) as error:
            ScribbleKittiDataset(root, **choice)
        one_line(error)
    assert len(ScribbleKittiDataset(root, split="val")) == 1
    with pytest.raises(CleverError, match="scribblekitti has no split 'half'; choose train, val"):
        build_dataset("scribblekitti", root, split="half")


def test_cache_and_probe(root: Path, tmp_path: Path) -> None:
    cache = tiny_cache("scribblekitti", root, tmp_path / "x.zarr", split="train")
    assert list(cache.ids) == ["00/000000", "00/000001"]
    assert len(cache[0].pair_point)
    result = tiny_probe("scribblekitti", root, tmp_path / "run")
    assert result.protocol.startswith("linear probe, scribblekitti train 00 (2 scans) -> val 08 (1")
    assert result.points == int((ScribbleKittiDataset(root, ["08"]).labels(0) != IGNORE).sum())


def test_scribbles_of_a_real_scan(shared_data: Path, tmp_path: Path) -> None:
    scan, folder = shared_data / "semantickitti/sequences/00", tmp_path / "sequences/00"
    for part, name in (("velodyne", "000000.bin"), ("labels", "000000.label")):
        (folder / part).mkdir(parents=True)
        (folder / part / name).symlink_to(scan / part / name)
    scribble(tmp_path, "00")
    dataset, full = ScribbleKittiDataset(tmp_path), SemanticKittiDataset(tmp_path)
    labels = full.labels(0)
    assert len(labels) > 50_000
    labels[np.arange(len(labels)) % 12 > 0] = IGNORE
    np.testing.assert_array_equal(dataset.labels(0), labels)
    np.testing.assert_array_equal(dataset.points(0), full.points(0))
