"""A shard counts by its commit record alone; a crash anywhere costs what was not committed and
nothing else."""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clever.cache import FeatureCache
from clever.cache.store import contents, layout
from clever.cache.store.files.zarr_files import read_array
from clever.cache.store.records.commits import (
    Commit,
    FrameRecord,
    Stamp,
    commit_path,
    read_commit,
    write_commit,
)
from clever.cache.store.records.models import PointSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import GridShard
from clever.errors import CleverError

STRIDE = int(os.environ.get("CLEVER_CRASH_STRIDE", "5"))
"""Every which write a crash is tried at; 1 tries all."""
Writes = Callable[..., Any]
COMMIT = Commit(
    "points",
    3,
    {"points/xyzi/c/3/0/0": Stamp(10, 2**32 - 1)},
    (
        FrameRecord(
            48,
            "a",
            checksums={"points": 7},
            points=5,
            timestamp=2**60,
            pose=(0.1 + 0.2,) * 16,
            offsets=(0, 3),
        ),
        FrameRecord(49, "ü/1", "image x: no such file", "2026-01-02T03:04:05Z"),
    ),
)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_record_comes_back(tmp_path: Path) -> None:
    write_commit(tmp_path, COMMIT)
    assert read_commit(tmp_path, "points", 3) == COMMIT


def test_every_damaged_byte_of_a_record_is_seen(tmp_path: Path) -> None:
    write_commit(tmp_path, COMMIT)
    path = commit_path(tmp_path, "points", 3)
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x20 if position % 2 else 0x01
        path.write_bytes(damaged)
        with pytest.raises(CleverError, match=r"000003.json: commit record is damaged"):
            read_commit(tmp_path, "points", 3)
    path.unlink()
    with pytest.raises(CleverError, match="commit record is missing"):
        read_commit(tmp_path, "points", 3)


def crash_before(number: int, job: Callable[[], Any]) -> int:
    """Run `job` in a fork that dies before its rename or removal number `number`; returns the exit
    status."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    countdown = [number]

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            countdown[0] -= 1
            if countdown[0] < 0:
                os._exit(9)
            return operation(*arguments, **options)

        return call

    Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)  # type: ignore
    try:
        job()
    except BaseException:  # a fork must not run on as a second pytest
        os._exit(1)
    os._exit(0)


@pytest.mark.usefixtures("tiny_blocks")
def test_a_crash_at_every_step_costs_nothing_committed(write_store: Writes, tmp_path: Path) -> None:
    points = [20, 3] * 10
    complete = tree(write_store(points, name="whole.zarr", failed=(4,)).path)
    times = {name: data for name, data in complete.items() if "commits/0" in name}
    job = lambda: write_store(points, name="crashed.zarr", failed=(4,))  # noqa: E731
    store, number, status = tmp_path / "crashed.zarr", 0, 9
    while status == 9:  # until it runs to its end
        status = crash_before(number, job)
        if status == 9:
            readable(store)
            assert crash_before(10**9, job) == 0
        files = tree(store)
        assert files.keys() == complete.keys(), number
        assert all(files[name] == complete[name] for name in complete if name not in times), number
        shutil.rmtree(store)
        number += STRIDE
    assert status == 0
    assert number > 50


def readable(store: Path) -> None:
    """What a crash left opens, and every frame in it can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr-python's, about folders that are not in use yet
        try:
            cache = FeatureCache(store)
        except CleverError:  # it says that there is no teacher yet, or no finished frame
            return
    for frame in cache:
        assert len(frame.points) in (20, 3)


@pytest.mark.parametrize("layer", ["points", "made"])
def test_a_shard_taken_back_is_gone_at_once(write_store: Writes, layer: str) -> None:
    sample = write_store([10] * 40)
    store = Store(sample.path)
    name = "points" if layer == "points" else sample.info.id
    store.uncommit(name, [1])
    assert FeatureCache(sample.path).ids == [f"frame-{row}" for row in (*range(16), *range(32, 40))]
    assert store.pending_shards(name, list(range(40))) == [1]
    store.finalise()
    assert FeatureCache(sample.path).ids == [f"frame-{row}" for row in (*range(16), *range(32, 40))]


