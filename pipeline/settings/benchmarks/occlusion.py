"""Settings of `clever benchmark occlusion`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..shared.dataset import WholeDatasetSettings


class BenchmarkOcclusionSettings(WholeDatasetSettings):
    """Settings of `clever benchmark occlusion`."""

    scenes: Annotated[int, Field(ge=1, le=9999)] = 6
    """Generated scenes."""
    keyframes: Annotated[int, Field(ge=1, le=400)] = 2
    """Keyframes a scene, spread over ten seconds."""
    image_width: Annotated[int, Field(ge=64, le=3200)] = 800
    """Width of the images in pixels."""
    azimuths: Annotated[int, Field(ge=90, le=4320)] = 1080
    """LiDAR firings a turn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    picture: Path | None = None
    """PNG to draw of a frame of --data-root: kept and dropped pairs over its images."""
    data_root: Path | None = None
    """With --picture: dataset folder."""
    frame: Annotated[int, Field(ge=0)] = 0
    """With --picture: number of the frame in the dataset."""
    out: Path = Path("benchmark-occlusion.json")
    """JSON file with the counts."""
