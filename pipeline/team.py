"""Training by several processes: who they are, and batch norm over all that they hold."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

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