def test_a_shard_written_again_is_not_read_by_its_old_status(write_store: Writes) -> None:
    """The number of committed shards is as before, and the tables were not brought up to date."""
    sample = write_store([10] * 20, failed=(2,))
    assert "frame-2" not in FeatureCache(sample.path).ids
    store = Store(sample.path)
    for layer in ("points", sample.info.id):
        commit = read_commit(sample.path, layer, 0)
        frame = replace(commit.frames[1], row=2, id="frame-2")
        store.uncommit(layer, [0])
        write_commit(
            sample.path,
            replace(commit, frames=tuple(frame if row.row == 2 else row for row in commit.frames)),
        )
    assert "frame-2" in FeatureCache(sample.path).ids


def test_rewriting_a_shard_uncommits_it_first(write_store: Writes) -> None:
    sample = write_store([10] * 20)
    shard = GridShard(Store(sample.path), sample.info, 0)
    assert FeatureCache(sample.path).ids == [f"frame-{row}" for row in range(16, 20)]
    shard.close()


def test_tables_that_are_up_to_date_cost_no_commit(
    write_store: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = write_store([10] * 20)
    before = {path: path.stat().st_mtime_ns for path in sample.path.rglob("*")}

    def unread(*_: object) -> Commit:
        raise AssertionError("a commit record was read")

    monkeypatch.setattr(contents, "read_commit", unread)
    Store(sample.path).finalise()
    assert {path: path.stat().st_mtime_ns for path in sample.path.rglob("*")} == before


@pytest.mark.parametrize(
    "view", ["frames/points/c/0", "frames/zarr.json", "zarr.json", "teachers/*/status/zarr.json"]
)
def test_tables_that_were_lost_or_damaged_are_written_again(write_store: Writes, view: str) -> None:
    sample = write_store([10] * 20, failed=(3,))
    files = tree(sample.path)
    (path,) = sample.path.glob(view)
    for damage in (path.unlink, lambda: path.write_bytes(b"{}")):
        damage()
        Store(sample.path).finalise()
        assert tree(sample.path) == files


def test_failures_and_unseen_frames(write_store: Writes) -> None:
    sample = write_store([10, 1, 10, 0] + [10] * 20, failed=(2, 20))
    store = Store(sample.path)
    failed = store.failures(sample.info.id)
    assert [(record.row, record.id) for record in failed] == [(2, "frame-2"), (20, "frame-20")]
    assert all(
        record.reason == "the image is damaged" and record.time.endswith("Z") for record in failed
    )
    assert store.rows_without_pairs() == [1, 3]
    store.forget_failures(sample.info.id, [20])
    assert (
        store.pending_shards("points", list(range(24)))
        == store.pending_shards(sample.info.id, list(range(24)))
        == [1]
    )


def test_parts_are_swept_away(write_store: Writes) -> None:
    sample = write_store([10])
    files = tree(sample.path)
    for place in (
        "points/xyzi/c/0/0/.0.1234.part",
        ".zarr.json.x.part",
        "frames/.zarr.json.y.part",
    ):
        (sample.path / place).write_bytes(b"half")
    Store.open_or_create(sample.path, PointSettings("made", ("left", "right")))
    assert tree(sample.path) == files


def test_a_layer_keeps_its_calibration_and_what_it_missed(write_store: Writes) -> None:
    sample = write_store([10, 10])
    store = Store(sample.path)
    calibration = store.calibration(sample.info)
    assert calibration is not None
    store.set_calibration(sample.info, calibration, ["frame-1"])
    assert store.calibration_gaps(sample.info) == ["frame-1"]
    store.set_calibration(sample.info, None)
    assert store.calibration(sample.info) is None
    assert store.calibration_gaps(sample.info) == []


def test_rows_in_a_status_match_the_layout(write_store: Writes) -> None:
    sample = write_store([10] * 5, failed=(1,))
    status = read_array(sample.path / "frames/status")
    assert status.tolist() == [layout.OK, layout.FAILED, layout.OK, layout.OK, layout.OK]
