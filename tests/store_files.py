"""The files of a store, and what verification says of them."""

from pathlib import Path

from clever.cache.care.verify import Verification


def content(path: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def problems(path: Path) -> list[str]:
    """What verification finds, a line each."""
    return [str(problem) for part in Verification(path) for problem in part]
