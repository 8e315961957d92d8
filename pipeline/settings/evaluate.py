"""Settings of `clever evaluate`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .base import Groups, JobSettings
from .fields import DataRoot, DatasetName, Device, Names


class EvaluateSettings(JobSettings):
    """Settings of `clever evaluate`."""

    groups: ClassVar[Groups] = {
        "What to measure": (
            "checkpoint", "dataset", "data_root", "version", "split", "sequences", "limit",
        ),
        "Run": ("out", "device"),
    }  # fmt: skip

    checkpoint: Path
    """Folder of a fine-tuning run."""
    dataset: DatasetName | None = None
    """Kind of dataset; default: the fine-tuning run's."""
    data_root: DataRoot
    """Dataset folder; default: the environment variable CLEVER_DATA_ROOT."""
    version: str | None = None
    """nuScenes only: folder of tables; default: the fine-tuning run's."""
    split: str = "val"
    """Official split."""
    sequences: Names | None = None
    """SemanticKITTI only: sequence numbers with commas; they win over the split."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N labelled frames only."""
    device: Device = "auto"
    """Where the network runs."""
    out: Path | None = None
    """Folder for the result; default: evaluate-DATASET-SPLIT in the checkpoint."""
