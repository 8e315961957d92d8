"""Recipes, precision, logs, measurements and the other settings of pre-training, on the small
store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import occupancy_task
from clever.pipeline.rankme import rankme
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.rankme import RankmeSettings
from clever.pipeline.settings.shared.recipes import read_recipe

MakeCache = Callable[..., Path]


def settings(cache: Path, out: Path, **changes: object) -> PretrainSettings:
    values = {
        "cache": cache,
        "out": out,
        "student": "minkunet-tiny",
        "head_hidden": 16,
        "voxel_size": 0.5,
        "epochs": 3,
    }
    return PretrainSettings.resolve(
        None, {**values, "batch_size": 2, "device": "cpu", "rankme_every": 0, **changes}
    )


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_clever_recipe_is_what_the_class_declares() -> None:
    recipe = read_recipe("clever")
    plain = PretrainSettings(cache=Path("x"))
    assert len(recipe) == 17
    assert PretrainSettings.resolve(None, {"cache": "x"}) == plain
    assert {name: getattr(plain, name) for name in recipe} == recipe


def test_scalr_s_recipe_yields_to_config_and_flags(tmp_path: Path) -> None:
    resolved = PretrainSettings.resolve(None, {"cache": "x", "recipe": "scalr"})
    assert (resolved.head, resolved.view, resolved.weighting, resolved.augmentation) == (
        "linear", "one-camera", "pair", "scalr",
    )  # fmt: skip
    assert (resolved.lr, resolved.weight_decay, resolved.schedule, resolved.mix3d) == (
        0.002,
        0.03,
        "cosine",
        0,
    )
    assert (resolved.epochs, resolved.batch_size, resolved.occupancy_weight, resolved.loss) == (
        25,
        8,
        0,
        "l2",
    )
    (tmp_path / "mine.yaml").write_text("recipe: scalr\ncache: x\nepochs: 7\nlr: 0.5\n")
    mixed = PretrainSettings.resolve(tmp_path / "mine.yaml", {"lr": 0.25})
    assert (mixed.epochs, mixed.lr, mixed.view) == (7, 0.25, "one-camera")
    with pytest.raises(CleverError, match=r"^`recipe` is 'limoe': should be 'clever', 'scalr', '"):
        PretrainSettings.resolve(None, {"cache": "x", "recipe": "limoe"})


@pytest.mark.slow
def test_scalr_plus_differs_from_scalr_as_its_configuration_does(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    ours = PretrainSettings.resolve(None, {"cache": "x", "recipe": "scalr_plus"})
    scalr = PretrainSettings.resolve(None, {"cache": "x", "recipe": "scalr"})
    changed = [text.partition(":")[0] for text in ours.differences(scalr)]
    assert set(changed) == {
        "recipe", "student", "head", "head_layers", "epochs", "recompute", "schedule", "warmup",
        "intensity",
    }  # fmt: skip
    assert ours.warmup * 65 == pytest.approx(1, abs=1e-4)
    stores = [make_cache(), make_cache(name="b.zarr", dataset="b", frames=3, seed=1)]
    values = {
        "cache": stores, "recipe": "scalr_plus", "student": "waffleiron-tiny", "epochs": 2,
        "batch_size": 4, "head_hidden": 16, "device": "cpu", "out": tmp_path / "run",
    }  # fmt: skip
    result = pretrain(PretrainSettings.resolve(None, values))
    assert (result.mixing, result.intensity) == (
        "mixing concat, mixed batches",
        "standardised",
    )


def test_scalr_s_recipe_trains(make_cache: MakeCache, tmp_path: Path) -> None:
    result = pretrain(
        settings(make_cache(), tmp_path / "run", recipe="scalr", epochs=10, head_hidden=None)
    )
    assert result.losses.last["distillation"] < result.losses.first["distillation"]
    assert set(result.losses.first) == {"loss", "distillation"}
    head = load_file(tmp_path / "run/head.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "0.weight": (6, 64),
        "0.bias": (6,),
    }
    assert "recipe scalr" in str(result)


def test_settings_of_the_occupancy_task() -> None:
    plain = occupancy_task(PretrainSettings(cache=Path("x")))
    assert (plain.aggregation, plain.queries, plain.intensity, plain.count) == (
        "source",
        "triple",
        "mse",
        None,
    )
    values = {
        "occupancy": "also",
        "occupancy_points": 99,
        "occupancy_delta": 0.3,
        "occupancy_radius": 2,
    }
    values |= {"occupancy_distance": "fixed"}
    also = occupancy_task(PretrainSettings.resolve(None, {"cache": "x", **values}))
    assert (also.aggregation, also.queries, also.intensity, also.count) == (
        "radius",
        "thirds",
        "l1",
        99,
    )
    assert (also.delta, also.radius, also.distance) == (0.3, 2, "fixed")
    assert (also.neighbours, also.latent, plain.latent) == ("first", 128, None)
    values |= {"occupancy_neighbours": "nearest"}
    settings = PretrainSettings.resolve(None, {"cache": "x", **values})
    assert occupancy_task(settings).neighbours == "nearest"
    assert (
        occupancy_task(PretrainSettings.resolve(None, {"cache": "x", "occupancy": "also"})).count
        == 2048
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"occupancy": "also"},
        {"view": "one-camera"},
        {"pairs": 10},
        {"student": "ptv3-tiny", "patch": 32},
        {"loss": "cosine", "weighting": "pair", "schedule": "cosine"},
    ],
)
def test_every_variant_learns(
    make_cache: MakeCache, tmp_path: Path, changes: dict[str, object]
) -> None:
    result = pretrain(settings(make_cache(), tmp_path / "run", epochs=10, lr=0.01, **changes))
    assert result.losses.last["distillation"] < 0.9 * result.losses.first["distillation"]


def test_tensorboard_holds_the_log(make_cache: MakeCache, tmp_path: Path) -> None:
    pretrain(settings(make_cache(), tmp_path / "run", rankme_every=2))
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    records = log(tmp_path / "run")
    names = {name for record in records for name in record} - {"step", "steps"}
    assert set(events.Tags()["scalars"]) == names
    assert {
        "loss",
        "distillation",
        "lr",
        "grad_norm",
        "data_wait",
        "frames_per_s",
        "memory_mb",
        "rankme",
    } <= names
    for name in names:
        expected = [(record["step"], record[name]) for record in records if name in record]
        scalars = [(event.step, event.value) for event in events.Scalars(name)]
        if name == "epoch":  # also in the records of measurements
            scalars, expected = sorted(set(scalars)), sorted(set(expected))
        assert [step for step, _ in scalars] == [step for step, _ in expected]
        assert [value for _, value in scalars] == pytest.approx(
            [value for _, value in expected], rel=1e-6
        )


def test_ranks_are_measured_every_few_passes_and_in_the_end(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = make_cache()
    result = pretrain(settings(cache, tmp_path / "run", epochs=5, batch_size=5, rankme_every=2))
    measured = [line for line in log(tmp_path / "run") if "rankme" in line]
    assert [line["epoch"] for line in measured] == [2, 4, 5]
    assert result.ranks is not None
    assert measured[-1]["rankme"] == result.ranks.uncentred.rankme
    assert len({line["rankme"] for line in measured}) == 3
    values = {"checkpoint": tmp_path / "run", "cache": cache, "device": "cpu"}
    again = rankme(RankmeSettings.resolve(None, values))
    assert again.ranks == result.ranks
    plain = pretrain(settings(cache, tmp_path / "plain", epochs=5, batch_size=5))
    assert plain.ranks is None
    assert plain.losses == result.losses


def test_the_best_pass_is_kept(make_cache: MakeCache, tmp_path: Path) -> None:
    result = pretrain(settings(make_cache(), tmp_path / "run", epochs=6, batch_size=5, lr=1e-8))
    means = [line["loss"] for line in log(tmp_path / "run")]
    assert result.best_epoch == 1 + means.index(min(means))
    best, last = (
        load_file(tmp_path / "run" / name)
        for name in ("best/student.safetensors", "student.safetensors")
    )
    assert result.best_epoch < 6
    assert best["backbone.stem.norm.num_batches_tracked"] == result.best_epoch
    assert last["backbone.stem.norm.num_batches_tracked"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("student", ["minkunet-tiny", "ptv3-tiny"])
def test_bfloat16_is_close_to_float32_and_float16_needs_a_gpu(
    make_cache: MakeCache, tmp_path: Path, student: str
) -> None:
    cache = make_cache()
    for name in ("fp32", "bf16"):
        pretrain(settings(cache, tmp_path / name, precision=name, student=student))
    exact, rough = log(tmp_path / "fp32"), log(tmp_path / "bf16")
    assert 0 < abs(rough[0]["distillation"] / exact[0]["distillation"] - 1) < 0.01
    assert rough[-1]["loss"] == pytest.approx(exact[-1]["loss"], rel=0.05)
    with pytest.raises(
        CleverError, match="`precision=fp16` needs a GPU; use bf16 or fp32 on a CPU"
    ):
        pretrain(settings(cache, tmp_path / "fp16", precision="fp16"))
    assert not (tmp_path / "fp16").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_draws_and_learns_what_a_cpu_does(
    make_cache: MakeCache, tmp_path: Path, precision: str
) -> None:
    cache = make_cache()
    pretrain(settings(cache, tmp_path / "cpu", device="cpu"))
    result = pretrain(settings(cache, tmp_path / "gpu", device="cuda", precision=precision))
    assert result.device == "cuda"
    ours, theirs = log(tmp_path / "gpu"), log(tmp_path / "cpu")
    assert ours[0]["loss"] == pytest.approx(
        theirs[0]["loss"], rel=1e-4 if precision == "fp32" else 0.02
    )
    assert ours[-1]["loss"] == pytest.approx(theirs[-1]["loss"], rel=0.1)


@pytest.mark.slow
def test_clipping_and_recomputing(make_cache: MakeCache, tmp_path: Path) -> None:
    """Recomputed activations change no bit; a bound that no gradient reaches changes none
    either."""
    cache = make_cache()
    changes_by_name = {
        "plain": {},
        "recompute": {"recompute": True},
        "loose": {"clip_norm": 1e6},
        "tight": {"clip_norm": 1e-6},
    }
    weights = {}
    for name, changes in changes_by_name.items():
        pretrain(settings(cache, tmp_path / name, **changes))
        weights[name] = (tmp_path / name / "student.safetensors").read_bytes()
    assert weights["plain"] == weights["recompute"] == weights["loose"] != weights["tight"]
