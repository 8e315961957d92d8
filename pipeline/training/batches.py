"""What a training step is fed: frames in a fixed random order, and batches of tensors that move as
one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Sampler

from ...student.draws import key

Value = TypeVar("Value")


class FrameDraw(NamedTuple):
    """One frame's turn: its position in the dataset, and the key of all that is drawn for it this
    time."""

    frame: int
    key: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames of one step or of a part of one.

    Attributes:
        ids: frame ids.
        keys: what the random draws of each frame depend on.
    """

    ids: list[str]
    keys: list[int]

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`; values stay as they are."""
        return _map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory, from where it reaches a GPU while the host goes
        on."""
        return _map_tensors(self, Tensor.pin_memory)


def _map_tensors(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    if isinstance(value, Tensor):
        return change(value)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(_map_tensors(part, change) for part in value)  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{
                field.name: _map_tensors(getattr(value, field.name), change)
                for field in fields(value)
            },
        )
    return value


class FrameOrder:
    """The order of a run's frames: one shuffled pass over all of them after the other, cut into
    batches of one size.

    A batch may hold the end of one pass and the beginning of the next, so every frame is seen once
    a pass and none is left out; only the last batch of a run reaches into one pass more than was
    asked for. The order depends on the seed alone, and every step can be computed by itself.
    """

    def __init__(self, frames: int, epochs: int, batch_size: int, seed: int) -> None:
        self.frames, self.batch_size, self.seed = frames, batch_size, seed
        self.steps = math.ceil(frames * epochs / batch_size)
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    @property
    def draws(self) -> float:
        """How often a frame is drawn in all, on average."""
        return self.steps * self.batch_size / self.frames

    def batch(self, step: int) -> list[FrameDraw]:
        """The frames of step 0, 1, ..."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [self._draw(place) for place in places]

    def epoch(self, step: int) -> int:
        """The pass, from 0, in which a step begins."""
        return step * self.batch_size // self.frames

    def ends_epoch(self, step: int) -> bool:
        """Whether the next step begins in a later pass."""
        return self.epoch(step + 1) > self.epoch(step)

    def _draw(self, place: int) -> FrameDraw:
        epoch, position = divmod(place, self.frames)
        index = self._pass(epoch)[position]
        return FrameDraw(index, key(self.seed, "frame", epoch, index))

    def _shuffled(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(key(self.seed, "order", epoch))
        return torch.randperm(self.frames, generator=generator).tolist()


class Parts(Sampler[list[FrameDraw]]):
    """The batches of one process: its `micro` parts of every step from `start` on.

    A step's frames are cut into processes x micro equal parts of consecutive frames.
    """

    def __init__(
        self, order: FrameOrder, start: int, micro: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.order, self.start, self.micro, self.rank, self.processes = (
            order,
            start,
            micro,
            rank,
            processes,
        )

    def __len__(self) -> int:
        return (self.order.steps - self.start) * self.micro

    def __iter__(self) -> Iterator[list[FrameDraw]]:
        size = self.order.batch_size // (self.micro * self.processes)
        for step in range(self.start, self.order.steps):
            draws = self.order.batch(step)
            for part in range(self.micro):
                first = (self.rank * self.micro + part) * size
                yield draws[first : first + size]
