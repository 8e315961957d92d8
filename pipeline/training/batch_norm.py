"""Batch norm over all that several processes hold."""

import torch
import torch.distributed
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn


class _SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm whose mean and variance are those of the rows of all processes, on any device."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        values = input.float()
        total = _sum(torch.cat([values.sum(0), values.new_tensor([float(len(values))])]))
        count = total[-1].detach()
        mean = total[:-1] / count
        variance = _sum((values - mean).square().sum(0)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt() * self.weight
        return ((values - mean) * scale + self.bias).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics as nn.BatchNorm1d does."""
        if (
            self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _sum(values: Tensor) -> Tensor:
    """The sum over all processes, of which each gets the gradients of all."""
    summed = differentiable.all_reduce(values)
    assert summed is not None
    return summed


def share_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Make every batch norm in `module` see all processes' rows, so that their number does not
    change the result.

    Names of weights stay as they are. On a GPU torch's own layer does it; torch has none for CPUs.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.__class__ = _SharedBatchNorm
