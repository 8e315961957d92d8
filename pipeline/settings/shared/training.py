"""Settings of every training job."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .base import Groups, JobSettings
from .choices import Schedule
from .fields import Count, Device


class OptimisationSettings(JobSettings):
    """How something is trained, in one run or in several alike."""

    groups: ClassVar[Groups] = {
        "Optimiser": (
            "batch_size", "lr", "block_lr", "weight_decay", "schedule", "warmup", "clip_norm",
        ),
        "Run": ("device", "precision", "workers", "accumulate", "recompute", "save_every"),
    }  # fmt: skip

    batch_size: Count = 16
    """Frames a step, over all processes and parts."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; default: Table A1's, 1e-3 for a MinkUNet and 2e-3 for a PTv3."""
    block_lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of PTv3's attention blocks; default: a tenth of --lr, as in Pointcept."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-3
    """AdamW's."""
    schedule: Schedule = "onecycle"
    """One cycle with cosine annealing (Table A1), linear warm-up and half a cosine (ScaLR), or one
    over a square root (rsqrt, ScaLR+)."""
    warmup: Annotated[float, Field(ge=0, le=0.5)] = 0.04
    """Share of the steps in which the learning rate rises."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """A gradient whose length over all weights is greater is scaled down to it; default: never."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision. bf16: on a CPU that computes in it (avx512_bf16, amx) more than twice as
    fast, slow on any other; on a GPU sparse convolutions stay in fp32 then. fp16 needs a GPU."""
    accumulate: Count = 1
    """Parts in which every process takes its share of a step, one after the other: less memory, and
    the same step but for batch norms, which see a part at a time."""
    recompute: bool = False
    """Activation checkpointing: compute the student's activations again in the backward pass
    instead of keeping them."""
    save_every: Count | None = None
    """Steps between checkpoints; default: a pass over the frames, at most 1000."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes; default: none on a CPU, one where the store is at a URL, up to 8 beside a
    GPU."""
    device: Device = "auto"
    """Where to train."""


class TrainingSettings(OptimisationSettings):
    """Settings of every training job."""

    groups: ClassVar[Groups] = {"Optimiser": (), "Run": ("out", "new", "seed")}

    seed: int = 0
    """Seed of everything random."""
    out: Path | None = None
    """Run folder, where a run that was stopped goes on; default: that of the newest unfinished run
    of the same settings and data under runs/, else of the newest finished one, whose result is
    printed, else runs/JOB-STUDENT-TIME."""
    new: bool = False
    """Begin another run even where one of the same settings is there."""

    @property
    def reads_elsewhere(self) -> bool:
        """Whether what is trained on comes over a network."""
        return False
