"""The `clever` command."""

import importlib
import os
import sys

import typer

app = typer.Typer(
    help="Distil a frozen image teacher into a LiDAR student from an offline feature cache.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

VERBS = {
    "cache-teacher": "Run the image teacher once over all camera frames; store features and pairs.",
    "cache": "Look at a feature cache, check it, repair it, copy it.",
    "pretrain": "Distil a teacher's cached features into a LiDAR student.",
    "ablate": "A table of ablations from one cache: settings x seeds, mean and spread.",
    "finetune": "Train a linear probe or the whole student with labels, then evaluate it.",
    "evaluate": "Evaluate a fine-tuned student: mIoU and IoU by class.",
    "rankme": "Measure a student without labels: RankMe and matrix rank of its features.",
    "features": "Write a student's feature for every point of bare LiDAR files.",
    "make-drives": "Generate street drives in the nuScenes format: no download, exact labels.",
    "benchmark": "Measure speed and quality on this machine.",
    "demo": "The whole way on generated drives: cache, pre-train, probe, pictures.",
}
"""Commands and the line that `clever --help` shows; each lives in the module of its name and
registers itself."""


def main() -> None:
    """Entry point of the console script."""
    # Before torch is imported: threads that spin while they wait make a training step five to ten
    # times slower as soon as another process wants the cores, and gain nothing measurable when none
    # does.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted in VERBS:
        importlib.import_module("." + wanted.replace("-", "_"), __package__).register(app)
    for verb in VERBS:
        # Torch and spconv take seconds to import: only the command that is asked for pays for them.
        if verb != wanted:
            app.command(verb, help=VERBS[verb])(_placeholder)
    app()


def _placeholder() -> None:
    """Stands for a command in the overview; never runs."""
