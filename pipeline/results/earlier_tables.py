"""Tables of an earlier command in the same folder: moved aside, so that none is overwritten."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import OutputError
from .run_folder import notice


def keep_earlier(folder: Path, names: Sequence[str]) -> None:
    """Rename files to ``NAME-1.json``, ``NAME-1.md``, ... with the first number that is free, and
    say so; those that are not there are passed over.

    Raises:
        OutputError: one cannot be renamed.
    """
    present = [folder / name for name in names if (folder / name).exists()]
    if not present:
        return
    number = 1
    while any(_numbered(path, number).exists() for path in present):
        number += 1
    try:
        for path in present:
            path.replace(_numbered(path, number))
    except OSError as error:
        raise OutputError(
            f"cannot move the earlier table in {folder}: {error.strerror}; choose another `out`"
        ) from error
    names = ", ".join(_numbered(path, number).name for path in present)
    notice(f"{folder}: the earlier table holds what this command does not ask for; kept as {names}")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
