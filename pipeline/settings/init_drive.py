"""Settings of `clever init-drive`."""

from pathlib import Path

from .shared.base import JobSettings


class InitDriveSettings(JobSettings):
    """Settings of `init-drive`."""

    folder: Path
    """Folder of recordings: point files, images, labels and what lies beside them."""
