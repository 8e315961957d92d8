"""Settings of `clever features`."""

from pathlib import Path
from typing import ClassVar, Literal

from .shared.base import Groups
from .shared.fields import Device
from .shared.point_files import PointFiles


class FeaturesSettings(PointFiles):
    """Settings of `clever features`."""

    groups: ClassVar[Groups] = {
        "Network": ("checkpoint",),
        "Input": (),
        "Output": ("out", "output_format", "dtype"),
        "Run": ("device",),
    }

    checkpoint: Path
    """Run folder with a student."""
    out: Path
    """FILE.safetensors or FILE.npy for one file; else a folder, one output for every input."""
    dtype: Literal["float32", "float16"] = "float32"
    """Type of the features."""
    output_format: Literal["safetensors", "npy"] | None = None
    """Default: the ending of --out, else safetensors."""
    device: Device = "auto"
    """Where the network runs."""
