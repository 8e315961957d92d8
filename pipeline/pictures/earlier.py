"""Pictures of an earlier run in the same folder: a list beside them names them, so that the next
run removes its own and no other file."""

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import OutputError
from ...files import atomic_write

LIST = "pictures.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.png")
"""Files in the folder itself alone."""


def replace_pictures(folder: Path, names: Iterable[str]) -> int:
    """Remove the pictures that the list of `folder` names, and list those that come now.

    Args:
        names: file names of pictures that are about to be written, drawn or not in the end.

    Returns:
        how many were removed.

    Raises:
        OutputError: the list cannot be read or written, or a picture cannot be removed.
    """
    path = folder / LIST
    removed = 0
    try:
        earlier = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for name in filter(_NAME.fullmatch, earlier):
            if (folder / name).is_file():
                (folder / name).unlink()
                removed += 1
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(
            f"cannot remove the earlier pictures in {folder}: {error}; choose another output"
        ) from error
    atomic_write(path, "".join(f"{name}\n" for name in names))
    return removed
