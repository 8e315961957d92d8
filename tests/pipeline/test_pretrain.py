"""Pre-training on a small store written frame by frame: resume, determinism, isolation, bad numbers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.sampling import sample_tokens
from clever.cache.store import Store
from clever.cache.writer import GridShard, PointShard
from clever.errors import CleverError
from clever.pipeline.distillation import DistillationBatch, DistillationStep
from clever.pipeline.pretrain import PretrainSettings, build_step, pretrain
from clever.student.augment import Augmentation

SIZES = ((64, 32), (40, 40))
WEIGHTS = ("student.safetensors", "head.safetensors", "occupancy.safetensors")


def toy_frame(rng: np.random.Generator, number: int, paired: bool) -> tuple[Frame, Correspondences]:
    """A street of a floor and a wall; the left camera sees a third of its points, the right one a half."""
    floor = rng.uniform([-6, -6, -1.5, 0], [6, 6, -1.4, 0.3], (120, 4))
    wall = rng.uniform([-6, 5, -1.5, 0.5], [6, 5.2, 2, 1], (80, 4))
    points = np.concatenate([floor, wall]).astype(np.float32)
    cameras = tuple(
        Camera(name, Path(f"{name}.png"), *size, np.eye(3), np.eye(4))
        for name, size in zip(("left", "right"), SIZES, strict=True)
    )
    frame = Frame(f"frame-{number}", f"scene-{number // 2}", number, points, np.eye(4), cameras)
    counts = [66, 100] if paired else [0, 0]
    seen = [np.sort(rng.choice(len(points), count, replace=False)) for count in counts]
    place = (points[:, :2] + 6) / 12.5
    uv = np.concatenate([1 + place[index] * (np.array(size) - 3) for index, size in zip(seen, SIZES, strict=True)])
    return frame, Correspondences(np.concatenate(seen).astype(np.uint32), uv, np.cumsum([0, *counts]))


@pytest.fixture
def make_cache(tmp_path: Path) -> Callable[..., Path]:
    """Writes a store of five frames; `unpaired` have no pairs, `broken` have NaN tokens."""

    def make(unpaired: tuple[int, ...] = (), broken: tuple[int, ...] = (), name: str = "toy.zarr") -> Path:
        rng = np.random.default_rng(3)
        store = Store.open_or_create(tmp_path / name, {"dataset": "toy", "cameras": ["left", "right"]})
        made = [toy_frame(rng, number, number not in unpaired) for number in range(5)]
        store.extend([frame.id for frame, _ in made], [frame.scene for frame, _ in made])
        info = store.add_teacher("toy-3x5", "drawn at random", (3, 5), 6, "fp16", "grid", {"model": "toy"})
        points, grid = PointShard(store, 0), GridShard(store, info, 0)
        features = 1 + rng.normal(size=(2, 3, 5, 6))
        for number, (frame, pairs) in enumerate(made):
            points.add(number, frame, pairs)
            tokens = np.full_like(features, np.nan) if number in broken else features
            grid.add(number, tokens.astype(np.float16), None)
        points.commit()
        grid.commit()
        store.finalise()
        return tmp_path / name

    return make


def toy_settings(cache: Path, out: Path, **changes: Any) -> PretrainSettings:
    given = {"cache": cache, "out": out, "student": "minkunet-tiny", "head_hidden": 16, "voxel_size": 0.5}
    given |= {"epochs": 3, "batch_size": 3, "device": "cpu", "seed": 5, **changes}
    return PretrainSettings.resolve(None, given)


def bits(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in WEIGHTS]


def records(folder: Path) -> list[dict[str, float]]:
    """The log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "frames_per_s"} for line in lines]


