"""Settings of `clever import-weights`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from .base import JobSettings


class ImportWeightsSettings(JobSettings):
    """Settings of `clever import-weights`."""

    file: Path
    """Pointcept's checkpoint (.pth), or its tensors alone (.pth, .safetensors)."""
    out: Path
    """Run folder to write, for `checkpoint` of other commands."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    """Metres; the file does not say them. Pointcept's outdoor configurations have 0.05."""
