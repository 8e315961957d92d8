"""What a grid cost: the teacher once, the students, and the teacher in the loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clever.errors import CleverError
from clever.pipeline.ablate import ablate
from clever.pipeline.ablations.account import layers_of
from clever.pipeline.ablations.cells import resolve_grid
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.results.account import Account, OnlineCost, TeacherCost, duration
from clever.pipeline.settings.ablate import AblateSettings
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.spent import Spent, note_spent, time_spent


def teacher(seconds: float | None) -> TeacherCost:
    return TeacherCost(layer="a", cache="c.zarr", frames=10, seconds=seconds)


def make_account(**changes: Any) -> Account:
    online = [
        OnlineCost(layer="a", frames=4, seconds=2.0, frames_seen=3000, machine="2 CPU cores"),
        OnlineCost(layer="b", frames=10, seconds=1.0, frames_seen=100, machine="2 CPU cores"),
    ]
    parts = {
        "cells": 3,
        "pretraining_seconds": 600.0,
        "measurement_seconds": 42.0,
        "frames_seen": 3000,
        "teachers": [teacher(30.0), teacher(12.5)],
        "online": online,
    }
    return Account(**{**parts, **changes})


def test_costs_in_closed_form() -> None:
    account = make_account()
    assert account.teacher_seconds == 42.5
    assert account.online_seconds == 3000 * 0.5 + 100 * 0.1
    assert account.lines() == [
        "teacher, once: 42 s, a (10 frames) and a (10 frames)",
        "students: 10.0 min of pre-training in 3 cells, 3,000 frames seen; 42 s downstream",
        "teacher in the loop: 25.0 min = 3,000 frames x 0.500 s, measured on 4 frames of a "
        "(2 CPU cores)",
        "teacher in the loop: 10 s = 100 frames x 0.100 s, measured on 10 frames of b "
        "(2 CPU cores)",
    ]
    assert [duration(seconds) for seconds in (1.23, 12.3, 99.9, 100, 5999, 6000)] == [
        "1.2 s", "12 s", "100 s", "1.7 min", "100.0 min", "1.7 h",
    ]  # fmt: skip


def test_what_is_not_known_is_said() -> None:
    account = make_account(teachers=[teacher(30.0), teacher(None)], online=[])
    assert account.teacher_seconds is None
    assert account.online_seconds is None
    assert account.lines()[0].startswith("teacher, once: not recorded, a")
    assert len(account.lines()) == 2
    assert make_account(teachers=[]).teacher_seconds is None


def test_runs_of_stage_one_add_up_beside_the_store(tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    store.mkdir()
    assert time_spent(store, "x") is None
    note_spent(store, "x", 2.0, 3)
    note_spent(store, "y", 5.0, 1)
    note_spent(store, "x", 0.5, 4)
    assert time_spent(str(store), "x") == Spent(seconds=2.5, frames=7)
    assert time_spent(store, "y") == Spent(seconds=5.0, frames=1)
    assert time_spent("s3://bucket/a.zarr", "x") is None
    assert list(store.iterdir()) == []
    (tmp_path / ".a.zarr.seconds.json").write_text("{")
    assert time_spent(store, "x") is None


def test_a_grid_with_its_teacher_measured(kitti_root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.zarr"
    settings = CacheTeacherSettings.model_validate(
        {
            "dataset": "semantickitti",
            "data_root": kitti_root,
            "cache": store,
            "model": "resnet10t",
            "weights": "random:0",
            "image_size": (64, 128),
            "device": "cpu",
        }
    )
    summary = cache_teacher(settings)
    spent = time_spent(store, summary.teacher.id)
    assert spent
    assert spent.frames == 3
    assert abs(spent.seconds - summary.seconds) < 1
    cache_teacher(settings)  # nothing to do
    assert time_spent(store, summary.teacher.id) == spent
    pretrain = {
        "cache": str(store),
        "student": "minkunet-tiny",
        "voxel_size": 0.5,
        "head_hidden": 8,
        "epochs": 2,
        "batch_size": 2,
        "rankme_every": 0,
    }
    grid = {"pretrain": pretrain, "rows": {"all": {}, "one": {"view": "one-camera"}}, "seeds": [0]}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid))
    values = {"grid": str(path), "out": tmp_path / "out", "device": "cpu", "data_root": kitti_root}
    account = ablate(AblateSettings.resolve(None, {**values, "measure_online": 2})).account
    assert account
    steps = 2 * (2 * 3 // 2)
    assert (account.cells, account.frames_seen) == (2, 2 * steps)
    assert account.teacher_seconds == spent.seconds
    (cost,) = account.online
    assert (cost.frames, cost.frames_seen, cost.layer) == (2, 2 * steps, summary.teacher.id)
    assert account.online_seconds == 2 * steps * cost.seconds / 2
    assert (tmp_path / "out/account.png").read_bytes().startswith(b"\x89PNG")
    # The next call keeps what was measured; another dataset is refused.
    again = ablate(AblateSettings.resolve(None, values)).account
    assert again == account
    (tmp_path / "empty").mkdir()
    with pytest.raises(CleverError, match="empty"):
        ablate(
            AblateSettings.resolve(
                None, {**values, "measure_online": 2, "data_root": tmp_path / "empty"}
            )
        )


def test_one_camera_of_several_is_that_share(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    grid = {
        "pretrain": {"cache": str(make_cache()), "student": "minkunet-tiny", "voxel_size": 0.5},
        "rows": {"all": {}, "one": {"view": "one-camera"}},
    }
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid))
    plan = resolve_grid(AblateSettings.resolve(None, {"grid": str(path)}))
    (layer,) = layers_of(plan)
    assert [layer.shares[row.key] for row in plan.rows] == [1.0, 0.5]
