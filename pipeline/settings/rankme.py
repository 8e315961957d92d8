"""Settings of `clever rankme`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...student.choices import PTv3Form, StudentName
from .shared.base import Groups, JobSettings
from .shared.fields import Device, StorePlace

ROWS = 25_600
"""Rows in the original (Garrido et al. 2023)."""
FRAMES = 256
"""Frames that the rows are spread over by default: 100 rows of each."""


class RankmeSettings(JobSettings):
    """Settings of `clever rankme`."""

    groups: ClassVar[Groups] = {
        "What to measure": ("checkpoint", "cache", "teacher", "student", "voxel_size", "ptv3_form"),
        "Sample": ("rows", "frames", "tolerance", "seed"),
        "Run": ("device",),
    }

    checkpoint: Literal["none"] | Path
    """Run folder with a student; none: random weights."""
    cache: StorePlace
    """Feature cache, a folder or a URL (s3://...); only its point clouds are used."""
    teacher: str | None = None
    """Layer of the cache whose frames are used, or the beginning of its name; default: the only
    one."""
    student: StudentName | None = None
    """For --checkpoint none: LiDAR network; default: minkunet34."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """For --checkpoint none: metres; default: 0.05."""
    ptv3_form: PTv3Form | None = None
    """For --checkpoint none and PTv3: v3m1 (Pointcept's) or refreshed; default: v3m1."""
    rows: Annotated[int, Field(ge=2)] = ROWS
    """Points whose features are the rows of the matrix."""
    frames: Annotated[int, Field(ge=1)] = FRAMES
    """Frames that the rows are drawn from, in equal shares."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Singular values above this share of the largest count for the matrix rank; default: max(rows,
    channels) * 2^-23, the rounding of float32."""
    device: Device = "auto"
    """Where the network runs; the singular values are always found on the CPU, in float64."""
    seed: int = 0
    """Seed of the choice of frames and points and, for --checkpoint none, of the weights."""
