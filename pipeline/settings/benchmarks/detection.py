"""Settings of `clever benchmark detection`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..shared.base import JobSettings
from ..shared.fields import Count, Device


class BenchmarkDetectionSettings(JobSettings):
    """Settings of `clever benchmark detection`."""

    boxes: Count = 1000
    """Boxes on either side of the overlaps that are timed."""
    proposals: Count = 9000
    """Boxes to suppress: PointRCNN's number."""
    objects: Count = 30
    """Objects of the generated frame, around which nine tenths of the boxes lie."""
    rounds: Count = 5
    """Rounds in which all sides alternate; medians and quartiles are over them."""
    device: Device = "cpu"
    """Where our sides compute; shapely's compute on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the boxes."""
    out: Path = Path("benchmark-detection.json")
    """JSON file with every round."""
