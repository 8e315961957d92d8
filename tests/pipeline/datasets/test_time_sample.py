"""The look at a dataset's times before a long job: one line in stage one and from the doctor."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clever.cache import FeatureCache
from clever.cache.care.verify import Verification
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.readers.time_sample import time_doubt
from clever.pipeline.doctor import doctor
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.doctor import DoctorSettings

WriteKitti = Callable[..., Path]


def timed(root: Path, *times: float) -> Path:
    """The drive 00 with other times."""
    (root / "sequences/00/times.txt").write_text("".join(f"{time!r}\n" for time in times))
    return root


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.0, ""),
        (1e-3, "every 0.0001 s, less than 0.005"),
        (1e3, "every 100 s, more than 30"),
        (-1.0, "time runs backwards: frames follow every -0.1 s"),
    ],
)
def test_times_in_another_unit(write_kitti: WriteKitti, factor: float, words: str) -> None:
    root = timed(write_kitti({"00": 5}), *(factor * (10 + 0.1 * n) for n in range(5)))
    line = time_doubt(build_dataset("semantickitti", root, sequences=["00"]), range(5))
    assert bool(line) == bool(words)
    assert words in line
    if words and factor > 0:
        assert line.startswith("semantickitti: frames follow ")
        assert line.endswith("; correct them if anything depends on times")


def test_frames_that_cannot_be_read_and_scenes_of_one(write_kitti: WriteKitti) -> None:
    root = timed(write_kitti({"00": 3, "01": 1, "02": 1}), 0.0, 5000.0, 5000.1)
    (root / "sequences/00/velodyne/000000.bin").write_bytes(b"")
    dataset = build_dataset("semantickitti", root, sequences=["00", "01", "02"])
    assert time_doubt(dataset, range(5)) == ""  # 0 -> 5000 s begins with a damaged frame
    assert (
        time_doubt(dataset, [2, 3, 4]) == time_doubt(dataset, [1]) == time_doubt(dataset, []) == ""
    )
    assert "every 100 s" in time_doubt(
        build_dataset("semantickitti", timed(root, 0, 100, 200), sequences=["00"]), range(3)
    )


def test_a_store_of_times_before_zero_is_sound(write_kitti: WriteKitti, tmp_path: Path) -> None:
    """As of a recording that counts from its trigger."""
    root = timed(write_kitti({"00": 3}), -0.2, -0.1, 0.0)
    cache_teacher(
        CacheTeacherSettings(
            data_root=root,
            dataset="semantickitti",
            sequences=("00",),
            model="test_resnet",
            weights="random:0",
            layer=("stride:4",),
            image_size=(16, 32),
            cache=tmp_path / "run.zarr",
        )
    )
    assert FeatureCache(tmp_path / "run.zarr").timestamps.tolist() == [-200_000, -100_000, 0]
    assert [problem for part in Verification(tmp_path / "run.zarr") for problem in part] == []


def test_stage_one_and_the_doctor_say_it(
    write_kitti: WriteKitti, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = timed(write_kitti({"00": 3}), 0.0, 1e-4, 2e-4)
    settings = {"data_root": root, "dataset": "semantickitti", "sequences": ("00",)}
    cache_teacher(
        CacheTeacherSettings(
            **settings,
            model="test_resnet",
            weights="random:0",
            layer=("stride:4",),
            image_size=(16, 32),
            cache=tmp_path / "run.zarr",
        )
    )
    line = "frames follow every 0.0001 s, less than 0.005, so the unit of their times seems wrong"
    assert capfd.readouterr().err.count(f"semantickitti: {line}; correct them") == 1
    assert line in doctor(DoctorSettings(**settings, out=tmp_path / "look", frames=3)).warnings
    timed(root, 0.0, 0.1, 0.2)
    report = doctor(DoctorSettings(**settings, out=tmp_path / "look", frames=3))
    assert not [warning for warning in report.warnings if "follow" in warning]
