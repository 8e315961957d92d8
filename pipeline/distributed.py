"""Training by several processes: who they are, and batch norm over all that they hold."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a job, started by ``torchrun`` or ``accelerate launch``; alone otherwise.

    Attributes:
        rank: number of this process; 0 is the one that writes and prints.
        size: number of processes.
        device: where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: torch.device) -> "Team":
        """Meet the other processes that the environment names, if any."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(0, 1, device)
        from accelerate import PartialState

        state = PartialState(cpu=device.type == "cpu")
        return cls(state.process_index, state.num_processes, torch.device(state.device or device))

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def agree(self, value: Value) -> Value:
        """The first process's `value`, on all of them."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over the processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def others_leave(self) -> None:
        """End every process but the first, whose work is done."""
        if not self.first:
            raise SystemExit(0)


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
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
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
    """Make every batch norm in `module` see all processes' rows, so that their number does not change the result.

    Names of weights stay as they are. On a GPU torch's own layer does it; torch has none for CPUs.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.__class__ = _SharedBatchNorm
