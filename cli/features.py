"""`clever features`."""

from pathlib import Path
from typing import Annotated

import typer

from ..pipeline.features import FeaturesSettings, features
from .command import BAD_FRAMES, job_command
from .redeclare import redeclare


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "features", FeaturesSettings, run)
    argument = typer.Argument(metavar="POINTS", help="LiDAR files.", show_default=False)
    redeclare(app, "points", Annotated[list[Path] | None, argument])


def run(settings: FeaturesSettings) -> int:
    """Write a student's feature for every point of bare LiDAR files: KITTI, nuScenes, PCD, PLY, LAS or LAZ.

    Row i of an output belongs to point i of its file. Coordinates are metres around the sensor; how intensity was
    brought to [0, 1] is printed. Exit code 3: finished, but some files were bad and were skipped.
    """
    summary = features(settings)
    print(summary)
    return BAD_FRAMES if summary.bad else 0
