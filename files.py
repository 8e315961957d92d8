"""Durable, atomic file writes: a reader sees the old file or the whole new one, even after a power
cut."""

import os
import tempfile
from pathlib import Path

from .errors import OutputError


def fsync_folder(folder: Path) -> None:
    """Make renames and creations inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write(path: Path, data: bytes | bytearray | memoryview | str) -> None:
    """Write `data` to `path`: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OutputError: the file cannot be written; whatever stood at `path` is untouched.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part"
        )
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; choose another output or free the disk"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path}: {error.strerror}; free the disk or choose another output"
        ) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
