"""Settings of `clever predict`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .shared.base import Groups
from .shared.dataset import DatasetName, HeldOutPart
from .shared.fields import Device
from .shared.point_files import PointFiles


class PredictSettings(PointFiles, HeldOutPart):
    """Settings of `clever predict`."""

    groups: ClassVar[Groups] = {
        "Network": ("checkpoint", "tta"),
        "Input": (),
        "Or a dataset": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
            "input_sweeps", "limit",
        ),
        "Output": ("out", "output_format", "submission"),
        "Run": ("device",),
    }  # fmt: skip

    checkpoint: Path
    """Folder of a fine-tuning run, or of a detector's: one of those that `clever detect` leaves
    in runs/ of its table's folder."""
    tta: bool = False
    """Test-time augmentation as in Pointcept: the mean of ten passes, five scales from 0.9 to 1.1,
    as is and mirrored; ten times as slow."""
    dataset: DatasetName | None = None
    """Kind of dataset, where no files are given; default: the run's."""
    version: str | None = None
    """Release, for datasets that have several; default: the fine-tuning run's."""
    input_sweeps: Annotated[int, Field(ge=0)] | None = None
    """nuScenes: sweeps before each frame that are part of its cloud, and get no labels; default: as
    many as in the fine-tuning run. Files have none."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N frames only."""
    out: Path
    """FILE.label, .npy, .ply or .json for one file; else a folder, one output for every input.
    What the numbers mean stands in FILE.EXT.classes.json, or in classes.json of the folder."""
    output_format: Literal["label", "npy", "ply", "json", "kitti"] | None = None
    """label: SemanticKITTI's format, uint32 ids: those of the training dataset's own label files
    (of a drive.yaml, the first of its map), 1 to K where it has none, 0 for no prediction; with
    FILE.confidence.npy; npy: label and confidence, one record a point; ply: points with colour,
    label and confidence. Of a detector: json: boxes in the LiDAR frame; kitti: KITTI's result
    files, of frames with a camera. Default: the ending of --out, else label or json."""
    submission: bool = False
    """Write a dataset's split as its benchmark wants it handed in: SemanticKITTI's
    sequences/XX/predictions, or nuScenes' lidarseg folder with its submission.json."""
    device: Device = "auto"
    """Where the network runs."""
