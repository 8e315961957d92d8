"""Settings of `clever demo`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ...student.choices import StudentName
from .shared.base import JobSettings
from .shared.fields import Device

Count = Annotated[int, Field(ge=1)]


class DemoSettings(JobSettings):
    """Settings of `clever demo`; the defaults suit two CPU cores."""

    out: Path = Path("demo")
    """Folder of the drives, the cache, the runs and the page of pictures."""
    scenes: Annotated[int, Field(ge=2)] = 4
    """Drives; about a quarter of them, at least one, are held out to evaluate on."""
    keyframes: Count = 6
    """Keyframes a drive."""
    epochs: Count = 16
    """Epochs of pre-training."""
    probe_epochs: Count = 30
    """Epochs of each linear probe."""
    student: StudentName = "minkunet-tiny"
    """LiDAR network."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.2
    """Metres."""
    head_hidden: Count = 512
    """Hidden width of the projection head."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of pre-training; auto: bf16 on a CPU that computes in it (avx512_bf16, amx), else fp32."""
    device: Device = "auto"
    """Where networks run."""
    seed: int = 0
    """Seed of the drives and of every run."""
