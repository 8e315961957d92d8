"""Training by several processes: who they are, and batch norm over all that they hold."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

from ...errors import CleverError

Value = TypeVar("Value")

PATIENCE = timedelta(days=30)
"""How long processes wait for another; torch's own limit of 10 to 30 minutes would end a job whose
first process measures a whole validation split meanwhile."""


MEETING = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables by which processes find each other."""


def started_processes() -> int:
    """How many processes were started together, by the environment variable WORLD_SIZE.

    Raises:
        CleverError: it is no such number.
    """
    text = os.environ.get("WORLD_SIZE") or "1"
    if not text.strip().isdecimal() or int(text) < 1:
        raise CleverError(
            f"the environment variable WORLD_SIZE is {text!r}, no number of processes; unset it"
        )
    return int(text)


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a job, started by ``torchrun`` or ``accelerate launch``; alone otherwise.

    Attributes:
        rank: number of this process; 0 is the one that writes and prints.
        size: number of processes.
        device: where this one computes.
        patient: all processes as a group of their own, whose waits may last; None for one alone.
    """

    rank: int
    size: int
    device: torch.device
    patient: "torch.distributed.ProcessGroup | None" = None

    @classmethod
    def join(cls, device: torch.device) -> "Team":
        """Meet the other processes that the environment names, if any.

        Raises:
            CleverError: the environment names others and not how they are met, or they cannot be
                met there.
        """
        count = started_processes()
        if count == 1:
            return cls(0, 1, device)
        if lacking := [name for name in MEETING if not os.environ.get(name)]:
            raise CleverError(
                f"the environment variable WORLD_SIZE says that {count} processes train together, "
                f"but {', '.join(lacking)} are not set; start them with `torchrun`, or unset "
                "WORLD_SIZE"
            )
        from accelerate import PartialState

        try:
            state = PartialState(cpu=device.type == "cpu")
            device = torch.device(state.device or device)
            # Gloo waits without the device, and notices at once when another process has died.
            patient = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CleverError(
                f"the {count} processes of WORLD_SIZE cannot meet at "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {reason}; start all of "
                "them with `torchrun`, or unset WORLD_SIZE"
            ) from error
        return cls(state.process_index, state.num_processes, device, patient)

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
        """Until all processes are here, however long one of them measures or writes."""
        if self.size > 1:
            torch.distributed.barrier(group=self.patient)

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over the processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def others_leave(self) -> None:
        """End every process but the first, whose work is done."""
        if not self.first:
            raise SystemExit(0)
