"""Single steps of the optimiser: losses of all parts of a batch, backward pass, update."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import CleverError
from ..process.device import slow_bfloat16
from ..process.team import Team
from ..results.run_folder import notice
from ..settings.shared.training import TrainingSettings
from .batch_norm import share_batch_norm
from .batches import Batch
from .job import Job
from .optimisation import make_optimizer, make_schedule
from .state import TrainingProgress, TrainingState

if TYPE_CHECKING:
    from accelerate import Accelerator


class HostCopy:
    """Numbers on their way to the host: asked for when they are made, so that reading waits for
    nothing after them."""

    def __init__(self, values: Tensor) -> None:
        self._host, self._event = values, None
        if values.device.type == "cuda":
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> list[float]:
        """The numbers, as soon as they are there."""
        if self._event:
            self._event.synchronize()
        return self._host.tolist()


@dataclass(slots=True)
class StepReport:
    """What a step leaves on the device.

    Attributes:
        number: of the step, from 0.
        losses: names of the losses.
        counts: names of what they are means over.
        values: gradient norm, number of processes asked to stop, counts, losses.
        rate: learning rate.
        seconds, waited: of the step on the clock, and of those waiting for data; set by the loop.
    """

    number: int
    losses: list[str]
    counts: list[str]
    values: HostCopy
    rate: float
    seconds: float = 0.0
    waited: float = 0.0


class Stepper:
    """A job's module with its optimiser and schedule, on the device and shared by all processes.

    Attributes:
        module: what is trained, as accelerate wraps it.
        state: what a run saves of it; taken up from the file if there is one.
        progress: where that run stands.

    Args:
        steps: of the whole schedule.
        path: the file of the state.
        beginning: where a run stands that has no such file, by default without a step done.
        anew: it stands there even where there is one.
    """

    def __init__(
        self,
        job: Job,
        settings: TrainingSettings,
        team: Team,
        steps: int,
        path: Path,
        beginning: TrainingProgress | None = None,
        anew: bool = False,
    ) -> None:
        self.job, self.team, self.clip_norm = job, team, settings.clip_norm
        self.accelerator = _accelerator(settings.precision, team)
        step = job.step.to(team.device)
        if team.size > 1:
            share_batch_norm(step, team.device)
        optimizer = make_optimizer(
            step,
            step.block_parameters(),
            job.lr,
            settings.block_lr or job.lr / 10,
            settings.weight_decay,
        )
        self.schedule = make_schedule(optimizer, settings.schedule, steps, settings.warmup)
        self.state = TrainingState(
            path, step.changing(), optimizer, self.schedule, self.accelerator.scaler, job.inputs
        )
        beginning = beginning or TrainingProgress()
        self.progress = beginning if anew else self.state.load() or beginning
        self.module, self.optimizer = self.accelerator.prepare(step, optimizer)
        self._parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]

    def take(self, parts: list[Batch], number: int, stop: bool = False) -> StepReport:
        """Step `number` from 0, on this process's parts of the batch (on the host).

        Its losses and gradient norm stay on the device until they are read.

        Args:
            stop: this process was asked to stop; the report tells all of them.

        Raises:
            CleverError: the step finds something wrong with the batch.
        """
        counts = [self.job.step.counts(part) for part in parts]
        names = list(counts[0])
        sums = [float(sum(count[name] for count in counts)) for name in names]
        totals = self.team.sum(
            torch.tensor([float(stop), *sums]).to(self.team.device, non_blocking=True)
        )
        losses = self._backward(
            parts, dict(zip(names, totals[1:].clamp(min=1), strict=True)), number
        )
        norm, rate = self._update()
        values = self.team.sum(torch.stack(list(losses.values())))
        sent = HostCopy(torch.cat([norm.float()[None], totals, values]))
        return StepReport(number, list(losses), names, sent, rate)

    def release(self) -> None:
        """Let go what accelerate holds: model and optimiser hang in cycles by which a job with
        several runs would grow."""
        self.accelerator.free_memory()

    def _backward(
        self, parts: list[Batch], totals: Mapping[str, Tensor], number: int
    ) -> dict[str, Tensor]:
        """Gradients of all parts; returns the shares of their losses, added up."""
        losses: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                shares = self._losses(part.to(self.team.device), totals, number)
                self.accelerator.backward(shares["loss"] * self.team.size)
            losses = {
                name: losses.get(name, 0) + share.detach().float() for name, share in shares.items()
            }
        return losses

    def _losses(self, batch: Batch, totals: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """The step's losses; what it finds wrong with the batch is told with the frames' ids."""
        try:
            return self.module(batch, totals)
        except CleverError as error:
            raise CleverError(
                f"step {number + 1}, frames {', '.join(batch.ids)}: {error}"
            ) from error

    def _update(self) -> tuple[Tensor, float]:
        """Move the weights; returns the norm of the gradients, and the learning rate."""
        self.accelerator.unscale_gradients(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self._parameters, self.clip_norm, norm)
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return norm, rate


def _accelerator(precision: str, team: Team) -> "Accelerator":
    """Mixed precision, loss scaling and data parallelism by accelerate."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    # Its state is global and refuses a second precision in one process; the processes themselves
    # stay as they are.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=team.device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def frames_at_once(settings: TrainingSettings, team: Team) -> int:
    """Frames that go through the network together: a process's part of a step."""
    return settings.batch_size // (settings.accumulate * team.size)


def check_step(settings: TrainingSettings, team: Team, mix3d: float) -> None:
    """Whether a step can be computed here, and cut into parts of one size that keep mixed pairs
    together.

    Raises:
        CleverError: it cannot.
    """
    if settings.precision == "fp16" and team.device.type != "cuda":
        raise CleverError("`precision=fp16` needs a GPU; use bf16 or fp32 on a CPU")
    if team.first and (line := slow_bfloat16(settings.precision, team.device.type)):
        notice(line)
    parts = team.size * settings.accumulate
    if parts == 1:
        return
    whole = parts * (2 if mix3d else 1)
    if settings.batch_size % whole:
        pairs = ", in pairs for Mix3D" if mix3d else ""
        raise CleverError(
            f"`batch_size={settings.batch_size}` cannot be shared by {team.size} processes x "
            f"{settings.accumulate} "
            f"parts{pairs}; choose a multiple of {whole}"
        )
