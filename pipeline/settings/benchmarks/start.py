"""Settings of `clever benchmark start`."""

from pathlib import Path

from ..shared.base import JobSettings
from ..shared.fields import Count


class BenchmarkStartSettings(JobSettings):
    """Settings of `clever benchmark start`."""

    rounds: Count = 7
    """Rounds in which all commands alternate; medians and quartiles are over them."""
    out: Path = Path("benchmark-start.json")
    """JSON file with every round."""
