"""Settings of `clever evaluate`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .shared.base import Groups
from .shared.choices import ClassMean
from .shared.dataset import DatasetName, HeldOutPart
from .shared.fields import Device


class EvaluateSettings(HeldOutPart):
    """Settings of `clever evaluate`."""

    groups: ClassVar[Groups] = {
        "What to measure": (
            "checkpoint", "dataset", "data_root", "version", "split", "sequences",
            "cameras", "dataset_option", "input_sweeps", "limit", "mean", "tta",
        ),
        "Run": ("out", "device"),
    }  # fmt: skip

    checkpoint: Path
    """Folder of a fine-tuning run."""
    dataset: DatasetName | None = None
    """Kind of dataset; default: the fine-tuning run's."""
    version: str | None = None
    """Release, for datasets that have several; default: the fine-tuning run's."""
    input_sweeps: Annotated[int, Field(ge=0)] | None = None
    """nuScenes: sweeps before each frame that are part of its cloud, and are not measured; default:
    as many as in the fine-tuning run."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N labelled frames only."""
    mean: ClassMean | None = None
    """Mean over the classes that occur (present), or over all, where an absent one counts 0;
    default: as the fine-tuning run was measured, else as the dataset's benchmark does it."""
    tta: bool = False
    """Test-time augmentation as in Pointcept: the mean of ten passes, five scales from 0.9 to 1.1,
    as is and mirrored; worth about two points of mIoU, ten times as slow."""
    device: Device = "auto"
    """Where the network runs."""
    out: Path | None = None
    """Folder for the result; default: evaluate-DATASET-SPLIT in the checkpoint, with --limit N
    evaluate-DATASET-SPLIT-first-N; with other sweeps than the run -sweeps-N, with --mean M -mean-M,
    with TTA -tta behind it."""
