"""Labelled frames are read once, and again where one of their files changes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.steps import label_checks
from clever.pipeline.steps.labelled import labels_fault, usable

Writes = Callable[..., Any]


class CountingDataset(SemanticKittiDataset):
    """Notes which frames' points are read."""

    def points(self, index: int) -> np.ndarray:
        self.read = [*getattr(self, "read", []), index]
        return super().points(index)


@pytest.fixture
def root(write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return write_kitti({"00": 4}, points=30)


def opened(root: Path) -> CountingDataset:
    return CountingDataset(root, sequences=("00",))


def memory(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "home/clever/labels").iterdir()
    return file


def test_a_second_run_reads_nothing(root: Path, tmp_path: Path) -> None:
    first, second = opened(root), opened(root)
    assert usable(first, range(4), "check") == ([0, 1, 2, 3], [])
    assert sorted(first.read) == [0, 1, 2, 3]
    assert usable(second, range(4), "check") == ([0, 1, 2, 3], [])
    assert not hasattr(second, "read")
    assert memory(tmp_path).name.startswith("semantickitti-")


def test_a_changed_file_is_read_again(root: Path) -> None:
    usable(opened(root), range(4), "check")
    folder = root / "sequences/00"
    labels, sweep = folder / "labels/000001.label", folder / "velodyne/000002.bin"
    labels.write_bytes(np.zeros(30, "<u4").tobytes())
    times = sweep.stat()
    os.utime(sweep, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    dataset = opened(root)
    good, bad = usable(dataset, range(4), "check")
    assert sorted(dataset.read) == [1, 2]
    assert good == [0, 2, 3]
    assert [(frame.id, frame.reason) for frame in bad] == [
        (dataset.frame_ids[1], "no point has a training label")
    ]
    again = opened(root)
    assert usable(again, range(4), "check") == (good, bad)
    assert not hasattr(again, "read")


def test_a_missing_file_is_looked_for_each_time(root: Path) -> None:
    path = root / "sequences/00/labels/000003.label"
    data = path.read_bytes()
    path.unlink()
    _, bad = usable(opened(root), range(4), "check")
    assert [str(path) in frame.reason for frame in bad] == [True]
    path.write_bytes(data)
    assert usable(opened(root), range(4), "check")[0] == [0, 1, 2, 3]


def test_bounds_are_remembered_not_their_verdict(root: Path) -> None:
    dataset = opened(root)
    points = [super(CountingDataset, dataset).points(index)[:, :3] for index in range(4)]
    seen: list[np.ndarray] = []
    for _ in range(2):  # read, then remembered
        usable(opened(root), range(4), "check", lambda bounds: seen.append(bounds) or "")
    for bounds, xyz in zip(seen, [*points, *points], strict=True):
        np.testing.assert_array_equal(bounds, [xyz.min(0), xyz.max(0)])
        assert bounds.dtype == np.float32
    good, bad = usable(opened(root), range(4), "check", lambda bounds: "too far")
    assert (good, [frame.reason for frame in bad]) == ([], ["too far"] * 4)


def test_a_damaged_memory_is_made_anew(root: Path, tmp_path: Path) -> None:
    usable(opened(root), range(4), "check")
    intact = memory(tmp_path).read_bytes()
    memory(tmp_path).write_text("{")
    dataset = opened(root)
    assert usable(dataset, range(4), "check")[0] == [0, 1, 2, 3]
    assert sorted(dataset.read) == [0, 1, 2, 3]
    assert json.loads(memory(tmp_path).read_bytes()) == json.loads(intact)


def test_a_home_that_cannot_be_written_is_done_without(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        dataset = opened(root)
        assert usable(dataset, range(4), "check")[0] == [0, 1, 2, 3]
        assert sorted(dataset.read) == [0, 1, 2, 3]


def test_ctrl_c_keeps_what_was_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_checks, "cores", lambda: 1)
    checks = label_checks.check_labels(opened(root), range(4), "check")
    assert [next(checks)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        checks.throw(KeyboardInterrupt)
    dataset = opened(root)
    usable(dataset, range(4), "check")
    assert sorted(dataset.read) == [2, 3]


def test_another_table_of_classes_is_another_memory(root: Path) -> None:
    usable(opened(root), range(4), "check")
    other = opened(root)
    assert other.table is not None
    other.table = np.roll(other.table, 1)
    usable(other, range(4), "check")
    assert sorted(other.read) == [0, 1, 2, 3]


def test_labels_to_measure_on(root: Path) -> None:
    path = root / "sequences/00/labels/000002.label"
    assert labels_fault(opened(root), range(4)) == ""
    path.write_bytes(b"123")
    assert labels_fault(opened(root), range(4)).startswith(
        "the labels of 1 of 4 frames to measure on cannot be read; the first: frame "
    )
