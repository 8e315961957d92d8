"""Pre-training on several stores at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.sampling import sample_tokens
from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.pretraining.several_caches import common_frames, intensity_norm
from clever.pipeline.pretraining.stores import open_stores
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import DistillationBatch, PairedFrames
from clever.pipeline.steps.distillation import DistillationStep, Stores
from clever.pipeline.steps.mixed_frames import MixedFrames, WholeFrames
from clever.pipeline.training.batches import FrameDraw
from clever.student.checkpoint import load_student, read_meta
from clever.student.clouds.intensity import IntensityNorm
from clever.student.clouds.mix3d import mix3d
from clever.student.draws import Draws
from clever.student.losses.pairs import pair_distances
from clever.student.points import PointBatch

from ..processes import start, team

Make = Callable[..., Path]


@pytest.fixture
def two(make_cache: Make) -> list[Path]:
    """Five frames of one dataset with a grid of 3 x 5, three of another with one of 2 x 4."""
    return [
        make_cache(),
        make_cache(name="far.zarr", dataset="far", frames=3, grid_size=(2, 4), seed=8),
    ]


def job(caches: list[Path] | Path, out: Path, **changes: Any) -> PretrainSettings:
    values = {
        "cache": caches, "out": out, "student": "minkunet-tiny", "head_hidden": 16,
        "voxel_size": 0.5, "epochs": 2, "batch_size": 4, "device": "cpu", "seed": 5,
        "rankme_every": 0, **changes,
    }  # fmt: skip
    return PretrainSettings.resolve(None, values)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def mixed(caches: list[Path]) -> MixedFrames:
    parts = [PairedFrames([FeatureCache(path)]) for path in caches]
    return MixedFrames(parts, [part.caches[0].name for part in parts])


def test_targets_of_a_mixed_batch_are_those_of_every_frame(two: list[Path], tmp_path: Path) -> None:
    frames = mixed(two)
    assert len(frames) == 8
    assert frames.ids[4:6] == ["toy frame-4", "far frame-0"]
    samples = [frames[FrameDraw(index, 30 + index)] for index in (6, 0, 3, 5)]
    assert [sample.store for sample in samples] == [1, 0, 0, 1]
    batch = DistillationBatch.collate(samples)
    assert [(run.views, len(run.tokens.tokens)) for run in batch.teachers[0]] == [
        (2, 2), (4, 4), (2, 2)
    ]  # fmt: skip
    step = build_step(job(two, tmp_path, mix3d=0), [FeatureCache(two[0])])
    (targets,) = step.prepare(batch).targets
    expected = [
        sample_tokens(
            frame.teachers[0].tokens, frame.pair_view, frame.pair_uv, frame.image_size, None, True
        )
        for frame in samples
    ]
    assert torch.equal(targets, torch.cat(expected))


@pytest.mark.parametrize("weighting", ["view", "pair"])
def test_losses_by_dataset_are_means_over_its_own(
    two: list[Path], tmp_path: Path, weighting: str
) -> None:
    frames = mixed(two)
    settings = job(two, tmp_path, weighting=weighting, occupancy_weight=0, mix3d=0)
    step = build_step(settings, [FeatureCache(two[0])]).eval()
    step.stores = Stores(("toy", "far"))
    batch = DistillationBatch.collate([frames[FrameDraw(index, index)] for index in (7, 1, 6, 2)])
    counts = step.counts(batch)
    each = 166 if weighting == "pair" else 2
    assert counts == {
        "distillation": 4 * each,
        "frames": 4,
        "toy/distillation": 2 * each,
        "far/distillation": 2 * each,
    }
    totals = {name: torch.tensor(float(count)) for name, count in counts.items()}
    prepared = step.prepare(batch)
    with torch.no_grad():
        losses = step.losses(prepared, totals)
        features = step.student.encode(prepared.mixed, prepared.voxels, prepared.draws)
        rows = features[prepared.visible_voxels][prepared.slot]
        distances = pair_distances(step.last_head()(rows), prepared.targets[0])
    frame = torch.repeat_interleave(torch.arange(4), torch.tensor(batch.frame_pairs))
    for name, own in (("far", (0, 2)), ("toy", (1, 3))):
        means = []
        for number in own:
            views = batch.pair_view[frame == number]
            parts = [distances[frame == number][views == view] for view in views.unique()]
            means += parts if weighting == "view" else [torch.cat(parts)]
        value = torch.stack([part.mean() for part in means]).mean()
        assert losses[f"{name}/distillation"].item() == pytest.approx(value.item(), rel=1e-5)
    both = (losses["toy/distillation"] + losses["far/distillation"]) / 2
    assert losses["distillation"].item() == pytest.approx(both.item(), rel=1e-5)


def test_a_run_logs_each_dataset_and_says_what_it_mixed(two: list[Path], tmp_path: Path) -> None:
    result = pretrain(job(two, tmp_path / "run", rankme_every=2, epochs=4))
    assert (result.dataset, result.frames, result.steps) == ("toy + far", 8, 8)
    assert result.part == "toy: all 5 frames; far: all 3 frames"
    assert result.mixing == "mixing concat, mixed batches"
    assert {"toy/distillation", "far/distillation"} <= result.losses.last.keys()
    assert "mixing concat, mixed batches, recipe clever (" in str(result)
    meta = read_meta(tmp_path / "run/student.safetensors")["meta"]
    assert (meta["dataset"], meta["scenes"]) == ("toy + far", ["scene-0", "scene-1", "scene-2"])
    alone = pretrain(job(two, tmp_path / "alone", batches="one-cache", mixing="balanced", epochs=3))
    assert alone.mixing == "mixing balanced, one-cache batches"
    sides = [
        [name for name in ("toy", "far") if f"{name}/distillation" in line]
        for line in log(tmp_path / "alone")
    ]
    assert all(len(own) == 1 for own in sides)
    assert {own[0] for own in sides} == {"toy", "far"}


def test_a_stopped_run_goes_on_and_knows_its_stores_by_content(
    two: list[Path], make_cache: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(job(two, tmp_path / "whole", mix3d=1.0))
    forward, calls = DistillationStep.forward, iter(range(2))

    def stop(step: DistillationStep, *arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return forward(step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationStep, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(job(two, tmp_path / "cut", mix3d=1.0, save_every=1))
    other = make_cache(name="far2.zarr", dataset="far", frames=4, grid_size=(2, 4), seed=8)
    with pytest.raises(CleverError, match=r"read other cache 2 \(far\) than now"):
        pretrain(job([two[0], other], tmp_path / "cut", mix3d=1.0))
    two[1].rename(tmp_path / "moved.zarr")
    pretrain(job([two[0], tmp_path / "moved.zarr"], tmp_path / "cut", mix3d=1.0))
    for name in ("student", "head", "occupancy"):
        first, second = (tmp_path / f"{run}/{name}.safetensors" for run in ("whole", "cut"))
        assert first.read_bytes() == second.read_bytes()


def test_a_run_on_two_caches_of_one_dataset_goes_on_in_folders_of_other_names(
    make_cache: Make, tmp_path: Path
) -> None:
    first, second = make_cache(name="a.zarr"), make_cache(name="b.zarr", frames=3, seed=8)
    result = pretrain(job([first, second], tmp_path / "run", epochs=1))
    assert result.part == "a: all 5 frames; b: all 3 frames"
    second = second.rename(tmp_path / "c.zarr")
    assert pretrain(job([first, second], tmp_path / "run", epochs=1)) == result
    assert pretrain(job([first, second], tmp_path / "run", epochs=2)).steps == 4
    with pytest.raises(CleverError, match=r"read other cache 1 \(toy\), cache 2 \(toy\) than now"):
        pretrain(job([second, first], tmp_path / "run", epochs=3))


@pytest.mark.slow
def test_parts_and_processes_share_mixed_batches(two: list[Path], tmp_path: Path) -> None:
    changes = {"augmentation": "none", "mix3d": 0, "batch_size": 8, "epochs": 2, "lr": 1e-5}
    pretrain(job(two, tmp_path / "one", **changes))
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    command = [
        "pretrain", *(f"--cache={path}" for path in two), f"--out={tmp_path / 'two'}",
        "--student=minkunet-tiny", "--head-hidden=16", "--voxel-size=0.5", "--device=cpu",
        "--seed=5", "--rankme-every=0", "--accumulate=2", *settings,
    ]  # fmt: skip
    output = tmp_path / "output"
    processes = [start(command, output, environment) for environment in team(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0], output.read_text()
    for ours, theirs in zip(log(tmp_path / "two"), log(tmp_path / "one"), strict=True):
        for name in ("distillation", "toy/distillation", "far/distillation"):
            assert ours[name] == pytest.approx(theirs[name], rel=0.02)


def test_what_does_not_belong_together_is_one_line(
    two: list[Path], make_cache: Make, tmp_path: Path
) -> None:
    odd = make_cache(
        name="odd.zarr", dataset="odd", fingerprint={"layer": "block:-2", "codec": "fp16"}
    )
    with pytest.raises(
        CleverError,
        match=r"odd.zarr holds no layer that teaches as toy-3x5-fefd of the first `cache` does; "
        r"toy-3x5-\w+ differs in layer None against block:-2$",
    ):
        open_stores(job([two[0], odd], tmp_path))
    for changes, words in (
        ({"cache": [two[0], two[0]]}, "give each once"),
        ({"mixing": "ratio"}, "`cache_weight` says how often"),
        ({"cache_weight": "1,2"}, "`cache_weight` says how often"),
        ({"mixing": "ratio", "cache_weight": "1,2,3"}, "3 numbers for 2 caches"),
        ({"scenes": "scene-0"}, "belong to one dataset"),
        ({"cache": two[0], "mixing": "balanced"}, "`mixing` is about several caches"),
    ):
        with pytest.raises(CleverError, match=words):
            pretrain(job(**{"caches": two, "out": tmp_path / "no", **changes}))
    link, copied = tmp_path / "link.zarr", tmp_path / "copy.zarr"
    link.symlink_to(two[0])
    shutil.copytree(two[0], copied)
    for again in (link, copied, two[0].parent / ".." / two[0].parent.name / two[0].name):
        with pytest.raises(CleverError, match="hold the same frames of the same teacher; give one"):
            pretrain(job([two[0], again], tmp_path / "no"))
    with pytest.raises(CleverError, match="greater than 0"):
        job(two, tmp_path, mixing="ratio", cache_weight="1,0")
    sized = make_cache(
        name="sized.zarr", dataset="odd", grid_size=(6, 9), fingerprint={"image_size": (64, 96)}
    )
    stores = open_stores(job([two[0], sized], tmp_path))
    assert [caches[0].teacher.grid for caches in stores] == [(3, 5), (6, 9)]


def test_frames_of_two_stores_are_named_once(
    two: list[Path], make_cache: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first three of five frames are in another store too; ids alone do not make a frame."""
    part = make_cache(name="part.zarr", frames=3)
    pretrain(job([two[0], part, two[1]], tmp_path / "run", epochs=1))
    lines = [line for line in capsys.readouterr().err.splitlines() if " in common" in line]
    assert lines == [f"{two[0]} and {part} have 3 frames in common, e.g. frame-0, drawn from both"]
    other_day = make_cache(name="day.zarr", frames=3, seed=4)
    parts = [PairedFrames([FeatureCache(path)]) for path in (two[0], other_day)]
    assert common_frames(parts) == []


