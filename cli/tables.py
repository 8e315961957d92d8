"""Results as tables for ``--csv``: a row a class, a combination of settings or a run."""

import json
from typing import TYPE_CHECKING

from .output import Cell, Table

if TYPE_CHECKING:
    from ..pipeline.corrupted.table import RobustnessResult
    from ..pipeline.detection_runs.table import DetectionTable
    from ..pipeline.evaluate import SegmentationResult
    from ..pipeline.finetuning.result import FinetuneResult
    from ..pipeline.list_runs import RunList
    from ..pipeline.results.ablation_table import AblationTable

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


def ablation(result: "AblationTable") -> Table:
    """Mean and sample standard deviation of every figure over the seeds, and its difference to the
    base row with the half width of the interval, by row; every row carries the protocol."""
    protocol = " ".join(result.protocol())
    rows = []
    for row in result.rows:
        cells: dict[str, Cell] = {
            "row": row.name,
            "in grid": "yes" if row.in_grid else "no",
            "cells": len(result.cells_of(row.key)),
        }
        for column in result.shown_columns():
            spread = result.spread(row.key, column.key)
            difference = result.difference(row.key, column.key)
            cells |= {
                f"{column.title}, mean": spread.mean,
                f"{column.title}, deviation": spread.deviation,
                f"{column.title}, difference": difference and difference.mean,
                f"{column.title}, half width": difference and difference.half_width,
            }
        rows.append({**cells, "protocol": protocol})
    return rows


def runs(result: "RunList") -> Table:
    """A row a run: its state, the settings in which runs of its kind differ (as JSON), and its
    figures, of which one that it lacks is empty."""
    from ..pipeline.list_runs import setting_title

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
            "step": run.step,
            "steps": run.steps,
        }
        cells |= {
            setting_title(name, figures): json.dumps(own[name]) if name in own else None
            for name in settings
            if name not in cells
        }
        cells |= {name: run.figures.get(name) for name in figures}
        rows.append({**cells, "protocol": run.protocol})
    return rows


def robustness(result: "RobustnessResult") -> Table:
    """A row a checkpoint, corruption and severity, clean frames and means over the severities among
    them, then a row a checkpoint with mCE, mRR and the mean; percent, each with its protocol."""
    rows: list[dict[str, Cell]] = []
    for row in result.rows:
        own = row.scores(result.baseline)
        base = {"checkpoint": row.checkpoint}
        for entry in row.measurements:
            rows.append(
                {
                    **base,
                    "corruption": entry.corruption or "clean",
                    "severity": entry.severity,
                    "mIoU": entry.miou,
                    "CE": None,
                    "RR": None,
                    "protocol": entry.protocol,
                }
            )
        protocol = f"{row.measurements[0].protocol}; {result.source}"
        for name, score in own.by_corruption.items():
            figures = {"mIoU": score.miou, "CE": score.error, "RR": score.resilience}
            rows.append(
                {**base, "corruption": name, "severity": "mean", **figures, "protocol": protocol}
            )
        figures = {"mIoU": own.miou, "CE": own.mce, "RR": own.mrr}
        rows.append(
            {**base, "corruption": "all", "severity": "mean", **figures, "protocol": protocol}
        )
    return rows


def detection(result: "DetectionTable") -> Table:
    """A row a run and figure, per cent; every row carries the protocol."""
    protocol = result.protocol()
    return [
        {
            "start": run.start,
            "fraction": run.fraction,
            "draw": run.draw,
            "seed": run.seed,
            "table": part.title,
            "figure": name,
            "value": score,
            "protocol": protocol,
        }
        for run in result.runs
        for part in (run.result.tables if run.result else ())
        for name, score in part.scores.items()
    ]
