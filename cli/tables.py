"""Results as tables for ``--csv``: a row a class, a combination of settings or a run."""

import json
from typing import TYPE_CHECKING

from .output import Cell, Table

if TYPE_CHECKING:
    from ..pipeline.evaluate import SegmentationResult
    from ..pipeline.finetune import FinetuneResult
    from ..pipeline.list_runs import RunList
    from ..pipeline.results.ablation_table import AblateResult

MEAN = "mIoU"
"""Row of the mean over classes."""


def evaluation(result: "SegmentationResult") -> Table:
    """IoU in [0, 1] and labelled points by class, then their mean and sum; every row carries the
    protocol."""
    return [
        *(
            {"class": name, "iou": iou, "points": sum(row), "protocol": result.protocol}
            for (name, iou), row in zip(result.iou.items(), result.confusion, strict=True)
        ),
        {
            "class": MEAN,
            "iou": result.miou,
            "points": result.points,
            "protocol": result.protocol,
        },
    ]


def finetuning(result: "FinetuneResult") -> Table:
    """`evaluation` of a fine-tuned student."""
    return evaluation(result.evaluation)


def ablation(result: "AblateResult") -> Table:
    """Mean and sample standard deviation of every figure over the seeds, by combination of
    settings; every row carries the protocol."""
    protocol = " ".join(result.protocol)
    rows = []
    for row in result.rows():
        cells: dict[str, Cell] = {"settings": row.name, "runs": row.runs}
        for name, spread in row.figures.items():
            cells |= {f"{name}, mean": spread.mean, f"{name}, deviation": spread.deviation}
        rows.append({**cells, "protocol": protocol})
    return rows


def runs(result: "RunList") -> Table:
    """A row a run: its state, the settings in which runs of its kind differ (as JSON), and its
    figures, of which one that it lacks is empty."""
    differing = {run.kind: result.differing(run.kind) for run in result.runs}
    settings = list(dict.fromkeys(name for names in differing.values() for name in names))
    figures = list(dict.fromkeys(name for run in result.runs for name in run.figures))
    rows = []
    for run in result.runs:
        own = {name: run.settings[name] for name in differing[run.kind] if name in run.settings}
        cells: dict[str, Cell] = {
            "run": str(run.folder),
            "kind": run.kind,
            "complete": "yes" if run.complete else "no",
            "finished": run.finished,
            "epoch": run.epoch,
            "epochs": run.epochs,
        }
        cells |= {
            name: json.dumps(own[name]) if name in own else None
            for name in settings
            if name not in cells
        }
        cells |= {name: run.figures.get(name) for name in figures}
        rows.append({**cells, "protocol": run.protocol})
    return rows
