"""`clever ablate`."""

import typer

from ..pipeline.ablate import ablate
from ..pipeline.settings.ablate import AblateSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "ablate", AblateSettings, run)


def run(settings: AblateSettings) -> int:
    """A table of ablations from one cache: every combination of settings, several seeds, mean and
    spread.

    Runs lie under --out and are kept: stopped at any time, the same command goes on. Several
    commands may share the work by seed; the same command with all seeds then only makes the table.
    """
    print(ablate(settings))
    return 0
