"""Files and folders of others where layers of a store lie: passed over, and told in one line."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.care.verify import Verification
from clever.cache.store.contents import Contents
from clever.cache.store.files.remote import any_path
from clever.cache.store.records.seals import foreign_names
from clever.errors import CleverError, StoreWarning

Writes = Callable[..., Any]
FOREIGN = ["teachers/.DS_Store", "teachers/backup", "regions/notes", "sweeps/old"]


def litter(store: Path) -> None:
    """A folder of one's own among the layers of each kind, and what a file manager leaves."""
    for name in ("teachers/backup", "regions/notes", "sweeps/old/deeper"):
        (store / name).mkdir(parents=True)
        (store / name / "readme.txt").write_text("mine")
    (store / "teachers/.DS_Store").write_bytes(b"\0")
    (store / "teachers/.zarr.json.ab12.part").write_bytes(b"")


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest) -> Any:
    """Where a store is read: its folder, or a copy behind a URL."""
    if request.param == "local":
        yield str
        return
    memory = fsspec.filesystem("memory")

    def put(path: Path) -> str:
        memory.put(str(path), "memory://foreign/run.zarr", recursive=True)
        return "memory://foreign/run.zarr"

    yield put
    if memory.exists("/foreign"):
        memory.rm("/foreign", recursive=True)


def test_reading_goes_on_with_one_line(write_store: Writes, place: Callable[..., str]) -> None:
    store = write_store([40, 30], others=(("fp16", "grid"),)).path
    layers = [info.id for info in Contents(store).teachers()]
    clean = [frame.tokens for frame in FeatureCache(store, layers[0])]
    litter(store)
    url = place(store)
    assert foreign_names(any_path(url)) == FOREIGN
    line = f"{url}: {', '.join(FOREIGN)} is no part of the store and is passed over; move it els"
    with pytest.warns(StoreWarning) as told:
        cache = FeatureCache(url, layers[0])
    assert [str(warning.message)[: len(line)] for warning in told] == [line]
    assert all(map(torch.equal, clean, (frame.tokens for frame in cache)))
    with pytest.warns(StoreWarning) as told:
        contents = Contents(any_path(url))
    assert [str(warning.message)[: len(line)] for warning in told] == [line]
    assert [info.id for info in contents.teachers()] == layers
    assert (contents.regions(), contents.sweeps()) == ([], [])
    with pytest.raises(CleverError, match=r"has the teachers .*; choose one with"):
        FeatureCache(url)


def test_nothing_is_told_of_what_belongs(write_store: Writes, place: Callable[..., str]) -> None:
    store = write_store([40, 30], failed=(1,)).path
    (store / "teachers/.zarr.json.ab12.part").write_bytes(b"")  # a write that was cut off
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureCache(place(store))
        Contents(store)
    assert foreign_names(store) == []


def test_verify_names_what_does_not_belong(write_store: Writes) -> None:
    store = write_store([40, 30]).path
    litter(store)
    problems = {problem.file: problem.what for part in Verification(store) for problem in part}
    part = problems.pop("teachers/.zarr.json.ab12.part")
    assert part == "left over from an interrupted write"
    assert problems == dict.fromkeys(
        [
            "teachers/.DS_Store",
            "teachers/backup/readme.txt",
            "regions/notes/readme.txt",
            "sweeps/old/deeper/readme.txt",
        ],
        "does not belong to the store",
    )


def test_a_layer_that_lost_its_metadata_is_still_one(write_store: Writes) -> None:
    """Its shards tell it from a folder of others."""
    sample = write_store([40, 30])
    shutil.rmtree(sample.path / f"teachers/{sample.info.id}/grid/commits")
    (sample.path / f"teachers/{sample.info.id}/zarr.json").unlink()
    problems = [problem for part in Verification(sample.path) for problem in part]
    assert {problem.layer for problem in problems} == {sample.info.id}
