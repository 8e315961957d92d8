"""What every training job shares: its settings, the step it gives, and the loop around it.

A job gives a `TrainingStep` (batch in, losses out) and the frames; `fit` does the rest. Every
random number comes from a stream named by seed, purpose and frame, so a run taken up again at any
step draws what it would have drawn.
"""

import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...errors import CleverError
from ..progress import Track
from ..runs import Run, notice
from ..team import Team
from .batch_norm import share_batch_norm
from .batches import Batch, FrameOrder, Parts
from .log import TrainingLog
from .optimisation import make_optimizer, make_schedule
from .state import TrainingProgress, TrainingState

if TYPE_CHECKING:
    from accelerate import Accelerator
from ..settings.training import TrainingSettings
from .job import Job

REPEATED = 3.0
"""Seconds within which several processes take a second signal for the first."""
INTERRUPTED = 130
"""Exit code of a process that a signal has stopped."""
OVERFLOWS = 20
"""Steps in a row whose float16 gradients may overflow while the scale is being found."""


def fit(job: Job, settings: TrainingSettings, run: Run, team: Team) -> TrainingProgress:
    """Train from where `run` stands to the end; the first process says at once what is to come.

    Raises:
        CleverError: loss or gradient is not finite; the message names the frames of that step.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step under way; the message says how to go
            on.
    """
    training = Fit(job, settings, run, team)
    if team.first:
        notice(training.summary())
    return training.run_all()


