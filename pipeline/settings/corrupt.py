"""Settings of `clever corrupt`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .shared.base import Groups
from .shared.corruptions import CorruptionSettings
from .shared.dataset import DatasetName, HeldOutPart


class CorruptSettings(CorruptionSettings, HeldOutPart):
    """Settings of `clever corrupt`."""

    groups: ClassVar[Groups] = {
        "Corruptions": ("corruptions", "severities", "sensor", "strength", "seed"),
        "Frames": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
            "limit",
        ),
        "Run": ("out", "pictures", "frame"),
    }  # fmt: skip

    dataset: DatasetName = "nuscenes"
    """Kind of dataset: nuscenes or semantickitti."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N frames only."""
    out: Path | None = None
    """Folder of the set: CORRUPTION/SEVERITY/..., laid out as nuScenes-C and SemanticKITTI-C are.
    What is there already stays."""
    pictures: Path | None = None
    """Folder to which a frame is drawn under every corruption and severity, with a table of what
    was done to it; alone nothing else is written."""
    frame: Annotated[int, Field(ge=0)] = 0
    """With --pictures: number of the frame in the split."""
