"""Settings of `clever runs`."""

from pathlib import Path

from .shared.base import JobSettings


class ListRunsSettings(JobSettings):
    """Settings of `clever runs`."""

    folders: tuple[str, ...] = ("runs",)
    """Run folders, or folders that hold some at any depth; default: runs."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders as paths."""
        return tuple(map(Path, self.folders))
