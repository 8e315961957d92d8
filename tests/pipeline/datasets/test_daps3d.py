"""DAPS-3D on a tree in its layout: sets, splits with and without the leak, classes, signal."""

from pathlib import Path

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.base import label_ids
from clever.pipeline.datasets.daps3d import Daps3dDataset
from clever.pipeline.evaluate import evaluate
from clever.pipeline.settings.evaluate import EvaluateSettings

from .tiny_trees import (
    check_any,
    check_table,
    one_line,
    tiny_cache,
    tiny_probe,
    write_labels,
    write_sweep,
)

TABLE = {
    0: 0, 1: 0, 10: 1, 11: 1, 13: 1, 15: 1, 16: 1, 18: 1, 20: 1, 30: 2, 31: 2, 32: 2, 40: 3,
    44: 3, 48: 3, 49: 3, 50: 4, 51: 4, 52: 0, 60: 3, 70: 4, 71: 4, 72: 3, 80: 4, 81: 4, 99: 0,
    252: 1, 253: 2, 254: 2, 255: 2, 256: 1, 257: 1, 258: 1, 259: 1,
}  # fmt: skip
PARKS = {"38-18_7_72_90": 2, "42-48_10_78_90": 1, "44-18_11_15_32": 1}


def write(root: Path, sequences: dict[str, int]) -> Path:
    """Write sequences (name to number of scans) of one set under its folder."""
    rng = np.random.default_rng(0)
    for sequence, count in sequences.items():
        for number in range(count):
            folder = root / "data" / sequence
            write_sweep(folder / "clouds" / f"{number}.bin", rng, full=90)
            write_labels(folder / "labels" / f"{number}.label", rng, tuple(TABLE), 300)
    return root.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """DAPS-2, in capitals as OLIVINE has it."""
    return write(tmp_path / "daps/DAPS-2", PARKS)


def test_the_default_validation_holds_no_training_scan(root: Path) -> None:
    train = Daps3dDataset(root)
    assert train.frame_ids == ["38-18_7_72_90/0", "38-18_7_72_90/1"]
    val = Daps3dDataset(root, split="val")
    assert val.frame_ids == ["42-48_10_78_90/0", "44-18_11_15_32/0"]
    published = build_dataset("daps3d", root, split="published")
    assert list(published.frame_ids) == [*train.frame_ids, *val.frame_ids]
    splits = [published.frame(index).split for index in range(4)]
    assert splits == ["train", "train", "val", "val"]
    assert list(Daps3dDataset(root, split="all").frame_ids) == list(published.frame_ids)
    assert Daps3dDataset(root, sequences=["44-18_11_15_32"]).scenes == ["44-18_11_15_32"]
    check_any(published)


def test_sets_and_their_splits(root: Path) -> None:
    assert write(root / "daps-1", {"00": 11, "08": 1, "10": 1}) == root
    with pytest.raises(
        CleverError, match=r"daps holds daps-2 and daps-1; choose with `version`$"
    ) as error:
        Daps3dDataset(root)
    one_line(error)
    street = Daps3dDataset(root, "daps-1")
    assert street.frame_ids == [*(f"00/{number}" for number in range(11)), "10/0"]
    for split in ("val", "published"):
        assert Daps3dDataset(root, "daps-1", split=split).frame_ids == ["08/0"]
    assert Daps3dDataset(root, "daps-1", split="val").frame(0).split == "val"
    assert len(Daps3dDataset(root, "daps-2", split="all")) == 4


def test_classes_follow_the_authors_map(root: Path) -> None:
    dataset = Daps3dDataset(root)
    path = root / "DAPS-2/data/38-18_7_72_90/labels/0.label"
    check_table(dataset, TABLE, path)
    assert dataset.class_names == ("vehicle", "human", "surface", "obstacle")
    assert dataset.class_mean == "present"
    assert label_ids(dataset, dataset.class_names) == (10, 30, 40, 50)  # learning_map_inv
    np.full(300, 2, "<u4").tofile(path)
    with pytest.raises(FrameError, match=r"^frame 38-18_7_72_90/0: .* unknown label ids \[2\]"):
        dataset.labels(0)
    path.unlink()
    assert [dataset.has_labels(index) for index in range(2)] == [False, True]


def test_a_signal_without_an_upper_end_stays_below_one(root: Path) -> None:
    path = root / "DAPS-2/data/38-18_7_72_90/clouds/1.bin"
    raw = np.fromfile(path, "<f4").reshape(-1, 4)
    raw[:3, 3] = (0, 100, 4000)
    raw.tofile(path)
    points = Daps3dDataset(root).points(1)
    np.testing.assert_array_equal(points[:, :3], raw[:, :3])
    np.testing.assert_allclose(points[:, 3], np.tanh(raw[:, 3] / 100), rtol=1e-5)
    assert points[:3, 3].tolist() == pytest.approx([0, 0.7615942, 1])
    other = Daps3dDataset(root, intensity_scale="50").points(1)
    assert other[1, 3] == pytest.approx(np.tanh(2))
    raw[0, 3] = -1
    raw.tofile(path)
    with pytest.raises(FrameError, match=r"1\.bin has intensities from -1 to 4000, expected 0 to "):
        Daps3dDataset(root).points(1)


def test_frames_have_neither_cameras_nor_poses(root: Path) -> None:
    frame = Daps3dDataset(root).frame(0)
    assert (frame.cameras, frame.timestamp) == ((), 0)
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))


def test_what_is_not_there_is_one_line(root: Path, tmp_path: Path) -> None:
    lines = {
        "daps3d has no split 'half'; choose train, val, published or all": (root, None, "half"),
        r"no folder daps-1/data: .*daps holds daps-2; pass another `version`": (
            root,
            "daps-1",
            "val",
        ),
        r"no folder daps-1/data: .* holds none of daps-1, daps-2; pass": (tmp_path, None, "val"),
    }
    for line, (place, version, split) in lines.items():
        with pytest.raises(CleverError, match=line) as error:
            Daps3dDataset(place, version, split=split)
        one_line(error)
    (root / "DAPS-2/data/38-18_7_72_90/clouds").rename(tmp_path / "clouds")
    line = r"no sequence of split 'train' \(38-18_7_72_90\): .* holds sequences 42-"
    with pytest.raises(CleverError, match=line):
        Daps3dDataset(root)


def test_a_probe_needs_no_cameras_and_a_teacher_does(root: Path, tmp_path: Path) -> None:
    result = tiny_probe("daps3d", root, tmp_path / "run")
    assert (result.frames, result.mean) == (2, "present")
    with pytest.raises(CleverError, match="2 frames in both the training and the validation part"):
        tiny_probe("daps3d", root, tmp_path / "leak", val_split="published")
    leak = {"checkpoint": tmp_path / "run", "data_root": root, "split": "published"}
    figure = evaluate(EvaluateSettings.resolve(None, {**leak, "device": "cpu"}))
    assert "published 38-18_7_72_90 42-48_10_78_90 44-18_11_15_32 (4 scans" in figure.protocol
    assert "1 of its scenes seen in training" in figure.protocol
    with pytest.raises(CleverError, match=r"^daps3d has no cameras, so a teacher has nothing"):
        tiny_cache("daps3d", root, tmp_path / "x.zarr")
