"""One-directional contrast of points with pixels, or of regions with regions (InfoNCE, van den Oord
et al. 2018), as PPKT, SLidR, SuperFlow and OLIVINE use it.
"""

import torch
from torch import Tensor

TEMPERATURE = 0.07
"""Of all four."""


def info_nce(
    anchors: Tensor, keys: Tensor, temperature: float = TEMPERATURE, same: Tensor | None = None
) -> Tensor:
    """Mean over the anchors of ``-log(sum of e^(a k / t) over its keys / sum over all keys)``, a
    scalar; the softmax runs over the keys alone, and a key stays in its own denominator.

    Without rows it is zero.

    Args:
        anchors, keys: (n, C), row i of one belongs to row i of the other; they are used as they
            are: scale them to length one, see `pairs.unit`. Gradients flow into both.
        temperature: t.
        same: (n,) int64; where given, every key of an anchor's number is one of its keys, summed
            inside the logarithm (OLIVINE's supervised form). None: its own row alone.
    """
    if not len(anchors):
        return anchors.float().sum() + keys.float().sum()  # zero, with a gradient
    similarity = anchors.float() @ keys.float().T / temperature
    total = similarity.logsumexp(1)
    if same is None:
        return (total - similarity.diagonal()).mean()
    others = same[:, None] != same[None]
    return (total - similarity.masked_fill(others, -torch.inf).logsumexp(1)).mean()
