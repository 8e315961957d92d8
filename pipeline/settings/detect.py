"""Settings of `clever detect`, and of each of its runs."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ...student.choices import PTv3Form, StudentName
from .shared.base import Groups
from .shared.choices import DetectorName, FrameSampler
from .shared.dataset import DatasetName, DatasetPart, DatasetPlace, HeldOutPart
from .shared.fields import Count, Names
from .shared.grid import Seeds
from .shared.training import OptimisationSettings, TrainingSettings

Share = Annotated[float, Field(gt=0, le=1)]


def _numbers(value: object) -> object:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


def _once(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse a share that comes twice: it would be one run."""
    for share in shares:
        if shares.count(share) > 1:
            raise ValueError(f"{share:g} is given {shares.count(share)} times; give each once")
    return shares


Shares = Annotated[
    tuple[Share, ...], BeforeValidator(_numbers), AfterValidator(_once), Field(min_length=1)
]
"""Shares of the training frames: a number, a list, or one string with commas."""


class DetectorSettings(OptimisationSettings, DatasetPlace):
    """What all runs of a table of detectors share."""

    groups: ClassVar[Groups] = {
        "What to train on": (
            "dataset", "data_root", "version", "train_split", "val_split", "cameras",
            "dataset_option", "sampler", "limit",
        ),
        "Network": (
            "detector", "mode", "student", "voxel_size", "ptv3_form", "cell", "points",
        ),
        "Task": ("bank", "augment"),
        "Optimiser": ("epochs",),
    }  # fmt: skip

    train_split: str = "train"
    """Split to train on."""
    val_split: str = "val"
    """Split to measure on."""
    sampler: FrameSampler = "frames"
    """How a fraction is taken: frames drawn by the draw's number, whole scenes drawn by it, every
    n-th frame of the list by scene and time, or every n-th scene."""
    limit: Count | None = None
    """Measure on the first N frames only."""
    detector: DetectorName = "point-head"
    """point-head: every point says what it lies in and where that box is (stage one of PointRCNN);
    point-rcnn: both stages; centre: peaks of a map seen from above (CenterPoint)."""
    mode: Literal["full", "probe"] = "full"
    """Train everything, or the detector alone on the frozen student."""
    student: StudentName | None = None
    """For --checkpoint none: LiDAR network; default: that of the first other checkpoint, else
    minkunet34."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """For --checkpoint none: metres; default: that of the first other checkpoint, else 0.05."""
    ptv3_form: PTv3Form | None = None
    """For --checkpoint none and PTv3: v3m1 (Pointcept's) or refreshed; default: v3m1."""
    cell: Annotated[float, Field(gt=0)] | None = None
    """Of the centre detector: edge of a cell of the map, metres; default: 0.4 for kitti, 0.6 for
    nuscenes."""
    points: Count | None = None
    """Points of a frame that the network sees, drawn at random with those beyond 40 m first;
    PointRCNN's are 16384; default: all."""
    bank: bool = True
    """Put objects of other training frames into a frame (ground-truth sampling)."""
    augment: bool = True
    """Flip, rotate and scale frames at random."""
    epochs: Count = 80
    """Passes over the training frames; the paper's are 80 (KITTI)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's; PointRCNN's by default."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 10.0
    """A gradient whose length over all weights is greater is scaled down to it."""

    @property
    def train_part(self) -> DatasetPart:
        """The frames to train on."""
        return DatasetPart(**self._place(), split=self.train_split)

    @property
    def val_part(self) -> HeldOutPart:
        """The frames to measure on."""
        return HeldOutPart(**self._place(), split=self.val_split)

    def _place(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in DatasetPlace.model_fields}


class DetectorRunSettings(DetectorSettings, TrainingSettings):
    """Settings of one run: one start, one fraction, one draw of it, one seed."""

    dataset: DatasetName = "kitti"
    """What it trains and measures on; runs are known by what differs from this default."""
    checkpoint: Literal["none"] | Path = "none"
    """Pre-training run; none: random weights."""
    fraction: Share = 1.0
    """Share of the training frames."""
    draw: int = 0
    """Number of the draw of that share."""


class DetectSettings(DetectorSettings):
    """Settings of `clever detect`."""

    groups: ClassVar[Groups] = {
        "What to compare": ("checkpoint", "fraction", "seeds", "draws"),
        "What to train on": (), "Network": (), "Task": (), "Optimiser": (),
        "Run": ("out",),
    }  # fmt: skip

    checkpoint: Names | None = None
    """Pre-training run; none: random weights; several with commas stand side by side; default: the
    newest finished run under runs/."""
    dataset: DatasetName | None = None
    """kitti (the object benchmark, with its split lists) or nuscenes (generated drives too);
    default: that of the first checkpoint's pre-training."""
    fraction: Shares = (1.0,)
    """Shares of the training frames, with commas."""
    seeds: Seeds = (0, 1, 2)
    """Seeds of every start, fraction and draw, with commas: single runs scatter by more than a
    point of AP."""
    draws: Seeds = (0, 1, 2)
    """Numbers of the draws of every fraction below 1, with commas."""
    out: Path | None = None
    """Folder of the runs and the table; a run that is finished there is not done again; default:
    detections/DETECTOR-DATASET."""

    @property
    def run_settings(self) -> dict[str, Any]:
        """Settings that all runs share, by name, but for the dataset."""
        return {name: getattr(self, name) for name in DetectorSettings.model_fields}
