"""A training job: the step it gives, and its frames."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from .batches import Batch, FrameOrder
from .log import Scalars
from .mixture import MixedOrder, Mixture


class TrainingStep(nn.Module, ABC):
    """All that is trained in a job, as one module: its forward pass turns a batch into losses.

    Losses are shares: sums over the batch divided by totals of the whole step, so that those of
    parts and processes add up to the losses of the step.
    """

    @abstractmethod
    def counts(self, batch: Any) -> dict[str, float]:
        """What the losses of a batch on the host are means over (frames, camera views, ...); always
        the same names."""

    @abstractmethod
    def forward(self, batch: Any, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Shares of scalar losses by name, always the same names; ``loss`` is the one to minimise.

        Args:
            batch: on the device.
            totals: sums of `counts` over all parts and processes of the step, at least 1, on the
                device.
        """

    def changing(self) -> nn.Module:
        """The part that training changes: what must be saved to take a run up again."""
        return self

    def block_parameters(self) -> list[nn.Parameter]:
        """Parameters that learn at `TrainingSettings.block_lr`."""
        return []


@dataclass(frozen=True, slots=True)
class Job:
    """A training job.

    Attributes:
        label: shown beside the progress.
        epochs: passes over the frames.
        lr: peak learning rate.
        step: the module to train.
        frames: frames by `FrameDraw`.
        ids: their ids.
        collate: makes one batch of a list of frames.
        inputs: digests of what the run reads; taking a run up with others is an error.
        export: writes the weights a user loads into a folder.
        mixture: how frames of several stores alternate; None: they are of one.
        measure: more numbers for the log, every `measure_every` passes and at the end.
    """

    label: str
    epochs: int
    lr: float
    step: TrainingStep
    frames: Dataset[Any]
    ids: Sequence[str]
    collate: Callable[[list[Any]], Batch]
    inputs: dict[str, str]
    export: Callable[[Path], None]
    mixture: Mixture | None = None
    measure: Callable[[], Scalars] | None = None
    measure_every: int = 0

    def frame_order(self, epochs: int, batch_size: int, seed: int) -> FrameOrder:
        """The order of the frames over so many passes."""
        if self.mixture is not None:
            return MixedOrder(self.mixture, epochs, batch_size, seed)
        return FrameOrder(len(self.ids), epochs, batch_size, seed)
