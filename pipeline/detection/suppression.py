"""Non-maximum suppression by the overlap of boxes as seen from above."""

import torch
from torch import Tensor

from .boxes import Boxes
from .overlap import bev_iou


def suppressed(
    boxes: Boxes,
    scores: Tensor,
    overlap: float,
    candidates: int | None = None,
    survivors: int | None = None,
) -> Tensor:
    """Index (K,) int64 of the boxes that remain, by falling score; of equal scores the first wins.

    A box goes when it overlaps one that remains and is before it by more than `overlap`.

    Compared with a loop over sorted boxes.

    Args:
        scores: (N,).
        overlap: intersection over union of the footprints.
        candidates: only so many boxes of the highest scores take part; None: all.
        survivors: at most so many remain; None: any number.
    """
    order = torch.sort(scores, descending=True, stable=True).indices[:candidates]
    ordered = boxes[order]
    # Every decision depends on the earlier ones: the pairs are computed at once where the boxes
    # are, the decisions are made on the CPU.
    above = (bev_iou(ordered, ordered) > overlap).cpu()
    gone = torch.zeros(len(order), dtype=torch.bool)
    remaining: list[int] = []
    for place in range(len(order)):
        if survivors is not None and len(remaining) == survivors:
            break
        if not gone[place]:
            remaining.append(place)
            gone |= above[place]
    return order[torch.tensor(remaining, dtype=torch.int64, device=order.device)]