class Fit:
    """A training run, for its duration: `run_all` is `fit`, `train_on` and `read` are its single
    steps."""

    def __init__(self, job: Job, settings: TrainingSettings, run: Run, team: Team) -> None:
        self.job, self.settings, self.run, self.team = job, settings, run, team
        self.order = FrameOrder(len(job.ids), job.epochs, settings.batch_size, settings.seed)
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
        schedule = make_schedule(optimizer, settings.schedule, self.order.steps, settings.warmup)
        self.state = TrainingState(
            run.state, step.changing(), optimizer, schedule, self.accelerator.scaler, job.inputs
        )
        self.progress = self.state.load()
        self.step, self.optimizer = self.accelerator.prepare(step, optimizer)
        self.parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        self.save_every = settings.save_every or min(
            1000, math.ceil(len(job.ids) / settings.batch_size)
        )
        if settings.batch_size > len(job.ids) and team.first:
            notice(
                f"a batch of {settings.batch_size} holds each of the {len(job.ids)} frames more "
                "than once"
            )
        self.asked = False  # this process got a signal
        self.stop = False  # all processes know
        self.overflows = 0
        self.saved = self.progress.step

    def summary(self) -> str:
        """``runs/a: 39 frames, 10 steps of 8, cpu``: folder, frames, steps, frames a step and
        where."""
        steps = f"{self.order.steps} steps of {self.settings.batch_size}"
        if self.progress.step:
            steps = f"{steps}, {self.progress.step} done"
        processes = f" x {self.team.size}" if self.team.size > 1 else ""
        return (
            f"{self.run.folder}: {len(self.job.ids)} frames, {steps}, "
            f"{self.team.device.type}{processes}"
        )

    def run_all(self) -> TrainingProgress:
        """Train to the end, or until the user stops the run."""
        total = self.order.steps * self.settings.batch_size
        done = self.progress.step * self.settings.batch_size
        track = Track(self.job.label, total, "frames", done=done) if self.team.first else None
        log = TrainingLog(self.run.folder, self.progress.step) if self.team.first else None
        with track or nullcontext(), log or nullcontext(), self._stoppable():
            self._steps(track, log)
        # Model and optimiser hang in cycles by which a job with several runs would grow.
        self.accelerator.free_memory()
        if self.stop and self.progress.step < self.order.steps:
            if not self.team.first:
                raise SystemExit(INTERRUPTED)
            raise KeyboardInterrupt(
                f"stopped after step {self.progress.step} of {self.order.steps}; "
                f"the same command with `out={self.run.folder}` goes on"
            )
        return self.progress

    def _steps(self, track: Track | None, log: TrainingLog | None) -> None:
        """Every step that is left. What a step printed is read when the next one has been sent to
        the device, so that the host never waits for it; before anything is saved it has been
        read."""
        self.step.train()
        batches = iter(self._loader())
        pending: StepReport | None = None
        started = time.monotonic()
        for number in range(self.progress.step, self.order.steps):
            asked = time.monotonic()
            parts = [next(batches) for _ in range(self.settings.accumulate)]
            waited = time.monotonic() - asked
            reading = self.train_on(parts, number)
            if pending:
                self.read(pending, track, log)
            now = time.monotonic()
            reading.seconds, reading.waited, started = now - started, waited, now
            pending = reading
            if self.stop or self._pauses_after(number):
                self.read(pending, track, log)
                pending = None
                self._pause(number, log)
            if self.stop:
                return

    def _pauses_after(self, number: int) -> bool:
        """Whether step `number` is followed by a checkpoint, by the end of a pass or by the end of
        the run."""
        done = number + 1
        return (
            done % self.save_every == 0 or done == self.order.steps or self.order.ends_epoch(number)
        )

    def train_on(self, parts: list[Batch], number: int) -> "StepReport":
        """One step of the optimiser, step `number` from 0, on this process's parts of the batch (on
        the host).

        Its losses and gradient norm stay on the device until `read`.
        """
        team, accelerator = self.team, self.accelerator
        counts = [self.job.step.counts(part) for part in parts]
        names = list(counts[0])
        told = torch.tensor(
            [float(self.asked), *(float(sum(count[name] for count in counts)) for name in names)]
        )
        totals = team.sum(told.to(team.device, non_blocking=True))
        shares = dict(zip(names, totals[1:].clamp(min=1), strict=True))
        summed: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last else accelerator.no_sync(self.step):
                losses = self._losses(part.to(team.device), shares, number)
                accelerator.backward(losses["loss"] * team.size)
            summed = {
                name: summed.get(name, 0) + loss.detach().float() for name, loss in losses.items()
            }
        accelerator.unscale_gradients(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.settings.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip_norm, norm)
        rate = self.state.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.schedule.step()
        values = team.sum(torch.stack(list(summed.values())))
        return StepReport(
            number,
            list(summed),
            names,
            _Sent(torch.cat([norm.float()[None], totals, values])),
            rate,
        )

    def _losses(self, batch: Batch, totals: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """The step's losses; what it finds wrong with the batch is told with the frames' ids."""
        try:
            return self.step(batch, totals)
        except CleverError as error:
            raise CleverError(
                f"step {number + 1}, frames {', '.join(batch.ids)}: {error}"
            ) from error

    def read(self, reading: "StepReport", track: Track | None, log: TrainingLog | None) -> None:
        """Take a step's numbers from the device, check them, count them, log them."""
        norm, stop, *rest = reading.values.read()
        counted = dict(zip(reading.counted, rest, strict=False))
        losses = dict(zip(reading.names, rest[len(counted) :], strict=True))
        # A loss is named after what it is a mean over; without a single one there is no such loss
        # in this step.
        values = {
            name: value
            for name, value in losses.items()
            if counted.get(name.partition("/")[0], 1) > 0
        }
        self._check(values["loss"], norm, reading.number)
        self.stop = self.stop or stop > 0
        progress = self.progress
        progress.step = reading.number + 1
        progress.seconds += reading.seconds
        progress.epoch_loss += values["loss"]
        progress.epoch_steps += 1
        if log is None or track is None:
            return
        log.write(
            {
                "step": progress.step,
                "epoch": self.order.epoch(reading.number) + 1,
                **values,
                "lr": reading.rate,
                "grad_norm": norm,
                "frames_per_s": self.settings.batch_size / reading.seconds,
                "data_wait": reading.waited / reading.seconds,
                "memory_mb": _memory(self.team.device),
            }
        )
        track.advance(
            self.settings.batch_size,
            "  ".join(f"{name} {value:.4f}" for name, value in values.items()),
        )

    def _check(self, loss: float, norm: float, number: int) -> None:
        """Raises CleverError for a loss or gradient that is not finite, unless float16 is looking
        for its scale."""
        finite = math.isfinite(norm)
        self.overflows = 0 if finite else self.overflows + 1
        searching = self.accelerator.scaler is not None and self.overflows < OVERFLOWS
        if math.isfinite(loss) and (finite or searching):
            return
        ids = [self.job.ids[draw.frame] for draw in self.order.batch(number)]
        raise CleverError(
            f"loss {loss} and gradient norm {norm} at step {number + 1} in frames "
            f"{', '.join(ids)}; "
            f"the checkpoint of step {self.saved} stays in {self.run.folder}; look at these frames "
            "or lower `lr`"
        )

    def _pause(self, number: int, log: TrainingLog | None) -> None:
        """Between two steps, with everything read: end a pass, measure, save."""
        progress, folder = self.progress, self.run.folder
        done = number + 1 == self.order.steps
        if self.order.ends_epoch(number) or done:
            epoch = self.order.epoch(number) + 1
            loss = progress.epoch_loss / progress.epoch_steps
            progress.epoch_loss, progress.epoch_steps = 0.0, 0
            if loss < progress.best_loss:
                progress.best_loss, progress.best_epoch = loss, epoch
                if log:
                    self.job.export(folder / "best")
            every = self.job.measure_every
            if log and self.job.measure and every and (done or epoch % every == 0):
                log.write({"step": progress.step, "epoch": epoch, **self.job.measure()})
        if log and (done or self.stop or progress.step % self.save_every == 0):
            self.job.export(folder)
            self.state.save(progress)
        self.saved = progress.step
        self.team.wait()

    def _loader(self) -> DataLoader[Any]:
        """Loader with worker processes where a GPU would wait; they are not forked, so open stores
        are safe."""
        settings, cuda = self.settings, self.team.device.type == "cuda"
        workers = settings.workers
        if workers is None:
            workers = min(8, (os.cpu_count() or 1) // self.team.size - 1) if cuda else 0
        return DataLoader(
            self.job.frames,
            batch_sampler=Parts(
                self.order, self.progress.step, settings.accumulate, self.team.rank, self.team.size
            ),
            collate_fn=self.job.collate,
            num_workers=max(0, workers),
            multiprocessing_context="forkserver" if workers > 0 else None,
            worker_init_fn=_ignore_interrupt,
            pin_memory=cuda,
        )

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM let the step under way end; a second one does not wait."""
        first = 0.0

        def stop(number: int, _: object) -> None:
            nonlocal first
            # A launcher passes on what the terminal has told every process already.
            again = self.asked and (self.team.size == 1 or time.monotonic() - first > REPEATED)
            first = first or time.monotonic()
            if again:
                raise KeyboardInterrupt
            # Several processes agree first, or some would wait for those that have stopped.
            self.asked, self.stop = True, self.team.size == 1
            if self.team.first:
                print(
                    "stopping after this step; once more stops at once", file=sys.stderr, flush=True
                )

        main = threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, stop) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(slots=True)
class StepReport:
    """What a step leaves on the device: gradient norm, number of processes asked to stop, counts
    and losses by name."""

    number: int
    names: list[str]
    counted: list[str]
    values: "_Sent"
    rate: float
    seconds: float = 0.0
    waited: float = 0.0


class _Sent:
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
        if self._event:
            self._event.synchronize()
        return self._host.tolist()


def _ignore_interrupt(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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


def _memory(device: torch.device) -> float:
    """Peak memory in MB: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def check_step(settings: TrainingSettings, team: Team, mix3d: float) -> None:
    """Whether a step can be computed here, and cut into parts of one size that keep mixed pairs
    together.

    Raises:
        CleverError: it cannot.
    """
    if settings.precision == "fp16" and team.device.type != "cuda":
        raise CleverError("`precision=fp16` needs a GPU; use bf16 or fp32 on a CPU")
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
