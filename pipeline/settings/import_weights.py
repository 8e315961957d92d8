"""Settings of `clever import-weights`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ...student.choices import ScalrIntensity
from .shared.base import JobSettings


class ImportWeightsSettings(JobSettings):
    """Settings of `clever import-weights`."""

    file: Path
    """Checkpoint of Pointcept or ScaLR (.pth), or its tensors alone (.pth, .safetensors)."""
    out: Path
    """Run folder to write, for `checkpoint` of other commands."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """Metres; the file does not say them. Default: those of the published configurations, 0.05
    of Pointcept's, 0.1 of ScaLR's."""
    intensity: ScalrIntensity | None = None
    """Dataset whose intensities the student will read: ScaLR scales those of each by their own
    mean and deviation. Needed for a checkpoint of ScaLR."""
