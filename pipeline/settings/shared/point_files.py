"""How bare LiDAR files are read: settings that every job on them shares."""

import math
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from .base import Groups, JobSettings
from .choices import InputFormat


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


class PointFiles(JobSettings):
    """Bare LiDAR files."""

    groups: ClassVar[Groups] = {
        "Input": ("points", "input_format", "intensity_scale", "intensity_field", "origin"),
    }

    points: tuple[Path, ...] = ()
    """LiDAR files."""
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
    """X,Y,Z: position of the sensor in the files' frame, metres; default: 0,0,0."""
