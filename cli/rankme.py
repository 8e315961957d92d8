"""`clever rankme`."""

import typer

from ..pipeline.rankme import rankme
from ..pipeline.settings.rankme import RankmeSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "rankme", RankmeSettings, run)


def run(settings: RankmeSettings) -> int:
    """Measure a student without labels: RankMe and matrix rank of its backbone features, before any
    head.

    Reads the point clouds of a feature cache. --checkpoint none --student NAME measures random
    weights: the row to compare with.
    """
    result = rankme(settings)
    print(result.model_dump_json(indent=2) if settings.as_json else result)
    return 0
