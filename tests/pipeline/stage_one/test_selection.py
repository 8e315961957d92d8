"""Which rows a choice of nuScenes frames means, remembered beside the store."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clever.cache.store.records.models import PointSettings
from clever.cache.store.store import Store
from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.stage_one.selection import CHOICES, choice_key, recall_rows, remember_rows

Writes = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "a.zarr", PointSettings("nuscenes", ("front",)))
    store.extend([f"frame-{number}" for number in range(50)], ["scene"] * 50)
    return store


@pytest.mark.parametrize("rows", [list(range(50)), [3], [7, 8, 9, 2, 1, 0, 40, 41], []])
def test_rows_come_back_in_their_order(store: Store, rows: list[int]) -> None:
    remember_rows(store, "key", rows)
    assert recall_rows(Store(store.path), "key") == rows
    assert recall_rows(store, "other") is None
    assert recall_rows(store, None) is None


def test_rows_of_another_store_are_not_taken(store: Store, tmp_path: Path) -> None:
    remember_rows(store, "key", [1, 2])
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    other = Store.open_or_create(tmp_path / "a.zarr", store.base)
    assert recall_rows(other, "key") is None
    other.extend(["x", "y", "z"], ["scene"] * 3)
    assert recall_rows(other, "key") is None


def test_the_note_stays_short_and_may_be_damaged(store: Store, tmp_path: Path) -> None:
    for number in range(CHOICES + 3):
        remember_rows(store, f"key-{number}", [number])
    remembered = [
        number for number in range(CHOICES + 3) if recall_rows(store, f"key-{number}") == [number]
    ]
    assert remembered == list(range(3, CHOICES + 3))
    for damage in ("{", "[]"):
        (tmp_path / ".a.zarr.choices.json").write_text(damage)
        assert recall_rows(store, "key-9") is None
    remember_rows(store, "key", [4])
    assert recall_rows(store, "key") == [4]


def test_key_follows_the_choice_and_the_tables(write_nuscenes: Writes, tmp_path: Path) -> None:
    root = write_nuscenes({"scene-0061": 1})
    choices = [
        ("nuscenes", root, None, "train", None, None),
        ("nuscenes", root, None, "val", None, None),
        ("nuscenes", root, None, "train", None, 5),
    ]
    keys = [choice_key(*choice) for choice in choices]
    assert len({*keys, None}) == 4
    assert choice_key("nuscenes", root, "v1.0-mini", "train", None, None) == keys[0]
    table = root / "v1.0-mini/scene.json"
    os.utime(table, ns=(0, table.stat().st_mtime_ns + 1))
    assert choice_key(*choices[0]) not in keys
    assert choice_key("nuscenes", tmp_path, None, "train", None, None) is None
    assert choice_key("semantickitti", root, None, "train", None, None) is None


def test_version_is_found(write_nuscenes: Writes) -> None:
    root = write_nuscenes({"scene-0061": 1}, version="v1.0-made", splits={"train": ["scene-0061"]})
    assert build_dataset("nuscenes", root).frame_ids == ["scene-0061-0"]
    write_nuscenes({"scene-0103": 1}, version="v1.0-mini")
    with pytest.raises(CleverError, match=r"holds v1.0-made, v1.0-mini; choose one with `version`"):
        build_dataset("nuscenes", root)
    write_nuscenes({"scene-0001": 2}, version="v1.0-trainval")
    assert build_dataset("nuscenes", root).frame_ids == ["scene-0001-0", "scene-0001-1"]
    with pytest.raises(
        CleverError, match=r"holds no v1.0-\* folder with tables; choose another `data_root`"
    ):
        build_dataset("nuscenes", root / "samples")
