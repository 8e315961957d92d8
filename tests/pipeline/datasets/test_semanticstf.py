"""SemanticSTF on a tree in its layout: five columns, splits, weathers, classes, and no cameras."""

from pathlib import Path

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.base import label_ids
from clever.pipeline.datasets.semanticstf import WEATHERS, SemanticStfDataset
from clever.pipeline.doctor import doctor
from clever.pipeline.settings.doctor import DoctorSettings

from .test_semantickitti import LEARNING_MAP
from .tiny_trees import (
    check_any,
    check_table,
    one_line,
    tiny_cache,
    tiny_probe,
    write_labels,
    write_sweep,
)

TABLE = {0: 0, **{number: number for number in range(1, 20)}, 20: 0}
FRAMES = {"train": ("000000", "000010"), "val": ("000001", "000002", "000003"), "test": ("7",)}
WEATHER_OF = {"000001": "snow", "000002": "rain", "000003": "snow"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng, root = np.random.default_rng(0), tmp_path / "stf"
    for split, names in FRAMES.items():
        for name in names:
            write_sweep(root / split / "velodyne" / f"{name}.bin", rng, 300, 5, 255)
            write_labels(root / split / "labels" / f"{name}.label", rng, tuple(TABLE), 300)
    lines = [f"{name},{weather}" for name, weather in WEATHER_OF.items()]
    (root / "val/val.txt").write_text("\n".join(lines) + "\n")
    return root


def test_splits_and_weathers(root: Path) -> None:
    for split, names in FRAMES.items():
        dataset = SemanticStfDataset(root, split)
        assert dataset.frame_ids == dataset.scenes == [f"{split}/{name}" for name in names]
        assert {dataset.frame(index).split for index in range(len(dataset))} == {split}
        check_any(dataset)
    assert len(SemanticStfDataset(root, "all")) == 6
    for weather, names in (("snow", ["000001", "000003"]), ("rain", ["000002"])):
        dataset = build_dataset("semanticstf", root, split="val", options={"weather": weather})
        assert list(dataset.frame_ids) == [f"val/{name}" for name in names]
    (root / "test/velodyne/7.bin").unlink()
    (root / "test/velodyne").rmdir()
    assert len(SemanticStfDataset(root, "all")) == 5


def test_points_are_the_first_four_of_five_columns(root: Path) -> None:
    raw = np.fromfile(root / "train/velodyne/000010.bin", "<f4").reshape(-1, 5)
    dataset = SemanticStfDataset(root)
    np.testing.assert_array_equal(dataset.points(1)[:, :3], raw[:, :3])
    np.testing.assert_allclose(dataset.points(1)[:, 3], raw[:, 3] / 255, rtol=1e-6)
    frame = dataset.frame(1)
    assert (frame.cameras, frame.timestamp, dataset.cameras) == ((), 0, ())
    np.testing.assert_array_equal(frame.global_from_lidar, np.eye(4))
    half = SemanticStfDataset(root, intensity_scale="510")
    np.testing.assert_allclose(half.points(1)[:, 3], raw[:, 3] / 510, rtol=1e-6)


def test_classes_are_those_of_semantickitti_in_its_order(root: Path) -> None:
    dataset = SemanticStfDataset(root)
    check_table(dataset, TABLE, root / "train/labels/000000.label")
    names = build_dataset("semanticstf", root).class_names
    assert [names[LEARNING_MAP[raw] - 1] for raw in (10, 40, 81)] == ["car", "road", "traffic-sign"]
    assert [names[TABLE[number] - 1] for number in (1, 9, 19)] == ["car", "road", "traffic-sign"]
    assert dataset.class_mean == "present"
    assert [*label_ids(dataset, dataset.class_names)] == [*range(1, 20)]
    np.full(300, 21, "<u4").tofile(root / "train/labels/000000.label")
    with pytest.raises(FrameError, match=r"train/000000: .* unknown label ids \[21\]") as error:
        dataset.labels(0)
    one_line(error)
    assert len(dataset.labels(1)) == 300


def test_a_sweep_of_four_columns_loses_its_frame(root: Path) -> None:
    write_sweep(root / "train/velodyne/000000.bin", np.random.default_rng(0), 301, 4)
    dataset = SemanticStfDataset(root)
    with pytest.raises(FrameError, match=r"000000\.bin has 4816 bytes, no multiple of 20 a point"):
        dataset.points(0)
    assert len(dataset.points(1)) == 300
    (root / "train/labels/000010.label").unlink()
    assert [dataset.has_labels(index) for index in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"split": "half"}, "semanticstf has no split 'half'; choose train, val, test or all"),
        ({"weather": "fog"}, f"no weather 'fog'; choose {', '.join(WEATHERS)}"),
        ({"weather": "snow"}, r"cannot read the list .*train/train\.txt: No such file"),
        ({"split": "val", "weather": "dense_fog"}, r"no scan of val with the weather dense_fog"),
    ],
)
def test_what_is_not_there_is_one_line(root: Path, choice: dict[str, str], line: str) -> None:
    with pytest.raises(CleverError, match=line) as error:
        SemanticStfDataset(root, **choice)
    one_line(error)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "000001,snow\n000002;rain\n",
            r"val\.txt line 2 is not NAME,WEATHER with one of dense_fog",
        ),
        (
            "000001,snow\n\n000002,rain\n",
            r"val\.txt lists no weather of 1 of 3 scans, e\.g\. 000003",
        ),
    ],
)
def test_a_bad_weather_list_is_one_line(root: Path, text: str, line: str) -> None:
    (root / "val/val.txt").write_text(text)
    with pytest.raises(CleverError, match=line) as error:
        SemanticStfDataset(root, "val", "snow")
    one_line(error)
    assert len(SemanticStfDataset(root, "val")) == 3


def test_another_folder_is_one_line(tmp_path: Path) -> None:
    for split, name in (("val", "val"), ("all", "train")):
        with pytest.raises(CleverError, match=f"holds no {name}/velodyne; pass another") as error:
            SemanticStfDataset(tmp_path, split)
        one_line(error)


def test_doctor_needs_no_cameras(root: Path, tmp_path: Path) -> None:
    place = {"dataset": "semanticstf", "data_root": root, "split": "val", "out": tmp_path / "out"}
    report = doctor(DoctorSettings.resolve(None, place))
    assert [frame.id for frame in report.frames] == ["val/000001", "val/000002", "val/000003"]
    assert "pairs a frame: none, there are no cameras" in str(report)
    assert (report.bad, report.calibration, report.warnings) == ([], [], [])
    assert "![" not in (tmp_path / "out/doctor.md").read_text()


def test_a_probe_needs_no_cameras_and_a_teacher_does(root: Path, tmp_path: Path) -> None:
    result = tiny_probe("semanticstf", root, tmp_path / "run")
    assert (result.frames, result.mean) == (3, "present")
    with pytest.raises(CleverError, match=r"^semanticstf has no cameras, so a teacher") as error:
        tiny_cache("semanticstf", root, tmp_path / "x.zarr")
    one_line(error)
    assert not (tmp_path / "x.zarr").exists()
