"""`clever pretrain`."""

import typer

from ..pipeline.pretrain import pretrain
from ..pipeline.settings.pretrain import PretrainSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "pretrain", PretrainSettings, run)


def run(settings: PretrainSettings) -> int:
    """Stage two: distil a teacher's cached features into a LiDAR student.

    Opens the cache and nothing else: no images, no dataset, no teacher. Stopped at any time, the
    same command with the same --out goes on as if it had never stopped. On several GPUs:
    torchrun --nproc-per-node N --no-python clever pretrain ... gives what one GPU gives, with the
    same --batch-size.
    """
    print(pretrain(settings))
    return 0
