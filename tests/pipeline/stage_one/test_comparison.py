"""A store is gone on with only while its dataset is what it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.cache.store.files.lock import writer_lock
from clever.cache.store.records.commits import records_by_row
from clever.cache.store.store import Store
from clever.errors import CleverError
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets import build_dataset
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.comparison import FRAMES, compare, refuse_changed
from clever.pipeline.stage_one.frames import FrameReader

Run = Callable[..., CacheSummary]


@pytest.fixture
def root(write_kitti: Callable[..., Path]) -> Path:
    return write_kitti({"39": 2, "40": 3}, points=200, poses=True)


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    def run(**settings: Any) -> CacheSummary:
        values: dict[str, Any] = {
            "dataset": "semantickitti",
            "data_root": root,
            "sequences": ("39", "40"),
            "cache": tmp_path / "run.zarr",
            "model": "test_resnet",
            "weights": "random:0",
            "image_size": (32, 64),
            "device": "cpu",
        }
        return cache_teacher(CacheTeacherSettings(**{**values, **settings}))

    run()
    return run


def correct(root: Path, sequence: str, place: int, shift: float) -> None:
    """Add to one number of P2 of a drive: 2 and 6 are the principal point, times a depth."""
    path = root / "sequences" / sequence / "calib.txt"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("P2:"):
            values = line.split()[1:]
            values[place] = repr(float(values[place]) + shift)
            lines[number] = " ".join(["P2:", *values])
    path.write_text("\n".join(lines) + "\n")


def refusal(run: Run, **settings: Any) -> str:
    with pytest.raises(CleverError) as error:
        run(**settings)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_corrected_calibration_is_told_by_how_far_points_move(root: Path, run: Run) -> None:
    """A principal point that was 3 pixels off: every point is 3 pixels elsewhere. Two drives of
    which one is changed; asking for the other alone goes on."""
    correct(root, "40", 2, 3.0)
    text = refusal(run)
    assert (
        "run.zarr was made from other data than semantickitti gives now, by 3 of 5 frames" in text
    )
    assert "40/000000 has another calibration, its points fall elsewhere (image_2 3 px)" in text
    assert "choose another `cache`" in text
    assert run(sequences=("39",)).attempted == 0
    assert "by 3 of 3 frames" in refusal(run, sequences=("40",), model="test_vit")
    correct(root, "40", 2, -3.0)
    assert run().attempted == 0


def test_other_points_poses_and_views_are_told(root: Path, run: Run) -> None:
    sweep = root / "sequences/40/velodyne/000001.bin"
    points = np.fromfile(sweep, "<f4").reshape(-1, 4)
    (points + np.array([0.5, 0, 0, 0], np.float32)).tofile(sweep)
    assert "by 1 of 5 frames looked at: 40/000001 has other points;" in refusal(run)
    points.tofile(sweep)
    poses = root / "sequences/40/poses.txt"
    text = poses.read_text()
    poses.write_text("\n".join(text.splitlines()[1:] + text.splitlines()[:1]) + "\n")
    assert "40/000000 has another timestamp, pose or image size;" in refusal(run)
    poses.write_text(text)
    # The camera looks back now: not one point is seen as before.
    calib = root / "sequences/39/calib.txt"
    lines = calib.read_text().splitlines()
    turned = ["Tr: 0 1 0 0 0 0 -1 0 -1 0 0 0" if line.startswith("Tr:") else line for line in lines]
    calib.write_text("\n".join(turned) + "\n")
    assert "39/000000 has another calibration, its points fall elsewhere (image_2 " in refusal(run)


def test_frames_that_cannot_be_read_are_left_to_others(root: Path, run: Run) -> None:
    """A lost sweep of a finished store is no reason to begin another."""
    (root / "sequences/40/velodyne/000001.bin").write_bytes(b"")
    assert run().attempted == 0


def test_frames_of_many_scenes_are_looked_at(
    write_kitti: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine drives, more than are looked at: one frame each of eight of them, the first and the last
    among them."""
    names = [f"{number:02}" for number in range(9)]
    root = write_kitti(dict.fromkeys(names, 2))
    settings = CacheTeacherSettings(
        dataset="semantickitti", data_root=root, sequences=tuple(names),
        cache=tmp_path / "run.zarr", model="test_resnet", weights="random:0",
        image_size=(32, 64), device="cpu",
    )  # fmt: skip
    cache_teacher(settings)
    dataset = build_dataset("semantickitti", root, sequences=names)
    with writer_lock(settings.store):
        store = Store(settings.store)
        reader = FrameReader(store, dataset)
        records = records_by_row(store.commits(store.points.id))
        differences = [compare(reader, record) for record in records.values()]
        assert {(d.points, len(d.pairs), d.facts) for d in differences} == {(False, 0, False)}
        assert {str(difference) for difference in differences} == {""}
        looked: list[str] = []
        own = FrameReader.read
        monkeypatch.setattr(
            FrameReader,
            "read",
            lambda self, row: (looked.append(store.ids[row]), own(self, row))[1],
        )
        refuse_changed(store, dataset, dataset.frame_ids)
        assert len(looked) == FRAMES == 8
        assert len({frame[:2] for frame in looked}) == 8
        assert (looked[0], looked[-1]) == ("00/000000", "08/000000")
        refuse_changed(store, dataset, [])
        assert len(looked) == 8
