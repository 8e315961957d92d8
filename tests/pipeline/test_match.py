"""Pre-training with layers matched to decoder stages, and with class tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clever.cache.sampling import sample_tokens
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.pretraining.stores import class_token_teacher, open_teachers
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import DistillationBatch, PairedFrames

Store = tuple[Path, list[str]]


@pytest.fixture(scope="module")
def stores() -> list[Store]:
    """The store of this module, once there is one."""
    return []


@pytest.fixture
def store(
    stores: list[Store],
    write_kitti: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    """Three frames with the last two layers of a small transformer, and their ids."""
    if not stores:
        path = tmp_path_factory.mktemp("match") / "store.zarr"
        summary = cache_teacher(
            CacheTeacherSettings(
                dataset="semantickitti",
                data_root=write_kitti({"00": 3}, points=300),
                cache=path,
                model="test_vit",
                weights="random:0",
                image_size=(32, 64),
                device="cpu",
                split="all",
                layer=("pre-norm", "block:-2"),
                class_token=True,
            )
        )
        stores.append((path, [layer.info.id for layer in summary.layers]))
    return stores[0]


def settings(cache: Path, **changes: Any) -> PretrainSettings:
    values = {
        "cache": cache, "student": "minkunet-tiny", "head_hidden": 16, "voxel_size": 1.0,
        "epochs": 2, "batch_size": 2, "device": "cpu", "rankme_every": 0, "mix3d": 1.0,
        "occupancy_weight": 0, "match": "pre-norm=last, block:-2=last-1:3", **changes,
    }  # fmt: skip
    return PretrainSettings.resolve(None, values)


def test_losses_are_those_of_every_pair_written_out(store: Store) -> None:
    job = settings(store[0], class_token_weight=0.5)
    caches = open_teachers(job)
    assert [cache.teacher.id for cache in caches] == store[1]
    step = build_step(job, caches)
    frames = PairedFrames(caches, class_tokens=class_token_teacher(job, caches))
    batch = DistillationBatch.collate([frames[index, 7 + index] for index in range(3)])
    counts = step.counts(batch)
    totals = {name: torch.tensor(count) for name, count in counts.items()}
    assert counts == {"distillation": 3, "frames": 3, "class_token": 3}
    prepared = step.prepare(batch)
    with torch.no_grad():
        losses = step.losses(prepared, totals)
        stages = step.student.encode_stages(prepared.mixed, prepared.voxels, prepared.draws)[::-1]
    first, second = store[1]
    parts = [losses[f"distillation/{first}"], losses[f"distillation/{second}=last-1"]]
    for number, part in enumerate(parts):
        rows = {tuple(row): index for index, row in enumerate(stages[number].coords.tolist())}
        expected = 0.0
        for view in range(3):
            pairs = torch.nonzero(batch.pair_view == view).flatten().tolist()
            for pair in pairs:
                voxel = int(prepared.voxels.inverse[batch.pair_point[pair]])
                scene, *places = prepared.voxels.coords[voxel].tolist()
                row = rows[(scene, *(place >> number for place in places))]
                (run,) = batch.teachers[number]
                grid = run.tokens
                place = (batch.pair_view[[pair]], batch.pair_uv[[pair]], batch.image_size)
                target = sample_tokens(grid.tokens, *place, grid.calibration)
                with torch.no_grad():
                    head = step.heads[number](stages[number].features[[row]])
                expected += float((normalize(head) - normalize(target)).norm()) / len(pairs) / 3
        assert float(part) == pytest.approx(expected, rel=1e-4)
    assert float(losses["distillation"]) == pytest.approx(
        (float(parts[0]) + 3 * float(parts[1])) / 4, rel=1e-5
    )
    assert step.class_head is not None
    error = 0.0
    for number in range(3):
        voxels = prepared.voxels.inverse[
            batch.pair_point[prepared.points.scene[batch.pair_point] == number]
        ]
        with torch.no_grad():
            summit = step.class_head(stages[0].features[voxels]).max(0).values
        token = caches[0].class_tokens(number).max(0).values
        error += float((summit - token).square().mean()) / 3
    assert float(losses["class_token"]) == pytest.approx(error, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(
        float(losses["distillation"]) + 0.5 * error, rel=1e-4
    )


def test_a_matched_run_is_logged_resumed_and_started_from(store: Store, tmp_path: Path) -> None:
    path, (first, second) = store
    result = pretrain(settings(path, class_token_weight=0.1, out=tmp_path / "run"))
    assert result.matches == [f"{first}=last", f"{second}=last-1:3"]
    assert f"3 used, matched {first}=last, {second}=last-1:3, 2 epochs" in str(result)
    for line in map(json.loads, (tmp_path / "run/log.jsonl").read_text().splitlines()):
        parts = [line[f"distillation/{first}"], line[f"distillation/{second}=last-1"]]
        assert line["distillation"] == pytest.approx((parts[0] + 3 * parts[1]) / 4, rel=1e-5)
        assert line["loss"] == pytest.approx(line["distillation"] + 0.1 * line["class_token"])
    again = pretrain(settings(path, class_token_weight=0.1, out=tmp_path / "run"))
    assert again.finished == result.finished
    other = pretrain(
        settings(
            path,
            class_token_weight=0.1,
            out=tmp_path / "other",
            init=tmp_path / "run",
            match=f"{second}=last-1, {first}=last-1",
            epochs=1,
        )
    )
    assert other.matches == [f"{second}=last-1", f"{first}=last-1"]
    files = {file.name for file in (tmp_path / "run").glob("*.safetensors")}
    assert files == {
        "student.safetensors", "class-token.safetensors", f"head-{first}.safetensors",
        f"head-{second}=last-1.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("student", ["minkunet-tiny", "waffleiron-tiny"])
def test_hilda_s_recipe_teaches_two_stages_and_the_class_token(
    store: Store, tmp_path: Path, student: str
) -> None:
    path, (first, second) = store
    values = {
        "cache": path, "recipe": "hilda", "student": student, "voxel_size": 1.0, "epochs": 1,
        "batch_size": 2, "head_hidden": 16, "device": "cpu", "rankme_every": 0,
        "out": tmp_path / "run",
    }  # fmt: skip
    job = PretrainSettings.resolve(None, values)
    assert (job.loss, job.occupancy_weight, job.epochs, job.lr) == ("cosine", 0, 1, None)
    assert job.student == student
    result = pretrain(job)
    assert result.matches == [f"{first}=last", f"{second}=last-1"]
    assert result.losses.last.keys() == {
        "loss", "distillation", f"distillation/{first}", f"distillation/{second}=last-1",
        "class_token",
    }  # fmt: skip


def test_without_a_match_every_layer_teaches_the_last_stage(store: Store) -> None:
    """The same numbers as when the last stage is named for each."""
    path, ids = store
    losses = []
    for match, teacher in ((None, ids), (f"{ids[0]}=last, {ids[1]}=last", None)):
        job = settings(path, match=match, teacher=teacher)
        step = build_step(job, open_teachers(job))
        batch = DistillationBatch.collate([PairedFrames(open_teachers(job))[0, 5]])
        totals = {name: torch.tensor(count) for name, count in step.counts(batch).items()}
        with torch.no_grad():
            losses.append(step(batch, totals))
    assert losses[0].keys() == losses[1].keys()
    assert set(losses[0]) == {"loss", "distillation", *(f"distillation/{name}" for name in ids)}
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_weights_whose_sum_is_no_float_count_too(store: Store) -> None:
    job = settings(store[0], match="pre-norm=last:0.5e308, block:-2=last-1:1.5e308")
    step = build_step(job, open_teachers(job))
    assert float(step._mean([torch.tensor(1.0), torch.tensor(2.0)])) == 1.75


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"match": "block:3=last"},
            r"'block:3' fits 0 of the layers of .* are .*\(block:4 .*\), "
            r".*\(pre-norm with class token\); give the id of one$",
        ),
        ({"match": "test_vit=last"}, "'test_vit' fits 2 of the layers"),
        ({"match": "pre-norm=last, pre-norm=last:2"}, "give each layer and stage once"),
        ({"match": "pre-norm=last-4"}, "minkunet-tiny has no decoder stage last-4; it has last, "),
        ({"teacher": "other"}, "`match` says which layers teach, and `teacher` names others"),
    ],
)
def test_what_cannot_be_matched_is_one_line(
    store: Store, changes: dict[str, Any], text: str
) -> None:
    job = settings(store[0], **changes)
    with pytest.raises(CleverError, match=text):
        build_step(job, open_teachers(job))


def test_class_tokens_that_are_not_there_are_one_line(make_cache: Callable[..., Path]) -> None:
    job = settings(make_cache(), match=None, class_token_weight=1)
    with pytest.raises(CleverError, match="holds no class tokens of toy-3x5-"):
        class_token_teacher(job, open_teachers(job))
