"""`clever doctor`: facts of frames, bad frames by name, warnings, a page with its pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clever.cache.projection import visible_pairs
from clever.cache.store.files.lock import writer_lock
from clever.errors import CleverError, OutputError
from clever.pipeline import doctor as doctor_module
from clever.pipeline.alignment.blocks import Estimate
from clever.pipeline.alignment.score import INVERTED, CalibrationScore
from clever.pipeline.datasets import IGNORE, build_dataset
from clever.pipeline.doctor import doctor, drawn_frames
from clever.pipeline.settings.doctor import DoctorSettings


def test_frames_are_spread_over_all_and_drawn_by_the_seed() -> None:
    drawn = drawn_frames(100, 5, 0)
    assert [index // 20 for index in drawn] == [0, 1, 2, 3, 4]
    assert drawn == drawn_frames(100, 5, 0)
    assert drawn != drawn_frames(100, 5, 1)
    assert drawn_frames(3, 5, 7) == [0, 1, 2]
    assert drawn_frames(0, 5, 0) == []


def test_facts_are_those_of_the_frames(nuscenes_root: Path, tmp_path: Path) -> None:
    """Two scenes; frame scene-0061-1 has a torn image, and costs no other frame."""
    torn = nuscenes_root / "samples/CAM_BACK/scene-0061-1.jpg"
    torn.write_bytes(torn.read_bytes()[:40])
    out = tmp_path / "out"
    report = doctor(DoctorSettings(data_root=nuscenes_root, out=out, frames=9))
    assert [frame.id for frame in report.bad] == ["scene-0061-1"]
    assert str(torn) in report.bad[0].reason
    assert report.protocol == "nuscenes all: 4 of 5 frames, spread evenly, seed 0"
    dataset = build_dataset("nuscenes", nuscenes_root, split="all")
    indices = [0, 2, 3, 4]
    assert [frame.id for frame in report.frames] == [dataset.frame_ids[i] for i in indices]
    for index, facts in zip(indices, report.frames, strict=True):
        frame, pairs = dataset.frame(index), visible_pairs(dataset.frame(index))
        assert facts.points == 400
        assert list(facts.pairs.values()) == np.diff(pairs.offsets).tolist()
        assert facts.seen == len(set(pairs.point.tolist())) / 400
        assert facts.farthest == pytest.approx(np.sqrt((frame.points[:, :3] ** 2).sum(1)).max())
        assert facts.far == 0
        assert facts.brightest == pytest.approx(frame.points[:, 3].max())
        labels = dataset.labels(index)
        assert facts.labels == {
            name: int((labels == number).sum()) for number, name in enumerate(dataset.class_names)
        }
        assert facts.unlabelled == int((labels == IGNORE).sum())
        with Image.open(out / facts.picture) as picture:
            assert picture.format == "PNG"
        assert f"({facts.picture})" in report.summary.read_text()
    # Half a second apart; of the last of a scene nothing follows.
    assert [frame.gap for frame in report.frames] == [0.5, None, 0.5, None]
    record = json.loads((out / "doctor.json").read_text())
    assert record["protocol"] == report.protocol
    assert record["calibration"][0]["where"] == "all cameras"
    assert f"bad frame scene-0061-1: {report.bad[0].reason}" in str(report)


def test_pairs_of_a_camera_are_a_mean_over_the_frames_that_have_it(
    nuscenes_root: Path, tmp_path: Path
) -> None:
    """The first frame of five has one camera, of those that the others have."""
    report = doctor(DoctorSettings(data_root=nuscenes_root, out=tmp_path / "out", frames=9))
    first, *others = report.frames
    name, other = list(first.pairs)[:2]
    counts = [frame.pairs[name] for frame in report.frames]
    alone = first.model_copy(update={"pairs": {name: counts[0]}})
    text = str(report.model_copy(update={"frames": [alone, *others]}))
    line = next(line for line in text.splitlines() if line.startswith("pairs a frame"))
    mean = np.mean([frame.pairs[other] for frame in others])
    assert f"{name} {np.mean(counts):.0f}, " in line
    assert f"{other} {mean:.0f} ({len(others)} of {len(report.frames)} frames have it)" in line


def test_two_reports_in_one_folder_do_not_mix(nuscenes_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with writer_lock(out), pytest.raises(CleverError, match="out is being written by process"):
        doctor(DoctorSettings(data_root=nuscenes_root, out=out, frames=1))
    assert not out.exists()


def test_pictures_of_an_earlier_report_do_not_stay(
    nuscenes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = doctor(DoctorSettings(data_root=nuscenes_root, out=out, frames=3))
    mine = ["frame-00-mine.png", "notes.txt"]
    for name in mine:
        (out / name).write_text("mine")
    outside = tmp_path / "outside.png"
    outside.write_text("mine")
    with (out / "pictures.txt").open("a") as file:
        file.write("../outside.png\nnotes.txt\n")
    capsys.readouterr()
    second = doctor(DoctorSettings(data_root=nuscenes_root, out=out, frames=1))
    pictures = {frame.picture for frame in second.frames}
    assert pictures != {frame.picture for frame in first.frames}
    assert {path.name for path in out.iterdir()} == pictures | {
        "doctor.md", "doctor.json", "pictures.txt", *mine,
    }  # fmt: skip
    assert outside.exists()
    assert f"removed 3 pictures of an earlier report in {out}\n" in capsys.readouterr().err


def test_what_is_odd_is_told(write_kitti: Callable[..., Path], tmp_path: Path) -> None:
    """Intensities of a 255th, points far out, time that stands still, no labels."""
    root = write_kitti({"00": 4}, labels=False)
    folder = root / "sequences" / "00"
    for path in sorted((folder / "velodyne").iterdir()):
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        points[:, 3] /= 255
        points[:3, 0] = 400.0
        points.tofile(path)
    (folder / "times.txt").write_text("0\n0.2\n0.2\n0.4\n")
    report = doctor(DoctorSettings(dataset="semantickitti", data_root=root, out=tmp_path / "out"))
    text = "\n".join(report.warnings)
    assert "if the file's full intensity is not 1, give it with" in text
    assert "12 points lie beyond 250 m, the farthest at 40" in text
    assert "time does not go forward" in text
    assert [frame.labels for frame in report.frames] == [None] * 4
    assert "no labels for these frames" in str(report)


def test_not_one_frame_is_an_error(nuscenes_root: Path, tmp_path: Path) -> None:
    for path in (nuscenes_root / "samples/LIDAR_TOP").iterdir():
        path.write_bytes(b"")
    with pytest.raises(CleverError, match="none of 5 frames can be read; the first, scene-0061-0"):
        doctor(DoctorSettings(data_root=nuscenes_root, out=tmp_path / "out"))


def test_an_output_that_cannot_be_written_is_no_bad_frame(
    nuscenes_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"^cannot write .*/out/pictures\.txt: "):
        doctor(DoctorSettings(data_root=nuscenes_root, frames=5, out=tmp_path / "out"))


def test_a_score_without_edges_of_its_own_names_the_inverse_s() -> None:
    score = CalibrationScore("left", 3, 10, inverse=Estimate(0.5, 0.1, 9), warning=INVERTED)
    assert doctor_module._calibration_warning(score) == (
        "calibration of left: the inverse extrinsics fit better; alignment too few edges to tell, "
        f"inverted {Estimate(0.5, 0.1, 9)}: is it `lidar_from_camera`?"
    )


def test_a_score_says_what_it_can_tell() -> None:
    def line(alignment: Estimate | None, gain: Estimate | None = None) -> str:
        score = CalibrationScore("left", 3, 10, alignment, gain=gain)
        return doctor_module._score_line(score).partition("images, ")[2]

    assert (
        line(Estimate(0.5, 0.1, 9))
        == "alignment 0.50 [0.27, 0.73]; no rotation fits clearly better"
    )
    chance = "alignment 0.07 [0.00, 0.14]; not told from chance (0)"
    assert line(Estimate(0.068, 0.0302, 9)) == chance
    assert line(None) == "too few to tell"


def test_labels_of_frames_without_images_are_counted(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"00": 2})
    for image in (root / "sequences/00/image_2").iterdir():
        image.unlink()
    values = {"dataset": "semantickitti", "data_root": root, "split": "all", "frames": 2}
    report = doctor(DoctorSettings.resolve(None, {**values, "out": tmp_path / "look"}))
    assert report.bad == []
    assert [frame.id for frame in report.without_cameras] == ["00/000000", "00/000001"]
    line = "labels alone, no camera: frame 00/000000 and 1 other ("
    assert f"\n{line}" in str(report)
    assert f"## Without cameras\n\n{line}" in report.summary.read_text()
    dataset = build_dataset("semantickitti", root, split="all")
    for index, facts in enumerate(report.frames):
        labels = dataset.labels(index)
        assert facts.labels == {
            name: int((labels == number).sum()) for number, name in enumerate(dataset.class_names)
        }
        assert (facts.points, facts.pairs, facts.gap) == (len(labels), {}, None)
    assert len(report.frames) == 2


def test_a_frame_that_lost_its_image_is_bad_where_others_of_its_scene_have_theirs(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"00": 3, "01": 1})
    (root / "sequences/00/image_2/000001.png").unlink()
    (root / "sequences/01/image_2/000000.png").unlink()
    values = {"dataset": "semantickitti", "data_root": root, "split": "all", "frames": 4}
    report = doctor(DoctorSettings.resolve(None, {**values, "out": tmp_path / "look"}))
    # Of a scene of one frame no other says whether it has cameras.
    assert [frame.id for frame in report.bad] == ["00/000001", "01/000000"]
    assert report.without_cameras == []
    assert [frame.id for frame in report.frames] == ["00/000000", "00/000002"]
    # Where nothing else is left, its labels are told.
    alone = doctor(DoctorSettings.resolve(
        None, {**values, "split": "train", "sequences": "01", "out": tmp_path / "alone"}
    ))  # fmt: skip
    assert (
        [frame.id for frame in alone.bad] == [frame.id for frame in alone.frames] == ["01/000000"]
    )
