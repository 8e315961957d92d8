"""Corrupted frames as they are read, as they are written, and as they are read back in place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clever.errors import CleverError, FrameError
from clever.pipeline.corrupt import corrupt_dataset, open_choices
from clever.pipeline.corrupted.clean_sweeps import clean_sweep, sensor_of
from clever.pipeline.corrupted.frames import (
    CorruptedFrames,
    ReleasedFrames,
    released_parts,
)
from clever.pipeline.corruptions.lasers import lasers, turns
from clever.pipeline.corruptions.registry import CORRUPTIONS, SEVERITIES, corrupt, dose_of
from clever.pipeline.datasets import IGNORE, LidarDataset, build_dataset
from clever.pipeline.settings.corrupt import CorruptSettings
from clever.pipeline.settings.shared.choices import SensorName

SENSORS: tuple[SensorName, ...] = ("nuscenes", "semantickitti")


@pytest.fixture
def roots(write_nuscenes: Callable[..., Path], write_kitti: Callable[..., Path]) -> dict[str, Path]:
    """A little of both datasets, with enough points for ground to get wet."""
    return {
        "nuscenes": write_nuscenes({"scene-0103": 2}, points=12_000),
        "semantickitti": write_kitti({"08": 2}, points=8_000, images=False),
    }


def opened(roots: dict[str, Path], name: str) -> LidarDataset:
    return build_dataset(name, roots[name], split="val")


def written(roots: dict[str, Path], name: str, out: Path, **values: object):
    flags = {"dataset": name, "data_root": roots[name], "out": out, **values}
    return corrupt_dataset(CorruptSettings.resolve(None, flags))


@pytest.mark.parametrize("name", SENSORS)
def test_what_is_written_reads_back_as_what_is_derived(
    roots: dict[str, Path], tmp_path: Path, name: SensorName
) -> None:
    out = tmp_path / "set"
    result = written(roots, name, out, severities="2", seed=3)
    dataset = opened(roots, name)
    assert (result.written, result.current, result.bad) == (16, 0, [])
    assert released_parts(out) == [(part, "moderate") for part in CORRUPTIONS]
    inserted = 0
    for part in CORRUPTIONS:
        derived = CorruptedFrames(dataset, dose_of(part, "moderate", name), name, 3)
        released = ReleasedFrames(dataset, out, part, "moderate")
        for index in range(2):
            np.testing.assert_allclose(
                released.points(index), derived.points(index), rtol=1e-6, atol=1e-7
            )
            np.testing.assert_array_equal(released.labels(index), derived.labels(index))
            clean = (dataset.labels(index) == IGNORE).mean()
            inserted += (released.labels(index) == IGNORE).mean() > clean + 0.001
    assert inserted >= 4
    again = written(roots, name, out, severities="2", seed=3)
    assert (again.written, again.current) == (0, 16)
    assert str(again).splitlines()[0] == f"{out}: 0 sweeps written, 16 were there already"


def test_files_keep_what_no_corruption_touches(roots: dict[str, Path], tmp_path: Path) -> None:
    written(roots, "nuscenes", tmp_path / "set", corruptions="crosstalk", severities="heavy")
    place = tmp_path / "set/crosstalk/heavy"
    sweep = "samples/LIDAR_TOP/scene-0103-0.pcd.bin"
    before, after = (
        np.fromfile(root / sweep, "<f4").reshape(-1, 5) for root in (roots["nuscenes"], place)
    )
    label = "lidarseg/v1.0-mini/scene-0103-0_lidarseg.bin"
    raw, new = (np.fromfile(root / label, "u1") for root in (roots["nuscenes"], place))
    moved = (before != after).any(1)
    assert moved.sum() == int(0.07 * len(before))
    np.testing.assert_array_equal(before[:, 4], after[:, 4])
    assert (new[moved] == 43).all()
    np.testing.assert_array_equal(new[~moved], raw[~moved])
    noise = (after - before)[moved][:, :4]
    np.testing.assert_allclose(noise.std(0), 3, rtol=0.12)


@pytest.mark.parametrize(("part", "raw"), [("fog", 21), ("snow", 22), ("crosstalk", 23)])
def test_ids_of_inserted_points_of_semantickitti(
    roots: dict[str, Path], tmp_path: Path, part: str, raw: int
) -> None:
    written(roots, "semantickitti", tmp_path / "set", corruptions=part, severities="heavy")
    labels = np.fromfile(tmp_path / "set" / part / "heavy/labels/000001.label", "<u4")
    clean = np.fromfile(roots["semantickitti"] / "sequences/08/labels/000001.label", "<u4")
    ids = labels & 0xFFFF
    assert (ids == raw).any()
    assert labels.max() > 0xFFFF, "instance ids stay"
    assert set(ids.tolist()) <= {raw, *(clean & 0xFFFF).tolist()}
    name = tmp_path / "set" / part / "heavy/velodyne/000001.bin"
    assert name.stat().st_size == 16 * len(labels)


def test_frames_are_corrupted_by_seed_and_id_alone(roots: dict[str, Path]) -> None:
    dataset = opened(roots, "nuscenes")
    dose = dose_of("motion_blur", "light", "nuscenes")
    frames = CorruptedFrames(dataset, dose, "nuscenes", 5)
    second = frames.points(1)
    labels = dataset.labels(1)
    sweep, words = clean_sweep(dataset, 1, "nuscenes", 5, labels)
    expected = corrupt(sweep, dose, seed=5, frame=dataset.frame_ids[1])
    np.testing.assert_array_equal(second, expected.points)
    np.testing.assert_array_equal(frames.labels(1), labels)
    assert words == frames.words[dataset.frame_ids[1]] == "lasers from the file, ground from labels"
    assert not np.array_equal(second, frames.points(0)[: len(second)])
    assert (len(frames), frames.frame_ids, frames.scenes) == (2, dataset.frame_ids, dataset.scenes)
    frame = frames.frame(1)
    np.testing.assert_array_equal(frame.points, second)
    assert len(frame.cameras) == 6


def test_ground_and_vehicles_come_from_labels(roots: dict[str, Path]) -> None:
    dataset = opened(roots, "nuscenes")
    labels = dataset.labels(0)
    sweep, _ = clean_sweep(dataset, 0, "nuscenes", 0, labels)
    classes = dataset.class_names
    ground = [classes.index(name) for name in ("driveable_surface", "other_flat", "sidewalk")]
    np.testing.assert_array_equal(sweep.ground, np.isin(labels, ground))
    cars = labels == classes.index("car")
    assert cars.any()
    assert (sweep.vehicle[cars] == classes.index("car")).all()
    assert (sweep.vehicle[labels == classes.index("pedestrian")] == -1).all()
    bare, words = clean_sweep(dataset, 0, "nuscenes", 0, None)
    assert words.endswith("ground from a plane")
    assert (bare.vehicle == -1).all()


def test_points_out_of_reach_are_left_out_and_counted(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(roots, "nuscenes")

    def far(self: CorruptedFrames, index: int, labels: np.ndarray):
        sweep, _ = clean_sweep(dataset, index, "nuscenes", 0, labels)
        result = corrupt(sweep, self.dose, seed=0, frame="a")
        result.points[:7, 1] = -2000.0
        return result

    monkeypatch.setattr(CorruptedFrames, "corrupted", far)
    frames = CorruptedFrames(dataset, dose_of("crosstalk", "light", "nuscenes"), "nuscenes", 0)
    assert len(frames.points(0)) == len(frames.labels(0)) == 12_000 - 7
    assert frames.left_out == {dataset.frame_ids[0]: 7}


def test_what_is_wrong_with_a_set_is_one_line(roots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "set"
    written(roots, "semantickitti", out, corruptions="crosstalk", severities="light")
    dataset = opened(roots, "semantickitti")
    place = out / "crosstalk/light"
    with pytest.raises(CleverError, match=r"no folder .*fog/light.*corrupted_root"):
        ReleasedFrames(dataset, out, "fog", "light")
    with pytest.raises(CleverError, match=r"holds no <corruption>/<severity> folder"):
        released_parts(place)
    labels = place / "labels/000000.label"
    content = labels.read_bytes()
    labels.unlink()
    frames = ReleasedFrames(dataset, out, "crosstalk", "light")
    with pytest.raises(FrameError, match=r"cannot read .*labels/000000\.label"):
        frames.labels(0)
    labels.write_bytes(content[:-4])
    frames = ReleasedFrames(dataset, out, "crosstalk", "light")
    with pytest.raises(FrameError, match=r"holds 7999 labels but .* 8000 points; restore"):
        frames.points(0)
    sweep = place / "velodyne/000001.bin"
    sweep.write_bytes(sweep.read_bytes()[:-1])
    with pytest.raises(FrameError, match=r"000001\.bin has 127999 bytes, no multiple of 16"):
        frames.labels(1)
    sweep.unlink()
    with pytest.raises(FrameError, match=r"cannot read .*000001\.bin"):
        frames.labels(1)
    np.full((8000, 4), np.nan, np.float32).tofile(sweep)
    with pytest.raises(FrameError, match="NaN or infinite"):
        frames.labels(1)


def test_labels_of_clean_frames_stand_in_where_no_label_changes(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    written(roots, "semantickitti", out, corruptions="motion_blur,fog", severities="light")
    dataset = opened(roots, "semantickitti")
    blurred = ReleasedFrames(dataset, out, "motion_blur", "light")
    np.testing.assert_array_equal(blurred.labels(0), dataset.labels(0))
    assert not blurred.clean_labels
    # Some label files are there, so that one of them is lost.
    (out / "motion_blur/light/labels/000000.label").unlink()
    lost = ReleasedFrames(dataset, out, "motion_blur", "light")
    with pytest.raises(FrameError, match=r"cannot read .*labels/000000\.label"):
        lost.labels(0)
    for name in ("motion_blur", "fog"):
        shutil.rmtree(out / name / "light/labels")
    bare = ReleasedFrames(dataset, out, "motion_blur", "light")
    np.testing.assert_array_equal(bare.labels(0), dataset.labels(0))
    assert bare.clean_labels
    with pytest.raises(FrameError, match=r"cannot read .*labels/000000\.label"):
        ReleasedFrames(dataset, out, "fog", "light").labels(0)


def test_a_folder_holds_frames_of_one_seed_and_strength(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    written(roots, "semantickitti", out, corruptions="crosstalk", severities="light")
    with pytest.raises(CleverError, match="frames of another seed or strength"):
        written(roots, "semantickitti", out, corruptions="crosstalk", severities="1", seed=1)
    with pytest.raises(CleverError, match="frames of another seed or strength"):
        written(
            roots, "semantickitti", out, corruptions="crosstalk", strength="crosstalk.share=1,1,1"
        )
    (out / "crosstalk/light/corruption.json").unlink()
    with pytest.raises(CleverError, match="frames of unknown origin"):
        written(roots, "semantickitti", out, corruptions="crosstalk", severities="light")
    with pytest.raises(CleverError, match="give `out` for the set, `pictures`"):
        corrupt_dataset(CorruptSettings.resolve(None, {"data_root": roots["nuscenes"]}))


def test_a_set_is_not_written_into_its_dataset(roots: dict[str, Path]) -> None:
    root = roots["semantickitti"]
    names = {path.name for path in root.iterdir()}
    with pytest.raises(CleverError, match="`out` is the dataset's own folder, "):
        written(roots, "semantickitti", root / "." / "x" / "..", corruptions="crosstalk")
    assert {path.name for path in root.iterdir()} == names


def test_several_sequences_have_no_place_in_semantickitti_c(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"00": 1, "01": 1}, images=False)
    values = {"dataset": "semantickitti", "data_root": root, "split": "train"}
    with pytest.raises(CleverError, match=r"holds one sequence.*`sequences`"):
        corrupt_dataset(CorruptSettings.resolve(None, {**values, "out": tmp_path / "set"}))
    flags = {**values, "out": tmp_path / "set", "sequences": "01", "corruptions": "motion_blur"}
    assert corrupt_dataset(CorruptSettings.resolve(None, flags)).written == len(SEVERITIES)


def test_a_bad_frame_costs_no_other(roots: dict[str, Path], tmp_path: Path) -> None:
    (roots["semantickitti"] / "sequences/08/velodyne/000000.bin").write_bytes(b"1")
    result = written(roots, "semantickitti", tmp_path / "set", corruptions="fog,crosstalk")
    assert result.written == 6
    assert [bad.id for bad in result.bad] == ["08/000000"]
    assert str(result).count("skipped frame 08/000000") == 1


def test_without_labels_echoes_cannot_be_lost(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"08": 1}, images=False, labels=False, points=3000)
    flags = {"dataset": "semantickitti", "data_root": root, "out": tmp_path / "set"}
    result = corrupt_dataset(CorruptSettings.resolve(None, {**flags, "severities": "1"}))
    assert result.written == 7
    assert "incomplete_echo needs labels" in result.bad[0].reason
    assert not list((tmp_path / "set").rglob("*.label"))


def test_what_a_publication_leaves_open_is_said_of_what_was_not_chosen() -> None:
    names = ("motion_blur", "crosstalk", "snow", "fog")

    def heads(sensor: SensorName, *given: str) -> list[str]:
        return [line[:24] for line in open_choices(names, sensor, dict.fromkeys(given))]

    blur, crosstalk = "motion_blur: moderate an", "crosstalk: moderate and "
    snow = ["snow: the sensor's file ", "snow: flakes are drawn a"]
    assert heads("nuscenes") == [*snow, blur, crosstalk]
    assert heads("semantickitti") == snow
    assert heads("nuscenes", "crosstalk.share", "snow.rate") == [*snow, blur]
    assert heads("nuscenes", "snow.focal_slope", "motion_blur.sigma") == [*snow, crosstalk]
    both = ("snow.focal_slope", "snow.focal_distance")
    assert heads("semantickitti", *both) == snow[1:]
    assert open_choices(("fog",), "nuscenes", {}) == []


def test_strengths_belong_to_a_sensor(
    roots: dict[str, Path], make_labelled: Callable[..., LidarDataset]
) -> None:
    other = make_labelled(("a", "b"))
    assert sensor_of(opened(roots, "nuscenes"), None) == "nuscenes"
    assert sensor_of(opened(roots, "nuscenes"), "semantickitti") == "semantickitti"
    with pytest.raises(CleverError, match=r"not of semantickitti; say which.*`sensor`"):
        sensor_of(other, None)


def rotating(elevations: np.ndarray, azimuths: int) -> np.ndarray:
    """Points (N, 3) of lasers one after another, each a turn from ahead to the left."""
    azimuth = np.tile(np.linspace(0.01, 2 * np.pi - 0.01, azimuths), (len(elevations), 1))
    elevation = np.radians(elevations)[:, None] + 0 * azimuth
    xyz = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        -1,
    )
    return 10 * xyz.reshape(-1, 3)


def test_lasers_are_told_by_turns_of_the_file_else_by_elevation() -> None:
    elevations = np.concatenate([2 - np.arange(32) / 3, -8.83 - np.arange(32) / 2])
    xyz = rotating(elevations, 50)
    expected = np.repeat(np.arange(64), 50)
    np.testing.assert_array_equal(turns(xyz), expected)
    ring, words = lasers(xyz, 64)
    np.testing.assert_array_equal(ring, expected)
    assert words == "lasers by turns of the file"
    mixed = np.random.default_rng(0).permutation(len(xyz))
    ring, words = lasers(xyz[mixed], 64)
    np.testing.assert_array_equal(ring, expected[mixed])
    assert words == "lasers by elevation"
    upper = lasers(np.array([[1.0, 0, 5], [1, 0, -5]]), 64)[0]
    assert upper.tolist() == [0, 63]
    below = lasers(np.array([[1.0, 0, 5], [1, 0, -5]]), 32)[0]
    assert below.tolist() == [31, 0]
    ring, words = lasers(rotating(elevations[:62], 50), 64)
    assert (words, ring.max()) == ("lasers by turns of the file", 61)
    ring, words = lasers(rotating(np.append(elevations, [-25, -26]), 50), 64)
    assert (words, ring.max()) == ("lasers by turns of the file", 63)
    assert lasers(rotating(elevations[:61], 50), 64)[1] == "lasers by elevation"


def test_released_format_is_that_of_the_dataset(roots: dict[str, Path]) -> None:
    dataset = opened(roots, "nuscenes")
    table = dataset.released_format.corrupted_table()  # type: ignore[attr-defined]
    assert table[[41, 42, 43]].tolist() == [IGNORE] * 3
    assert (dataset.released_format.table[[41, 42, 43]] == -1).all()  # type: ignore[attr-defined]
    kitti = opened(roots, "semantickitti").released_format  # type: ignore[attr-defined]
    assert kitti.corrupted_table()[[20, 21, 22, 23]].tolist() == [4, IGNORE, IGNORE, IGNORE]
