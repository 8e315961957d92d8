"""`clever rankme`."""

from typing import Annotated

import typer

from ..pipeline.rankme import RankmeSettings, rankme
from .command import job_command
from .redeclare import redeclare


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "rankme", RankmeSettings, run)
    redeclare(app, "as_json", Annotated[bool | None, typer.Option("--json", help="Print JSON instead of text.")])


def run(settings: RankmeSettings) -> int:
    """Measure a student without labels: RankMe and matrix rank of its backbone features, before any head.

    Reads the point clouds of a feature cache. --checkpoint none --student NAME measures random weights: the row to
    compare with.
    """
    result = rankme(settings)
    print(result.model_dump_json(indent=2) if settings.as_json else result)
    return 0
