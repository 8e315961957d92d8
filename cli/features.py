"""`clever features`."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from ..pipeline.features import features
from ..pipeline.settings.features import FeaturesSettings
from .command import BAD_FRAMES, job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "features", FeaturesSettings, run, argument="points")
    _take_several(app.registered_commands[-1].callback, "points")


def run(settings: FeaturesSettings) -> int:
    """Write a student's feature for every point of bare LiDAR files: KITTI, nuScenes, PCD, PLY, LAS
    or LAZ.

    Row i of an output belongs to point i of its file. Coordinates are metres around the sensor; how
    intensity was brought to [0, 1] is printed. Exit code 3: finished, but some files were bad and
    were skipped.
    """
    summary = features(settings)
    print(summary)
    return BAD_FRAMES if summary.bad else 0


def _take_several(command: Any, name: str) -> None:
    """Let the argument `name` of a command take any number of paths; none where the settings file
    names them."""
    signature = inspect.signature(command)
    argument = typer.Argument(help="LiDAR files.", metavar=name.upper(), show_default=False)
    parameters = dict(signature.parameters)
    parameters[name] = parameters[name].replace(
        default=None, annotation=Annotated[list[Path] | None, argument]
    )
    command.__signature__ = signature.replace(parameters=list(parameters.values()))
