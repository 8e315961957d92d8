"""Optimiser and learning-rate schedules (paper Table A1; ScaLR's as the alternative)."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from ..settings.shared.choices import Schedule

COSINE_END = 0.005
"""Last learning rate of `cosine` over its peak: ScaLR's 1e-5 of 2e-3."""
RSQRT_SCALE, RSQRT_COOLDOWN = 0.45 / 65, 2 / 65
"""Shares of the steps: in one `RSQRT_SCALE` the rate falls to one over the root of 2, and in the
last `RSQRT_COOLDOWN` to zero; ScaLR+'s 0.45 and 2 of 65 epochs."""


def make_optimizer(
    module: nn.Module, slow: Sequence[nn.Parameter], lr: float, slow_lr: float, weight_decay: float
) -> Optimizer:
    """AdamW over everything trainable; the `slow` parameters peak at `slow_lr`."""
    apart = {id(parameter) for parameter in slow}
    others = [
        parameter
        for parameter in module.parameters()
        if parameter.requires_grad and id(parameter) not in apart
    ]
    groups: list[dict[str, object]] = [{"params": others, "lr": lr}]
    if slow:
        groups.append({"params": list(slow), "lr": slow_lr})
    # The fused form never asks the device anything; on a CPU the default is as fast and its bits
    # are the older ones.
    return AdamW(groups, weight_decay=weight_decay, fused=torch.cuda.is_available() or None)


def make_schedule(optimizer: Optimizer, kind: Schedule, steps: int, warmup: float) -> LRScheduler:
    """Learning rate over `steps` steps, of which the share `warmup`, but at least two in short
    runs, rises to the peak.

    `onecycle` is Table A1's; its end points, which the table does not name, are those of
    Pointcept's stock configurations: from a tenth of the peak, down to a thousandth. `cosine` is
    ScaLR's: linear from zero to the peak, then half a cosine down to `COSINE_END` of it. `rsqrt` is
    ScaLR+'s: after the rise one over the square root of 1 + t / `RSQRT_SCALE`, t being the share
    of the steps since then, and a linear end.
    """
    rising = max(warmup, min(0.3, 2 / steps))
    if kind == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(
            optimizer,
            peaks,
            total_steps=steps,
            pct_start=rising,
            div_factor=10.0,
            final_div_factor=100.0,
        )
    last_rise = rising * steps

    def factor(step: int) -> float:
        if step < last_rise:
            return step / last_rise
        if kind == "rsqrt":
            return _inverse_root(step / steps, rising)
        fraction = (step - last_rise) / (steps - last_rise)
        return COSINE_END + (1 - COSINE_END) * (1 + math.cos(math.pi * fraction)) / 2

    return LambdaLR(optimizer, factor)


def _inverse_root(place: float, rising: float) -> float:
    """Factor of the `rsqrt` schedule at a share of the steps after the rise."""
    cooldown = 1 - RSQRT_COOLDOWN
    root = 1 / math.sqrt(1 + (min(place, cooldown) - rising) / RSQRT_SCALE)
    return root * min(1.0, (1 - place) / RSQRT_COOLDOWN)
