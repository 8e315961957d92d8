"""Measurements that two runs tell of: a fine-tuning run of its own weights, and an evaluation of
them."""

from collections.abc import Sequence
from pathlib import Path

from ..list_runs import MIOU, RunSummary


def without_repeats(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Runs without the evaluations that repeat what another one tells: the same weights by the same
    protocol, with the same mIoU as it is printed. Fine-tuning runs stay."""
    folders = {run.folder.resolve() for run in runs if run.kind == "finetune"}
    measured = {_measurement(run, folders) for run in runs if run.kind == "finetune"}
    single: list[RunSummary] = []
    for run in runs:
        if run.kind == "evaluate" and run.complete:
            if (own := _measurement(run, folders)) in measured:
                continue
            measured.add(own)
        single.append(run)
    return single


def _measurement(run: RunSummary, finetuned: set[Path]) -> tuple[Path, str, str]:
    """Folder of the weights, protocol and mIoU; an evaluation inside the folder of a run is of its
    weights, wherever that folder was when it was made."""
    folder = run.folder.resolve()
    if run.kind == "evaluate":
        inside = folder.parent in finetuned
        folder = folder.parent if inside else Path(str(run.settings.get("checkpoint"))).resolve()
    return folder, run.protocol, f"{run.figures.get(MIOU, 0.0):.2f}"
