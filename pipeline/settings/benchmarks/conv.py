"""Settings of `clever benchmark conv`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..shared.dataset import WholeDatasetSettings
from ..shared.fields import Count, Names


class BenchmarkConvSettings(WholeDatasetSettings):
    """Settings of `clever benchmark conv`."""

    data_root: Path | None = None
    """Dataset whose frame is used; default: a generated sweep as large as nuScenes'."""
    frame: Annotated[int, Field(ge=0)] = 0
    """Number of the frame."""
    students: Names = ("minkunet34", "minkunet-tiny")
    """Students whose backbones are timed."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """Metres; default: 0.05, and 0.2 for the tiny ones."""
    rounds: Count = 7
    """Rounds in which all sides alternate; medians and quartiles are over them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the weights and of the generated sweep."""
    out: Path = Path("benchmark-conv.json")
    """JSON file with every round."""
