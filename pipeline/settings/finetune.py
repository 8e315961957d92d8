"""Settings of `clever finetune`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...student.choices import PTv3Form, SegmentationLoss, StudentName
from .shared.base import Groups
from .shared.choices import ClassMean, FrameSampler
from .shared.dataset import DatasetName, DatasetPart, DatasetPlace, HeldOutPart
from .shared.fields import Count, Names
from .shared.recipes import FinetuneRecipeName
from .shared.training import TrainingSettings


class FinetuneSettings(TrainingSettings, DatasetPlace):
    """Settings of `clever finetune`."""

    groups: ClassVar[Groups] = {
        "What to train on": (
            "dataset", "data_root", "version", "train_split", "train_sequences", "val_split",
            "val_sequences", "cameras", "dataset_option", "fraction", "sampler", "frames_file",
        ),
        "Network": (
            "checkpoint", "mode", "recipe", "student", "voxel_size", "ptv3_form",
            "batch_norm", "input_sweeps",
        ),
        "Task": ("loss", "augment", "mix3d", "mean"),
        "Optimiser": ("epochs",),
        "Run": ("val_every", "keep"),
    }  # fmt: skip

    checkpoint: Literal["none"] | Path | None = None
    """Pre-training run; none: random weights; default: the newest finished run under runs/."""
    student: StudentName | None = None
    """For --checkpoint none: LiDAR network; default: minkunet34."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """For --checkpoint none: metres; default: 0.05."""
    ptv3_form: PTv3Form | None = None
    """For --checkpoint none and PTv3: v3m1 (Pointcept's) or refreshed; default: v3m1."""
    dataset: DatasetName | None = None
    """Kind of dataset: nuscenes, semantickitti or another of docs/datasets.md, folder (your own, by
    its drive.yaml), one of an installed package, or package.module:Class; default: the one that
    the student was pre-trained on, else nuscenes."""
    train_split: str = "train"
    """Split to train on."""
    train_sequences: Names | None = None
    """Drives to train on, with commas, for datasets that have them, as SemanticKITTI; they win over
    the split."""
    val_split: str = "val"
    """Split to evaluate on."""
    val_sequences: Names | None = None
    """Drives to evaluate on."""
    mode: Literal["probe", "full"] = "probe"
    """Train one linear layer on the frozen student, or everything."""
    recipe: FinetuneRecipeName = "paper"
    """Where all other defaults come from: the paper's recipe (one linear layer, augmentation,
    Mix3D), or ScaLR's, for probes alone (batch norm before the layer, no augmentation). YAML files
    in the package."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the labelled training frames."""
    sampler: FrameSampler = "frames"
    """How they are taken: frames drawn by the seed (the paper), whole scenes drawn by it, every
    n-th frame of the list by scene and time (OLIVINE; ScaLR and SLidR on SemanticKITTI), or every
    n-th scene (SLidR and ALSO on nuScenes)."""
    frames_file: Path | None = None
    """Text file with the ids of the training frames, one a line, instead of a fraction; every run
    writes its own as train_frames.txt."""
    epochs: Count | None = None
    """Passes over the training frames; default: the recipe's: 50 for a probe (ScaLR 20), 100 for
    full fine-tuning (the paper, A3). More than the finished run in --out has prolong it by one
    more cycle of the schedule, as in pretrain."""
    loss: SegmentationLoss | None = None
    """Cross-entropy plus Lovasz-softmax, 1 : 1, or cross-entropy alone; default: the recipe's: both
    but for full fine-tuning of a MinkUNet, as in Pointcept."""
    batch_norm: bool | None = None
    """Batch norm before the linear layer; default: the recipe's. Without it the scale of the
    features decides how fast a probe learns, and those of random weights are a hundred times
    smaller."""
    input_sweeps: Annotated[int, Field(ge=0)] = 0
    """nuScenes: sweeps before each frame that are part of its cloud; loss and metric are over the
    frame's own points. As many as the student was pre-trained with."""
    augment: bool | None = None
    """Augment and mix the clouds; default: the recipe's. A probe without computes every feature
    once."""
    mix3d: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability that two augmented frames of a batch are mixed; default: the recipe's, 0.8 for
    the paper's."""
    mean: ClassMean | None = None
    """Mean over the classes that occur (present), or over all, where an absent one counts 0;
    default: as the dataset's benchmark does it: present for nuScenes, all for SemanticKITTI."""
    val_every: Annotated[int, Field(ge=0)] = 25
    """Passes between measurements on the validation part; there is one in the end. 0: that one
    alone."""
    keep: Literal["last", "best"] = "last"
    """Weights that are kept and measured in the end: the last ones, or those with the best mIoU on
    the validation part, which is then a selection on it, and said so."""

    @property
    def train_part(self) -> DatasetPart:
        """The frames to train on."""
        place = {name: getattr(self, name) for name in DatasetPlace.model_fields}
        return DatasetPart(**place, split=self.train_split, sequences=self.train_sequences)

    @property
    def val_part(self) -> HeldOutPart:
        """The frames to evaluate on."""
        place = {name: getattr(self, name) for name in DatasetPlace.model_fields}
        return HeldOutPart(**place, split=self.val_split, sequences=self.val_sequences)
