"""One writer a store: the second learns who the first is, and the dead hold nothing."""

import json
import multiprocessing
import os
import platform
import resource
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from clever.cache.store.files.lock import writer_lock
from clever.errors import CleverError

FORK = multiprocessing.get_context("fork")


def hold(store: Path, locked: Event) -> None:
    with writer_lock(store):
        locked.set()
        signal.pause()


def count_up(store: Path, counter: Path, times: int) -> None:
    """Add to a number in a file, with nothing but the lock against losing some."""
    while times:
        try:
            with writer_lock(store):
                counter.write_text(str(int(counter.read_text()) + 1))
                times -= 1
        except CleverError:
            continue


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    locked = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path / "a.zarr", locked))
    holder.start()
    assert locked.wait(30)
    with pytest.raises(CleverError) as failure, writer_lock(tmp_path / "a.zarr"):
        pass
    assert f"a.zarr is being written by process {holder.pid} on {platform.node()} since " in str(
        failure.value
    )
    with writer_lock(tmp_path / "b.zarr"):
        pass
    assert holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert json.loads((tmp_path / ".a.zarr.lock").read_text())["pid"] == holder.pid
    with (
        writer_lock(tmp_path / "a.zarr"),
        pytest.raises(CleverError, match=f"by process {os.getpid()} on"),
    ):
        writer_lock(tmp_path / "a.zarr").__enter__()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "a.zarr"):
        assert (tmp_path / ".a.zarr.lock").exists()
    with pytest.raises(ZeroDivisionError), writer_lock(tmp_path / "a.zarr"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_never_two_at_once(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [
        FORK.Process(target=count_up, args=(tmp_path / "a.zarr", counter, 25)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "100"


def test_full_disk_still_locks(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with (
            writer_lock(tmp_path / "a.zarr"),
            pytest.raises(CleverError, match="by another process; wait for it"),
        ):
            writer_lock(tmp_path / "a.zarr").__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_place_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CleverError, match=r"cannot write .*; choose another `cache`"):
        writer_lock(tmp_path / "file" / "a.zarr").__enter__()
