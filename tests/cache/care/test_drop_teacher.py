"""Dropping a teacher takes its folder and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clever.cache.care.drop import drop_teacher
from clever.cache.care.verify import Verification
from clever.cache.store.files.lock import writer_lock
from clever.cache.store.store import Store
from clever.errors import CleverError

from ...store_files import content

Writes = Callable[..., Any]


def test_only_the_layer_goes(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 20, failed=(3,), others=(("fp16", "grid"), ("int8-zstd", "hit")))
    before, prefix = content(sample.path), f"teachers/{sample.info.id}/"
    freed = drop_teacher(sample.path, sample.info.id)
    assert content(sample.path) == {
        name: data for name, data in before.items() if not name.startswith(prefix)
    }
    assert freed == sum(len(data) for name, data in before.items() if name.startswith(prefix))
    assert not (sample.path / prefix).exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.zarr"]
    assert [problem for problems in Verification(sample.path) for problem in problems] == []
    assert len(Store(sample.path).teachers()) == 2


def test_damaged_layer_can_go(write_store: Writes) -> None:
    sample = write_store([10])
    (sample.path / "teachers" / sample.info.id / "grid/commits/seal.json").write_text("?")
    drop_teacher(sample.path, sample.info.id)
    assert [problem for problems in Verification(sample.path) for problem in problems] == []


def test_interrupted_drop_goes_on(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10], others=(("fp16", "grid"),))
    (tmp_path / ".store.zarr.dropped-old" / "grid").mkdir(parents=True)
    drop_teacher(sample.path, sample.info.id)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.zarr"]


@pytest.mark.parametrize("layer", ["made", "", ".", "..", "../points", "made-3x5-ffff"])
def test_unknown_layer(write_store: Writes, layer: str) -> None:
    sample = write_store([10])
    before = content(sample.path)
    with pytest.raises(CleverError, match=f"has no teacher .*; it has {sample.info.id}"):
        drop_teacher(sample.path, layer)
    assert content(sample.path) == before


def test_locked_and_missing_stores(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10])
    with writer_lock(sample.path), pytest.raises(CleverError, match="is being written by process"):
        drop_teacher(sample.path, sample.info.id)
    with pytest.raises(CleverError, match="no feature cache at"):
        drop_teacher(tmp_path / "nowhere", "x")
    assert Store(sample.path).teachers() == [sample.info]
