"""Results as tables for ``--csv``: a row a class, a combination of settings or a run."""

from typing import TYPE_CHECKING

from .output import Cell, Table

if TYPE_CHECKING:
    from ..pipeline.ablation_table import AblateResult
    from ..pipeline.evaluate import SegmentationResult
    from ..pipeline.finetune import FinetuneResult

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