def test_the_loss_falls_and_the_result_says_what_was_done(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    result = pretrain(toy_settings(make_cache(), tmp_path / "run", epochs=15, lr=0.01, mix3d=0.5))
    assert result.losses.last["distillation"] < 0.8 * result.losses.first["distillation"]
    assert result.losses.last["occupancy"] < result.losses.first["occupancy"]
    log = records(tmp_path / "run")
    assert (result.steps, result.losses.window, len(log)) == (30, 3, 30)
    assert result.losses.first["loss"] == pytest.approx(np.mean([line["loss"] for line in log[:3]]))
    for line in log:
        parts = line["distillation"] + 0.05 * (line["occupancy"] + line["intensity"])
        assert line["loss"] == pytest.approx(parts, rel=1e-5)
    assert max(line["lr"] for line in log) == pytest.approx(0.01)
    assert log[0]["lr"] == pytest.approx(0.001)
    assert log[-1]["lr"] == pytest.approx(1e-5)
    assert (result.teacher, result.dataset, result.seed, result.frames) == ("drawn at random", "toy", 5, 5)
    assert not (tmp_path / "run/state.safetensors").exists()


def test_every_epoch_sees_every_frame_once_in_another_order(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    streams: list[int] = []
    forward = DistillationStep.forward

    def spy(step: DistillationStep, batch: DistillationBatch, generator: torch.Generator) -> Any:
        seen.extend(batch.ids)
        streams.append(generator.initial_seed())
        return forward(step, batch, generator)

    monkeypatch.setattr(DistillationStep, "forward", spy)
    pretrain(toy_settings(make_cache(), tmp_path / "run"))
    epochs = [seen[start : start + 5] for start in range(0, 15, 5)]
    assert [sorted(epoch) for epoch in epochs] == [[f"frame-{number}" for number in range(5)]] * 3
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert len(set(streams)) == len(streams) == 6


def test_a_seed_decides_every_bit_and_workers_none(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    cache = make_cache()
    for name, seed, workers in (("a", 5, 0), ("b", 5, 1), ("c", 6, 0)):
        pretrain(toy_settings(cache, tmp_path / name, seed=seed, workers=workers))
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert records(tmp_path / "a")[0]["loss"] != records(tmp_path / "c")[0]["loss"]


@pytest.mark.parametrize("stop_after", [1, 5])
def test_stopped_and_taken_up_again_equals_uninterrupted(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    cache, forward, steps = make_cache(), DistillationStep.forward, 0

    def interrupted(step: DistillationStep, batch: DistillationBatch, generator: torch.Generator) -> Any:
        nonlocal steps
        steps += 1
        if steps > stop_after:
            raise KeyboardInterrupt
        return forward(step, batch, generator)

    monkeypatch.setattr(DistillationStep, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"stopped; {stop_after // 2} whole epochs are kept: .*--out"):
        pretrain(toy_settings(cache, tmp_path / "stopped"))
    monkeypatch.setattr(DistillationStep, "forward", forward)
    assert (tmp_path / "stopped/student.safetensors").exists() == (stop_after > 1)
    pretrain(toy_settings(cache, tmp_path / "stopped"))
    pretrain(toy_settings(cache, tmp_path / "whole"))
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")
    assert records(tmp_path / "stopped") == records(tmp_path / "whole")


def test_a_finished_run_is_left_alone(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make_cache()
    first = pretrain(toy_settings(cache, tmp_path / "run"))
    written = bits(tmp_path / "run")
    assert pretrain(toy_settings(cache, tmp_path / "run")) == first
    assert "finished already" in capsys.readouterr().err
    assert bits(tmp_path / "run") == written


def test_another_run_at_out_is_an_error_with_the_differing_fields(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    pretrain(toy_settings(cache, tmp_path / "run"))
    with pytest.raises(CleverError, match=r"other settings \(epochs: 3 -> 5, lr: 0.001 -> 0.5\)"):
        pretrain(toy_settings(cache, tmp_path / "run", epochs=5, lr=0.5))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(CleverError, match="holds no run; choose another --out"):
        pretrain(toy_settings(cache, tmp_path / "full"))


def test_a_grown_cache_is_not_mixed_into_a_run(
    make_cache: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    settings = toy_settings(cache, tmp_path / "run")
    forward, calls = DistillationStep.forward, 0

    def stop(step: DistillationStep, batch: DistillationBatch, generator: torch.Generator) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return forward(step, batch, generator)

    monkeypatch.setattr(DistillationStep, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings)
    ids = [f"other-{number}" for number in range(5)]
    monkeypatch.setattr("clever.cache.layout.row_texts", lambda _: ids)
    with pytest.raises(CleverError, match="read other frames than now"):
        pretrain(settings)


def test_pretrain_needs_neither_dataset_nor_teacher_nor_images(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    cache = make_cache()
    script = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['nuscenes', 'timm', 'PIL', 'torchvision'])\n"
        "from clever.pipeline.pretrain import PretrainSettings, pretrain\n"
        f"given = dict(cache={str(cache)!r}, out={str(tmp_path / 'run')!r}, student='minkunet-tiny', epochs=1)\n"
        "given |= dict(head_hidden=8, voxel_size=0.5, device='cpu')\n"
        "print(pretrain(PretrainSettings.resolve(None, given)).steps)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_nan_stops_with_the_frames_of_the_batch_and_keeps_the_checkpoint(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    settings = toy_settings(make_cache(broken=(3,)), tmp_path / "run", batch_size=1)
    with pytest.raises(CleverError, match=r"loss nan .* in frames frame-3;"):
        pretrain(settings)
    assert all(np.isfinite(line["loss"]) for line in records(tmp_path / "run"))


def test_frames_without_pairs_are_named_and_serve_occupancy(
    make_cache: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = toy_settings(make_cache(unpaired=(1, 4)), tmp_path / "run", batch_size=1, epochs=1)
    result = pretrain(settings)
    assert result.unpaired == ["frame-1", "frame-4"]
    assert "2 of 5 frames have no point that a camera sees: frame-1, frame-4" in capsys.readouterr().err
    log = records(tmp_path / "run")
    assert sum("distillation" in line for line in log) == 3
    assert all("occupancy" in line for line in log)


def test_a_cache_without_pairs_is_refused(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"no point of the 5 frames .* nothing to distil"):
        pretrain(toy_settings(make_cache(unpaired=(0, 1, 2, 3, 4)), tmp_path / "run"))
    assert pretrain(toy_settings(make_cache((4,), name="b.zarr"), tmp_path / "run2", limit=4, epochs=1)).unpaired == []


def test_losses_of_a_batch_are_those_of_its_frames(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    """Against a loop over frames and cameras: indices of points, views and image sizes are shifted rightly."""
    cache = FeatureCache(make_cache())
    settings = toy_settings(tmp_path, tmp_path, occupancy_weight=0, augment=False, mix3d=0, voxel_size=0.001)
    step = build_step(settings, cache.teacher.channels).eval()
    frames = cache[0:3]
    batch = DistillationBatch.collate(frames)
    with torch.no_grad():
        found = step(batch, torch.Generator().manual_seed(0))
        features = step.student(batch.points)  # every point has a voxel of its own, so there is nothing to draw
        views, first = [], 0
        for frame in frames:
            own = features[first : first + len(frame.points)]
            first += len(frame.points)
            for camera in range(2):
                chosen = frame.pair_camera == camera
                target = sample_tokens(
                    frame.tokens, frame.pair_camera[chosen], frame.pair_uv[chosen], frame.image_size, None, None
                )
                ours = torch.nn.functional.normalize(step.head(own[frame.pair_point[chosen]]))
                views.append((ours - torch.nn.functional.normalize(target)).norm(dim=1).mean())
    torch.testing.assert_close(found["loss"], torch.stack(views).mean())
    assert set(found) == {"loss", "distillation"}


def test_queries_lie_on_the_rays_of_the_augmented_points(make_cache: Callable[..., Path], tmp_path: Path) -> None:
    """Queries are made before clouds are turned, scaled and mixed, and follow them."""
    cache = FeatureCache(make_cache())
    step = build_step(toy_settings(tmp_path, tmp_path, mix3d=1), cache.teacher.channels)
    step.augmentation = Augmentation(rotate_p=1, jitter_sigma=0)
    points, queries = step._clouds(DistillationBatch.collate(cache[0:4]).points, torch.Generator().manual_seed(1))
    assert points.size == 2
    assert queries is not None
    source = points.xyz[queries.source]
    place = source + queries.offset
    torch.testing.assert_close(torch.linalg.cross(source, place), torch.zeros_like(place), atol=1e-4, rtol=0)
    farther = (place * source).sum(1) > (source * source).sum(1)
    assert torch.equal(farther, queries.occupied)
    assert len(queries.source) == 3 * 4 * 25
