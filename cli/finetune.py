"""`clever finetune`."""

import typer

from ..pipeline.finetune import finetune
from ..pipeline.settings.finetune import FinetuneSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "finetune", FinetuneSettings, run)


def run(settings: FinetuneSettings) -> int:
    """Train with labels on top of a pre-trained student, then evaluate it on the validation split.

    --mode probe freezes the backbone and trains one linear layer; --mode full trains everything.
    --checkpoint none starts from random weights: the row to compare with.
    """
    print(finetune(settings))
    return 0
