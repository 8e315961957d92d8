"""The look at a dataset's calibration before a long job: one line, and no frame stops it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.errors import FrameError
from clever.pipeline.alignment import sample
from clever.pipeline.alignment.sample import FRAMES, calibration_doubt
from clever.pipeline.datasets import build_dataset


def test_frames_are_spread_and_bad_ones_passed_over(
    write_nuscenes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nine frames every other one is looked at; the middle one has no sweep. What is doubtful
    comes with how many were seen."""
    root = write_nuscenes({"scene-0061": 9})
    (root / "samples/LIDAR_TOP/scene-0061-4.pcd.bin").write_bytes(b"")
    dataset = build_dataset("nuscenes", root, split="all")
    judged: list[tuple[str, int]] = []
    own = sample.views_of

    def views(frame: Any, images: Any, number: int) -> Any:
        judged.append((frame.id, number))
        return own(frame, images, number)

    monkeypatch.setattr(sample, "views_of", views)
    monkeypatch.setattr(sample, "quick_doubt", lambda pairs: f"{len(pairs)} views")
    line = calibration_doubt(dataset, range(9))
    assert FRAMES == 5
    assert judged == [(f"scene-0061-{2 * number}", number) for number in (0, 1, 3, 4)]
    assert line == (
        "nuscenes: the calibration of 4 frames looked at seems wrong: 24 views; `clever doctor` "
        "draws it"
    )
    monkeypatch.setattr(sample, "quick_doubt", lambda pairs: "")
    assert calibration_doubt(dataset, range(9)) == ""
    assert calibration_doubt(dataset, []) == ""


def test_points_that_are_no_numbers_are_left_to_others(
    write_nuscenes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build_dataset("nuscenes", write_nuscenes({"scene-0061": 1}), split="all")
    frame = dataset.frame(0)
    frame.points[0, 0] = np.nan
    monkeypatch.setattr(type(dataset), "frame", lambda self, index: frame)
    assert calibration_doubt(dataset, [0]) == ""

    def bad(self: object, index: int) -> None:
        raise FrameError("scene-0061-0", "is bad")

    monkeypatch.setattr(type(dataset), "frame", bad)
    assert calibration_doubt(dataset, [0]) == ""


def test_the_inverse_of_a_real_drive_is_noticed(shared_data: Path, tmp_path: Path) -> None:
    source, drive = shared_data / "semantickitti/sequences/40", tmp_path / "sequences/40"
    drive.mkdir(parents=True)
    for name in ("velodyne", "image_2"):
        (drive / name).symlink_to(source / name)
    lines = (source / "calib.txt").read_text().splitlines()
    values = {name: row.split() for name, _, row in (line.partition(":") for line in lines)}
    own = np.eye(4)
    own[:3] = np.array(values["Tr"], float).reshape(3, 4)
    rows = {"P2": values["P2"], "Tr": map(repr, np.linalg.inv(own)[:3].ravel().tolist())}
    text = "\n".join(f"{name}: {' '.join(row)}" for name, row in rows.items())
    (drive / "calib.txt").write_text(text)
    dataset = build_dataset("semantickitti", tmp_path, sequences=("40",))
    line = calibration_doubt(dataset, range(39))
    assert "of 5 frames looked at seems wrong: the inverse extrinsics fit better" in line
