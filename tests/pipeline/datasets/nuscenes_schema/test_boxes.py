"""Boxes of keyframes in the LiDAR frame: against nuscenes-devkit and the points of generated
drives, whose boxes are exact."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets.nuscenes import CLASSES, NuScenesDataset
from clever.pipeline.datasets.nuscenes_schema.boxes import DETECTION_NAMES
from clever.pipeline.drives import CATEGORIES, make_drives
from clever.pipeline.settings.make_drives import MakeDrivesSettings

MINI = "v1.0-mini"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of two keyframes."""
    out = tmp_path_factory.mktemp("drives") / "out"
    make_drives(
        MakeDrivesSettings(
            out=out, scenes=1, keyframes=2, seed=1, image_width=64, azimuths=180, workers=1
        )
    )
    return out


def inside(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, P) bool, the definition written out."""
    offset = points[None, :, :3].astype(float) - rows[:, None, :3]
    cosine, sine = np.cos(rows[:, 6, None]), np.sin(rows[:, 6, None])
    ahead = cosine * offset[..., 0] + sine * offset[..., 1]
    left = -sine * offset[..., 0] + cosine * offset[..., 1]
    local = np.stack([ahead, left, offset[..., 2]], -1)
    return (np.abs(local) <= rows[:, None, 3:6] / 2).all(-1)


def test_boxes_hold_the_points_that_the_labels_say(root: Path) -> None:
    """The counts are those of the tables and every point of a boxed class lies in a box of its
    class, but for what leans: things stand upright on their ground, boxes in the LiDAR frame."""
    dataset = NuScenesDataset(root, split="all")
    total = 0
    for index in range(2):
        boxes, points, labels = dataset.boxes(index), dataset.points(index), dataset.labels(index)
        members = inside(boxes.rows, points)
        assert boxes.points is not None
        difference = np.abs(members.sum(1) - boxes.points)
        assert (difference > 0).mean() < 0.1
        assert difference.max() <= 2
        for name in set(boxes.names) & set(CLASSES):
            same = members[[one == name for one in boxes.names]]
            of_class = labels == CLASSES.index(name)
            assert (~same.any(0)[of_class]).sum() <= 2
            total += int(of_class.sum())
        assert len(boxes) == len(boxes.names) == len(boxes.rows) > 3
    assert total > 200


def test_boxes_agree_with_the_devkit(root: Path) -> None:
    nuscenes = pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    devkit = nuscenes.NuScenes(MINI, str(root), verbose=False)
    dataset = NuScenesDataset(root, split="all")
    for index, token in enumerate(dataset.frame_ids):
        sweep = devkit.get("sample", token)["data"]["LIDAR_TOP"]
        boxes = dataset.boxes(index)
        _, theirs, _ = devkit.get_sample_data(sweep)
        assert boxes.names == tuple(DETECTION_NAMES[box.name] for box in theirs)
        expected = np.array([[*box.center, *box.wlh[[1, 0, 2]]] for box in theirs])
        np.testing.assert_allclose(boxes.rows[:, :6], expected, atol=1e-9)
        headings = np.array([box.orientation.rotation_matrix[:2, 0] for box in theirs])
        ours = np.stack([np.cos(boxes.rows[:, 6]), np.sin(boxes.rows[:, 6])], 1)
        expected = headings / np.linalg.norm(headings, axis=1, keepdims=True)
        np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_a_copy_that_a_worker_receives_has_the_boxes(root: Path) -> None:
    dataset = NuScenesDataset(root, split="all")
    rows = dataset.boxes(0).rows
    rows[:] = 0  # what a caller does to them is its own affair
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.boxes(1).rows, dataset.boxes(1).rows)
    assert (copy.boxes(0).rows[:, 3:6] > 0).all()


def edited(root: Path, out: Path, table: str, change: Callable[[list[Any]], object]) -> Path:
    copytree(root / MINI, out / MINI)
    path = out / MINI / f"{table}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))
    return out


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("size", [1, 0, 1], "the size of annotation .* is no three positive numbers"),
        ("size", None, "restore"),
        ("rotation", [0, 0, 0, 0], "its rotation"),
        ("instance_token", "none", "instance.json has no record none"),
    ],
)
def test_a_damaged_annotation_costs_its_own_frame(
    root: Path, tmp_path: Path, field: str, value: object, fault: str
) -> None:
    out = edited(root, tmp_path, "sample_annotation", lambda rows: rows[0].update({field: value}))
    dataset = NuScenesDataset(out, split="all")
    with pytest.raises(FrameError, match=f"sample_annotation.json: .*{fault}") as error:
        dataset.boxes(0)
    assert "\n" not in str(error.value)
    assert len(dataset.boxes(1)) > 3


def test_a_missing_field_is_named_and_a_missing_table(root: Path, tmp_path: Path) -> None:
    out = edited(root, tmp_path, "sample_annotation", lambda rows: rows[0].pop("num_lidar_pts"))
    with pytest.raises(FrameError, match="an annotation has no 'num_lidar_pts'; restore"):
        NuScenesDataset(out, split="all").boxes(0)
    (out / MINI / "instance.json").unlink()
    with pytest.raises(CleverError, match=r"nuScenes needs .*instance.json: No such file"):
        NuScenesDataset(out, split="all").boxes(0)


def test_every_detection_class_has_a_category() -> None:
    assert set(DETECTION_NAMES) <= set(CATEGORIES)
    assert len(set(DETECTION_NAMES.values())) == 10
    assert set(DETECTION_NAMES.values()) <= set(CLASSES)
