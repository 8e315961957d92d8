"""The benchmarks run at a tiny size, and their numbers fit together; how fast anything is, is not
tested."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from clever.cache import FeatureCache
from clever.cache.choices import Codec
from clever.cache.codec import Calibration, decode
from clever.cache.images import load_image
from clever.cache.projection import visible_pairs
from clever.cache.store.files.local import forget_shards
from clever.cache.teacher import load_teachers
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.benchmarks import teacher as teacher_module
from clever.pipeline.benchmarks.occlusion import (
    OcclusionCounts,
    benchmark_occlusion,
    compare,
    draw_occlusion,
    occlusion_table,
    recorded_camera,
)
from clever.pipeline.benchmarks.random_frames import RandomFrames
from clever.pipeline.benchmarks.random_store import write_random_store
from clever.pipeline.benchmarks.read import benchmark_read, check_equal, goals, read_table
from clever.pipeline.benchmarks.readers import BASE, BY_URL, installed, sources
from clever.pipeline.benchmarks.repeated_frames import GeneratedFrames, RepeatedFrames
from clever.pipeline.benchmarks.report import machine, machine_line, ratios, spread
from clever.pipeline.benchmarks.teacher import (
    benchmark_teacher,
    fill_store,
    peak_of_run,
    teacher_tables,
)
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.drives import CAMERAS, Truth, load_recipe, make_drives, recorded_sweep
from clever.pipeline.results.tables import markdown_table
from clever.pipeline.settings.benchmarks.occlusion import BenchmarkOcclusionSettings
from clever.pipeline.settings.benchmarks.read import BenchmarkReadSettings
from clever.pipeline.settings.benchmarks.teacher import BenchmarkTeacherSettings
from clever.pipeline.settings.make_drives import MakeDrivesSettings
from clever.pipeline.stage_one.request import teacher_settings

FRAMES = RandomFrames(cameras=2, grid=(2, 3), channels=8, points=60, seed=3)
TINY_TEACHER = {
    "model": "test_vit",
    "image_size": "32x64",
    "generated_cameras": 1,
    "frames": 3,
    "batch_images": 2,
}


@pytest.fixture(autouse=True)
def _no_maps() -> Iterator[None]:
    yield
    forget_shards()


def test_spread_and_ratios() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {
        "median": 3,
        "low": 2,
        "high": 4,
        "rounds": [4, 1, 2, 3, 5],
    }
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])["median"] == 2
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_markdown_table_lines_up() -> None:
    table = markdown_table(["reader", "x"], [["a", "1.00"], ["long name", "12.00"]]).splitlines()
    assert table == [
        "| reader    |     x |",
        "| --------- | ----: |",
        "| a         |  1.00 |",
        "| long name | 12.00 |",
    ]


def test_machine_names_no_place() -> None:
    where = machine(["zarr", "no-such-package"])
    assert where["versions"]["torch"] == torch.__version__.split("+")[0]
    assert where["versions"]["no-such-package"] is None
    line = machine_line(where)
    assert "no-such-package" not in line
    assert "/" not in line.replace(where["processor"], "")


def test_random_store_holds_its_frames(tmp_path: Path) -> None:
    layers = write_random_store(tmp_path / "s.zarr", FRAMES, 18, ("int8", "int8-zstd", "fp16"))
    for codec, layer in layers.items():
        cache = FeatureCache(tmp_path / "s.zarr", layer)
        assert cache.ids == [FRAMES.id(number) for number in range(18)]
        for number in (0, 17):
            cached, (frame, pairs) = cache[number], FRAMES.frame(number)
            np.testing.assert_array_equal(cached.points.numpy(), frame.points)
            np.testing.assert_array_equal(cached.pair_point.numpy(), pairs.point)
            error = (decode(cached.tokens, cached.calibration) - FRAMES.features(number)).abs()
            limit = (
                cached.calibration.step
                if cached.calibration
                else FRAMES.features(number).abs() * 2**-10 + 1e-6
            )
            # The calibration sees four frames; a value outside their range is clipped.
            assert float((error <= limit).float().mean()) > 0.9, codec
    assert not torch.equal(FRAMES.features(0), FRAMES.features(1))


@pytest.mark.parametrize("first", ["int8", "int8-zstd", "fp16"])
def test_readers_agree(tmp_path: Path, first: Codec) -> None:
    stored: tuple[Codec, ...] = ("int8", "fp16")
    codecs: list[Codec] = [first, *(codec for codec in stored if codec != first)]
    layers = write_random_store(tmp_path / "s.zarr", FRAMES, 5, codecs)
    readers = sources(tmp_path / "s.zarr", layers, 5, tmp_path)
    assert (readers[0].name, readers[0].codec) == BASE
    names = {(source.name, source.codec) for source in readers}
    assert names >= {("clever", codec) for codec in codecs} | {("zarr", first), (BY_URL, first)}
    others = {
        (name, first)
        for name in ("np.memmap", "safetensors", "h5py", "tensorstore")
        if installed(name)
    }
    assert names >= others or first == "int8-zstd"
    check_equal(readers, 5)
    cache = FeatureCache(tmp_path / "s.zarr", layers[first])
    for source in readers:
        if source.codec == first:
            frame = source.open().frame(3)
            for field in fields(frame):
                expected, value = getattr(cache[3], field.name), getattr(frame, field.name)
                if isinstance(value, Calibration):
                    assert value.equals(expected)
                elif isinstance(value, torch.Tensor):
                    assert value.equal(expected), field.name
                else:
                    assert value == expected, field.name
    file = next(source for source in readers if source.name == "np.memmap").files
    tokens = next(path for path in file if path.name == "tokens.npy")
    values = np.load(tokens)
    values[4, 1, 1, 2, 7] += 1
    np.save(tokens, values)
    with pytest.raises(CleverError, match="fp16: frame 4 differs from the other readers'"):
        check_equal(readers, 5)


@pytest.mark.slow
def test_benchmark_read(tmp_path: Path) -> None:
    out = tmp_path / "read.json"
    settings = BenchmarkReadSettings.resolve(
        None,
        {"frames": 4, "cameras": 2, "grid": "2x3", "channels": 8, "points": 60, "codecs": "int8",
        "workers": "0,1",
         "rounds": 2, "seconds": 0.001, "out": out},
    )  # fmt: skip
    readings = benchmark_read(settings)
    kinds = {(reading.source.name, reading.source.codec) for reading in readings}
    ways = {(reading.part, reading.state, reading.workers) for reading in readings}
    warm = {(part, "warm", workers) for part in ("tokens", "frame") for workers in (0, 1)}
    assert ways == warm | {("tokens", "cold", 0)}
    assert len(readings) == len(kinds) * len(ways)
    report = json.loads(out.read_text())
    assert report["settings"]["grid"] == "2x3"
    for reading, entry in zip(readings, report["readings"], strict=True):
        assert len(reading.rates) == len(reading.base) == settings.rounds
        assert min(reading.rates) > 0
        assert entry["frames_per_s"]["rounds"] == reading.rates
        assert entry["ratio"] == ratios(reading.rates, reading.base)
        if (reading.source.name, reading.source.codec) == BASE:
            assert entry["ratio"]["rounds"] == [1.0, 1.0]
            assert entry["frame_bytes"] == 2 * 2 * 2 * 3 * 8
    table = read_table(readings, "tokens")
    assert all(f"| {name} {codec} " in table for name, codec in kinds)
    assert len(goals(readings)) == 3


def test_benchmark_read_of_a_given_store(tmp_path: Path) -> None:
    write_random_store(tmp_path / "s.zarr", FRAMES, 3, ("int8-zstd",))
    (tmp_path / "beside").mkdir()
    place = tmp_path / "beside" / ".." / "s.zarr"  # tensorstore refuses such a path
    settings = BenchmarkReadSettings(
        cache=place, workers=(), rounds=1, seconds=0.001, out=tmp_path / "r.json"
    )
    readings = benchmark_read(settings)
    names = {(reading.source.name, reading.source.codec) for reading in readings}
    assert names - {("tensorstore", "int8-zstd")} == {
        BASE,
        ("clever", "int8-zstd"),
        (BY_URL, "int8-zstd"),
        ("zarr", "int8-zstd"),
    }


def test_generated_and_repeated_frames(tmp_path: Path) -> None:
    dataset = GeneratedFrames(tmp_path, 3)
    repeated = RepeatedFrames(dataset, 7)
    assert len(repeated) == len(set(repeated.frame_ids)) == 7
    frame = repeated.frame(6)
    assert frame.id == repeated.frame_ids[6]
    np.testing.assert_array_equal(frame.points, dataset.points(0))
    assert (np.diff(visible_pairs(frame).offsets) > 1000).all()
    for camera in frame.cameras:
        assert load_image(camera.image).shape == (camera.height, camera.width, 3)
        assert np.linalg.det(camera.camera_from_lidar) == pytest.approx(1)


def test_benchmark_teacher(tmp_path: Path) -> None:
    flags = {
        **TINY_TEACHER,
        "rounds": 2,
        "memory": False,
        "device": "cpu",
        "out": tmp_path / "teacher.json",
    }
    speed = benchmark_teacher(BenchmarkTeacherSettings.resolve(None, flags))
    assert speed.images == 3
    assert speed.batch == 2
    report = json.loads((tmp_path / "teacher.json").read_text())
    best = [max(runs[number].rate for runs in speed.network.values()) for number in range(2)]
    assert report["ratio"]["rounds"] == [
        speed.whole[number].rate / best[number] for number in range(2)
    ]
    least = [
        min(runs[number].core_seconds for runs in speed.network.values()) for number in range(2)
    ]
    assert report["core_ratio"]["rounds"] == [
        least[number] / speed.whole[number].core_seconds for number in range(2)
    ]
    assert {
        "decode, resize",
        "copy to the device",
        "encode, measure fidelity",
        "write",
        "network",
    } <= set(speed.parts)
    assert min(speed.parts.values()) >= 0
    assert report["peak_bytes"] == {}
    text = teacher_tables(speed)
    assert "cache-teacher, files to store" in text
    other = report["other"]
    assert other["precision"] == "bf16"
    assert speed.other is not None
    assert other["times_as_fast"]["rounds"] == [
        speed.whole[number].seconds / speed.other.whole[number].seconds for number in range(2)
    ]
    assert 0.99 < other["cosine"]["lowest"] <= other["cosine"]["mean"] < 1
    assert "files to store, bf16 over fp32: " in text
    assert "goal bf16 >= 2 times as fast: " in text


def test_another_precision_is_left_out_where_it_is_slow_or_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("flags : fpu avx2\n")
    monkeypatch.setattr("clever.pipeline.process.device.CPU_INFO", info)
    flags = {**TINY_TEACHER, "rounds": 1, "memory": False, "device": "cpu"}
    for against, line in (
        ("bf16", "bf16 is left out: `precision=bf16` will be slow"),
        ("fp32", ""),
        ("none", ""),
    ):
        out = tmp_path / f"{against}.json"
        flags |= {"against": against, "out": out}
        speed = benchmark_teacher(BenchmarkTeacherSettings.resolve(None, flags))
        assert speed.other is None
        assert json.loads(out.read_text())["other"] is None
        assert "cosine" not in teacher_tables(speed)
        assert line in capsys.readouterr().err


def test_the_measured_run_is_stage_one(tmp_path: Path) -> None:
    settings = BenchmarkTeacherSettings.resolve(None, TINY_TEACHER)
    job = settings.job(tmp_path / "s.zarr")
    teachers = load_teachers(teacher_settings(job))
    dataset = RepeatedFrames(GeneratedFrames(tmp_path, 1), 20)
    assert fill_store(job, dataset, teachers) == 20
    cache = FeatureCache(tmp_path / "s.zarr")
    assert cache.ids == list(dataset.frame_ids)
    assert cache[0].tokens.equal(cache[19].tokens)
    assert cache[19].points.numpy().tobytes() == dataset.points(19).tobytes()


def test_peak_memory_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "SMALL_MODEL", "test_vit")
    monkeypatch.setattr(teacher_module, "SMALL_SIZE", (32, 64))
    settings = BenchmarkTeacherSettings.resolve(None, {**TINY_TEACHER, "device": "cpu"})
    assert 2**27 < peak_of_run(settings, 2) < 2**33


def test_occlusion_counts() -> None:
    truth = np.array([True, True, False, False, True, True])
    detection = np.array([True, False, True, False, True, False])
    counts = OcclusionCounts.of(truth, detection)
    assert counts == OcclusionCounts(pairs=6, hidden=4, detections=3, hits=2)
    assert (counts.precision, counts.recall) == (2 / 3, 2 / 4)
    assert counts + counts == OcclusionCounts(12, 8, 6, 4)
    assert OcclusionCounts().precision == OcclusionCounts().recall == 0


def test_benchmark_occlusion(tmp_path: Path) -> None:
    settings = BenchmarkOcclusionSettings(
        scenes=2, keyframes=1, image_width=320, azimuths=720, out=tmp_path / "occlusion.json"
    )
    counts = benchmark_occlusion(settings)
    whole = counts.pop("all")
    assert whole == sum(counts.values(), OcclusionCounts())
    assert whole.hits <= min(whole.detections, whole.hidden) <= whole.pairs
    # Guessing would reach a precision of hidden / pairs, and no recall to speak of.
    assert whole.precision > 0.5
    assert whole.recall > 0.3
    assert whole.hidden < 0.1 * whole.pairs
    report = json.loads((tmp_path / "occlusion.json").read_text())
    assert report["classes"]["all"]["hits"] == whole.hits
    assert occlusion_table({"all": whole}).splitlines()[2].startswith(f"| all   | {whole.pairs:,} ")


def test_occlusion_is_measured_on_the_drives_as_recorded(
    tmp_path: Path, truth_at: Callable[..., Truth]
) -> None:
    root = tmp_path / "drives"
    make_drives(
        MakeDrivesSettings(
            out=root, scenes=1, keyframes=2, image_width=160, azimuths=180, workers=1
        )
    )
    recipe, _ = load_recipe(root)
    dataset = NuScenesDataset(root, None, "all")
    frame = dataset.frame(1)
    points = recorded_sweep(recipe, 1, 1).points[:, :3].astype(np.float64)
    np.testing.assert_allclose(points, frame.points[:, :3], atol=1e-6)
    for model in CAMERAS:
        camera = next(camera for camera in frame.cameras if camera.name == model.channel)
        own = recorded_camera(recipe, 1, 1, model)
        np.testing.assert_allclose(own.camera_from_lidar, camera.camera_from_lidar, atol=1e-6)
        np.testing.assert_allclose(own.intrinsics, camera.intrinsics)
        visible_points, truth, detection = compare(recipe, 1, 1, model, points)
        pairs = visible_pairs(frame)
        number = dataset.cameras.index(model.channel)
        first, last = pairs.offsets[number : number + 2]
        np.testing.assert_array_equal(pairs.point[first:last], visible_points)
        # What is hidden even with the tolerance of the neighbouring pixels lies behind what its own
        # pixel shows.
        surface = truth_at(recipe, 1, 1, model, np.rint(pairs.uv[first:last])).depth
        depth = (
            points[visible_points] @ own.camera_from_lidar[:3, :3].T + own.camera_from_lidar[:3, 3]
        )[:, 2]
        assert (surface[truth] < depth[truth] - 0.4).all()
        assert detection.shape == truth.shape


def test_occlusion_picture(nuscenes_root: Path, tmp_path: Path) -> None:
    draw_occlusion(
        NuScenesDataset(nuscenes_root, None, "all").frame(0), tmp_path / "folder" / "occlusion.png"
    )
    with Image.open(tmp_path / "folder" / "occlusion.png") as picture:
        assert picture.width > picture.height > 300


def test_picture_of_a_frame_that_is_not_there(nuscenes_root: Path, tmp_path: Path) -> None:
    flags = {
        "scenes": 1,
        "keyframes": 1,
        "image_width": 160,
        "azimuths": 90,
        "picture": tmp_path / "p.png",
    }
    settings = BenchmarkOcclusionSettings.resolve(
        None, {**flags, "data_root": nuscenes_root, "frame": 99, "out": tmp_path / "o.json"}
    )
    with pytest.raises(CleverError, match=r"`frame=99`: the dataset has 5 frames"):
        benchmark_occlusion(settings)


def test_command(tmp_path: Path) -> None:
    app = build_app("benchmark")
    arguments = [
        "benchmark",
        "occlusion",
        "--scenes",
        "1",
        "--keyframes",
        "1",
        "--image-width",
        "160",
    ]
    result = CliRunner().invoke(
        app, [*arguments, "--azimuths", "90", "--out", str(tmp_path / "o.json")]
    )
    assert result.exit_code == 0
    assert "truly hidden" in result.output
    result = CliRunner().invoke(app, ["benchmark", "read", "--frames", "0"])
    assert result.exit_code == 2
    assert result.output == "error: --frames is '0': should be greater than or equal to 1\n"
