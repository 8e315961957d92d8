"""One writer a store, or a run folder: an advisory lock that names its holder and dies with it."""

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from ....errors import CleverError


@contextlib.contextmanager
def writer_lock(store: Path, setting: str = "cache") -> Iterator[None]:
    """Hold the right to write to `store`, or to any other folder, for the duration of the block.

    The operating system drops the lock when its process ends, however it ends, so a stale lock
    cannot exist; the file beside the store only says who holds it.

    Args:
        setting: what a user may choose when nothing can be written there.

    Raises:
        CleverError: another process writes to this folder; the message names it.
    """
    path = beside(store, "lock")
    handle = _acquire(path, store, setting)
    try:
        about = {
            "host": platform.node(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(about).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def refuse_writer(store: Path) -> None:
    """Raise CleverError when a process writes to this store right now; leaves no trace beside
    it."""
    try:
        handle = os.open(beside(store, "lock"), os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CleverError(
            f"{store} is being written by {_holder(handle)}; wait for it or stop it"
        ) from None
    finally:
        os.close(handle)


def beside(store: Path, ending: str) -> Path:
    """The file or folder ``.NAME.ENDING`` beside a store of that name, however its path is spelt.

    Raises:
        CleverError: `store` is the root of the file system, beside which nothing can be.
    """
    folder = store.resolve()
    if not folder.name:
        raise CleverError(f"{store} is the root of the file system; give a folder in it")
    return folder.with_name(f".{folder.name}.{ending}")


def _acquire(path: Path, store: Path, setting: str) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CleverError(
                f"cannot write {path}: {error.strerror}; choose another `{setting}`"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{store} is being written by {_holder(handle)}; wait for it or stop it"
            os.close(handle)
            raise CleverError(message) from None
        # The holder before us may have removed the file between our open and our lock: then the
        # lock is on nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        about = json.loads(os.pread(handle, 4096, 0))
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError):
        return "another process"
