"""Settings of `clever doctor`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .shared.base import Groups
from .shared.dataset import WholeDatasetSettings
from .shared.fields import Count


class DoctorSettings(WholeDatasetSettings):
    """Settings of `clever doctor`."""

    groups: ClassVar[Groups] = {
        "What to look at": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
            "frames", "seed",
        ),
        "Output": ("out",),
    }  # fmt: skip

    out: Path
    """Folder for the pictures and the summary; pictures of an earlier report there are removed."""
    frames: Annotated[Count, Field(description="Frames to look at, spread over all of them.")] = 6
    seed: Annotated[int, Field(ge=0, description="Seed of the choice of frames.")] = 0
