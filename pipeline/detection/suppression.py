"""Non-maximum suppression by the overlap of boxes as seen from above."""

import torch
from torch import Tensor

from .boxes import Boxes
from .overlap import bev_iou

_BLOCK = 64
"""Boxes of the highest scores that are decided at once."""


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
    most = len(order) if survivors is None else survivors
    remaining = order[:0]
    while len(order) and len(remaining) < most:
        # The boxes of a block decide among themselves, those that remain then about all after it:
        # only pairs with one that remains are ever looked at outside a block.
        block, order = order[:_BLOCK], order[_BLOCK:]
        block = block[_undominated(bev_iou(boxes[block], boxes[block]) > overlap)]
        remaining = torch.cat([remaining, block])
        order = order[~(bev_iou(boxes[order], boxes[block]) > overlap).any(1)]
    return remaining[:most]


def _undominated(above: Tensor) -> Tensor:
    """Places of the boxes that remain of a block (B, B), in its order, where `above` says which of
    them overlap too much."""
    device, above = above.device, above.cpu()
    gone = torch.zeros(len(above), dtype=torch.bool)
    for place in range(len(above)):
        if not gone[place]:
            gone[place + 1 :] |= above[place, place + 1 :]
    return torch.nonzero(~gone).flatten().to(device)
