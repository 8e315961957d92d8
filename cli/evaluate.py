"""`clever evaluate`."""

import typer

from ..pipeline.evaluate import evaluate
from ..pipeline.settings.evaluate import EvaluateSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "evaluate", EvaluateSettings, run)


def run(settings: EvaluateSettings) -> int:
    """Evaluate a fine-tuned student on a labelled split: mIoU and IoU by class over all points."""
    print(evaluate(settings))
    return 0
