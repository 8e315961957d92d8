"""Settings of `clever benchmark corruptions`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..shared.corruptions import CorruptionSettings
from ..shared.dataset import WholeDatasetSettings
from ..shared.fields import Count


class BenchmarkCorruptionsSettings(CorruptionSettings, WholeDatasetSettings):
    """Settings of `clever benchmark corruptions`."""

    frame: Annotated[int, Field(ge=0)] = 0
    """Number of the frame."""
    rounds: Count = 5
    """Rounds in which all corruptions alternate; medians and quartiles are over them."""
    out: Path = Path("benchmark-corruptions.json")
    """JSON file with every round."""
