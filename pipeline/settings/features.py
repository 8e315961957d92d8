"""Settings of `clever features`."""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from .base import Groups, JobSettings
from .choices import InputFormat
from .fields import Device


def _origin(value: object) -> list[float]:
    """Accept ``"1,2,3"``; refuse what is not three numbers."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in parts] if isinstance(parts, list | tuple) else []
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError("should be three numbers X,Y,Z in metres, as in 0,0,1.8")
    return numbers


class FeaturesSettings(JobSettings):
    """Settings of `clever features`."""

    groups: ClassVar[Groups] = {
        "Network": ("checkpoint",),
        "Input": ("points", "input_format", "intensity_scale", "intensity_field", "origin"),
        "Output": ("out", "output_format", "dtype"),
        "Run": ("device",),
    }

    points: tuple[Path, ...] = ()
    """LiDAR files."""
    checkpoint: Path
    """Run folder with a student."""
    out: Path
    """FILE.safetensors or FILE.npy for one file; else a folder, one output for every input."""
    input_format: InputFormat = "auto"
    """Layout of the files; auto: by ending: .pcd.bin nuScenes, .bin KITTI, .pcd, .ply, .las and
    .laz."""
    intensity_scale: Annotated[float, Field(gt=0)] | None = None
    """Stored value of full intensity; default: KITTI 1, nuScenes 255, LAS 65535, PCD and PLY by
    type: uint8 255, uint16 65535, for floats it has to be given."""
    intensity_field: str | None = None
    """PCD and PLY only: field with the intensity; none: zeros; default: intensity, reflectivity and
    the like."""
    origin: Annotated[tuple[float, float, float], BeforeValidator(_origin)] | None = None
    """Position X,Y,Z of the sensor in the files' frame, metres; default: 0,0,0."""
    dtype: Literal["float32", "float16"] = "float32"
    """Type of the features."""
    output_format: Literal["safetensors", "npy"] | None = None
    """Default: the ending of --out, else safetensors."""
    device: Device = "auto"
    """Where the network runs."""
