"""Settings of `clever share`."""

from pathlib import Path
from typing import ClassVar

from .shared.base import Groups, JobSettings


class ShareSettings(JobSettings):
    """Settings of `clever share`."""

    groups: ClassVar[Groups] = {
        "What to share": ("path", "license"),
        "Where": ("repo", "private", "out"),
    }

    path: Path
    """Run folder of pretrain, finetune or import-weights, or a feature cache."""
    license: str | None = None
    """Licence that the card names, as the hub spells it (cc-by-nc-sa-4.0); default: none, with a
    reminder that dataset and teacher have theirs."""
    repo: str | None = None
    """USER/NAME on the Hugging Face Hub, made if it is not there: a model of a run, a dataset of a
    cache."""
    private: bool = False
    """Make the repository a private one."""
    out: Path | None = None
    """Folder for what would be uploaded: of a run everything, of a cache the card; must not
    exist."""
