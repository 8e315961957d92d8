"""Settings of `clever robustness`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .shared.base import Groups
from .shared.choices import ClassMean
from .shared.corruptions import CorruptionSettings
from .shared.dataset import DatasetName, HeldOutPart
from .shared.fields import Device, Names


class RobustnessSettings(CorruptionSettings, HeldOutPart):
    """Settings of `clever robustness`."""

    groups: ClassVar[Groups] = {
        "What to measure": (
            "checkpoint", "dataset", "data_root", "version", "split", "sequences", "cameras",
            "dataset_option", "limit", "mean",
        ),
        "Corruptions": (
            "corruptions", "severities", "corrupted_root", "sensor", "strength", "seed",
        ),
        "Scores": ("baseline",),
        "Run": ("out", "pictures", "device"),
    }  # fmt: skip

    checkpoint: Names
    """Folder of a fine-tuning run; several with commas, or given several times, stand side by
    side."""
    dataset: DatasetName | None = None
    """Kind of dataset; default: the first fine-tuning run's."""
    version: str | None = None
    """Release, for datasets that have several; default: the fine-tuning run's."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N labelled frames only."""
    mean: ClassMean | None = None
    """Mean over the classes that occur (present), or over all, where an absent one counts 0;
    default: as the first fine-tuning run does it."""
    corrupted_root: Path | None = None
    """Folder of nuScenes-C or SemanticKITTI-C, CORRUPTION/SEVERITY/..., to read in place; default:
    frames are corrupted as they are read."""
    baseline: str | None = None
    """What corruption errors are relative to: nuscenes-c, semantickitti-c, wod-c, or a JSON file
    with name, clean and miou by corruption in percent; default: the dataset's."""
    out: Path | None = None
    """Folder of the figures; what is measured there is not measured again; default:
    robustness-DATASET-SPLIT in the first checkpoint."""
    pictures: Path | None = None
    """Folder to which the first frame is drawn under every corruption and severity."""
    device: Device = "auto"
    """Where the networks run."""
