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
    """Of seven frames the first, the middle and the last are looked at; the middle one has no
    sweep. What is doubtful comes with how many were seen."""
    root = write_nuscenes({"scene-0061": 7})
    (root / "samples/LIDAR_TOP/scene-0061-3.pcd.bin").write_bytes(b"")
    dataset = build_dataset("nuscenes", root, split="all")
    judged: list[tuple[str, int]] = []
    own = sample.views_of

    def views(frame: Any, images: Any, number: int) -> Any:
        judged.append((frame.id, number))
        return own(frame, images, number)

    monkeypatch.setattr(sample, "views_of", views)
    monkeypatch.setattr(sample, "quick_doubt", lambda pairs: f"{len(pairs)} views")
    line = calibration_doubt(dataset, range(7))
    assert FRAMES == 3
    assert judged == [("scene-0061-0", 0), ("scene-0061-6", 2)]
    assert line == (
        "nuscenes: the calibration of 2 frames looked at seems wrong: 12 views; `clever doctor` "
        "draws it"
    )
    monkeypatch.setattr(sample, "quick_doubt", lambda pairs: "")
    assert calibration_doubt(dataset, range(7)) == ""
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