def test_mix3d_stays_within_a_store_unless_told_otherwise() -> None:
    clouds = [torch.rand(3, 4) for _ in range(6)]
    points = PointBatch.from_clouds(clouds)
    draws = Draws(points, range(6))
    assert mix3d(points, draws, 1.0).counts == (6, 6, 6)
    assert mix3d(points, draws, 1.0, [0, 0, 0, 1, 1, 1]).counts == (6, 3, 3, 6)


def test_intensities_are_standardised_by_their_own_store_and_dropped_by_scene(
    two: list[Path], tmp_path: Path
) -> None:
    frames = mixed(two)
    norms = tuple(intensity_norm(part, part.caches[0].name) for part in frames.parts)
    for part, norm in zip(frames.parts, norms, strict=True):
        values = np.concatenate([frame.points[:, 3].numpy() for frame in part.caches[0]])
        assert (norm.mean, norm.deviation) == pytest.approx((values.mean(), values.std()), rel=1e-5)
    whole = WholeFrames(frames, norms)
    values = torch.cat([whole[index].points[:, 3] for index in range(5)])
    assert values.mean().item() == pytest.approx(0, abs=1e-5)
    assert values.std().item() == pytest.approx(1, abs=1e-2)
    step = build_step(job(two, tmp_path, intensity_dropout=0.5, mix3d=1.0), [FeatureCache(two[0])])
    step.stores = Stores(("toy", "far"), norms)
    draws = [FrameDraw(index % 8, index) for index in range(64)]
    batch = DistillationBatch.collate([frames[draw] for draw in draws])
    prepared = step.prepare(batch)
    dark = 0
    for number, store in enumerate(batch.stores):
        own = batch.points.scene == number
        raw, seen = batch.points.intensity[own], prepared.mixed.intensity[own]
        assert torch.equal(prepared.points.intensity[own], raw)  # what occupancy is to say
        if seen.abs().max() == 0:
            dark += 1
        else:
            torch.testing.assert_close(seen, norms[store].standardised(raw))
    assert 20 <= dark <= 44


def test_a_student_keeps_how_its_intensities_were_standardised(
    two: list[Path], tmp_path: Path
) -> None:
    result = pretrain(job(two, tmp_path / "run", intensity="standardised", rankme_every=2))
    assert result.intensity == "standardised"
    assert result.ranks
    student = load_student(tmp_path / "run")
    assert [norm.dataset for norm in student.intensities] == ["toy", "far"]
    cloud = FeatureCache(two[1])[0].points
    norm = student.intensities[1]
    assert student.choose_intensity("far") == norm
    points = PointBatch.from_clouds([cloud])
    with torch.no_grad():
        own = student(points)
        student.intensities = ()
        standardised = cloud.clone()
        standardised[:, 3] = (standardised[:, 3] - norm.mean) / norm.deviation
        assert torch.allclose(own, student(PointBatch.from_clouds([standardised])), atol=1e-6)
        assert not torch.allclose(own, student(points), atol=1e-3)
    student.intensities = (norm, IntensityNorm("toy", 0, 1))
    assert student.choose_intensity("elsewhere") == norm
    with pytest.raises(CleverError, match="takes intensities standardised; change `intensity`"):
        pretrain(job(two, tmp_path / "next", init=tmp_path / "run"))
