"""The loop around a training job's steps: checks, log, checkpoints.

A job gives a `TrainingStep` (batch in, losses out) and the frames; `fit` does the rest. Every
random number comes from a stream named by seed, purpose and frame, so a run taken up again at any
step draws what it would have drawn.
"""

import math
import resource
import time
from contextlib import nullcontext

import torch

from ...errors import CleverError
from ...words import quantity
from ..process.progress import Track
from ..process.team import Team
from ..results.run_folder import Run, notice
from ..settings.shared.training import TrainingSettings
from .batches import Batch
from .finite import FiniteCheck
from .job import Job
from .loader import load_batches
from .log import TrainingLog, best_pass, read_log
from .signals import INTERRUPTED, StopRequest
from .state import TrainingProgress
from .stepping import Stepper, StepReport


def fit(job: Job, settings: TrainingSettings, run: Run, team: Team) -> TrainingProgress:
    """Train from where `run` stands to the end; the first process says at once what is to come.

    Raises:
        CleverError: loss or gradient is not finite; the message names the frames of that step.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step under way; the message says how to go
            on.
    """
    training = Fit(job, settings, run, team)
    if team.first and run.cycle.begins:
        training.begin_cycle()
    if team.first:
        notice(training.summary())
    return training.run_all()


class Fit:
    """A training run, for its duration: `run_all` is `fit`, `train_on` and `read` are its single
    steps."""

    def __init__(self, job: Job, settings: TrainingSettings, run: Run, team: Team) -> None:
        self.job, self.settings, self.run, self.team = job, settings, run, team
        self.order = job.frame_order(job.epochs, settings.batch_size, settings.seed)
        beginning = self._beginning_of_cycle()
        steps = self.order.steps - beginning.step
        if not steps:
            raise CleverError(
                f"{quantity(job.epochs, 'epoch')} of {quantity(len(job.ids), 'frame')} are no "
                "step of "
                f"{settings.batch_size} more than {run.cycle.passes_before}; choose more `epochs`"
            )
        self.stepper = Stepper(
            job, settings, team, steps, run.state, beginning, anew=run.cycle.begins
        )
        self.progress = self.stepper.progress
        self.stop = StopRequest(team)
        self.save_every = settings.save_every or min(
            1000, math.ceil(len(job.ids) / settings.batch_size)
        )
        if settings.batch_size > len(job.ids) and team.first:
            notice(
                f"a batch of {settings.batch_size} holds each of the "
                f"{quantity(len(job.ids), 'frame')} more "
                f"than once; the run draws each {self.order.draws:.1f} times"
            )
        self._finite = FiniteCheck(self.stepper.accelerator.scaler is not None)
        self._checkpoint = self.progress.step

    def _beginning_of_cycle(self) -> TrainingProgress:
        """Where the run stood when its present cycle began, as its log tells."""
        if not self.run.cycle.earlier:
            return TrainingProgress()
        batch_size = self.settings.batch_size
        before = self.job.frame_order(self.run.cycle.passes_before, batch_size, self.settings.seed)
        records = [record for record in read_log(self.run.folder) if record["step"] <= before.steps]
        rates = [record["frames_per_s"] for record in records if "loss" in record]
        loss, epoch = best_pass(records)
        seconds = sum(batch_size / rate for rate in rates)
        return TrainingProgress(before.steps, seconds, best_loss=loss, best_epoch=epoch)

    def begin_cycle(self) -> None:
        """Prolong a finished run: from here on it is one that is under way. Its state is written
        first, so that a kill at any instant leaves a run that can be taken up."""
        before = self.run.cycle.passes_before
        notice(
            f"{self.run.folder} is finished after {quantity(before, 'epoch')} and prolonged: "
            f"{self.job.epochs - before} more from its last weights, which are one more "
            f"{self.settings.schedule} cycle with warm-up and peak {self.job.lr:g}, and a new "
            "optimiser"
        )
        self.stepper.state.save(self.progress)
        self.run.begin_cycle(self.job.epochs)

    def summary(self) -> str:
        """``runs/a: 39 frames, 10 steps of 8, cpu``: folder, frames, steps, frames a step and
        where."""
        unit = "step" if self.order.steps == 1 else "steps"
        steps = f"{self.order.steps} {unit} of {self.settings.batch_size}"
        if self.progress.step:
            steps = f"{steps}, {self.progress.step} done"
        processes = f" x {self.team.size}" if self.team.size > 1 else ""
        return (
            f"{self.run.folder}: {quantity(len(self.job.ids), 'frame')}, {steps}, "
            f"{self.team.device.type}{processes}"
        )

    def run_all(self) -> TrainingProgress:
        """Train to the end, or until the user stops the run; after its last step too, since what
        follows may take long, and other runs may follow."""
        total = self.order.steps * self.settings.batch_size
        frame_count = self.progress.step * self.settings.batch_size
        track = (
            Track(self.job.label, total, "frames", start=frame_count) if self.team.first else None
        )
        log = TrainingLog(self.run.folder, self.progress.step) if self.team.first else None
        with track or nullcontext(), log or nullcontext(), self.stop.listening():
            self._steps(track, log)
        self.stepper.release()
        if self.stop.agreed:
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
        self.stepper.module.train()
        batches = load_batches(
            self.job, self.order, self.settings, self.team, self.progress.step, self.run.folder
        )
        pending: StepReport | None = None
        started = time.monotonic()
        for number in range(self.progress.step, self.order.steps):
            before = time.monotonic()
            parts = [next(batches) for _ in range(self.settings.accumulate)]
            waited = time.monotonic() - before
            report = self.train_on(parts, number)
            if pending:
                self.read(pending, track, log)
            now = time.monotonic()
            report.seconds, report.waited, started = now - started, waited, now
            pending = report
            if self.stop.agreed or self._pauses_after(number):
                self.read(pending, track, log)
                pending = None
                self._pause(number, log)
            if self.stop.agreed:
                return

    def _pauses_after(self, number: int) -> bool:
        """Whether step `number` is followed by a checkpoint, by the end of a pass or by the end of
        the run."""
        step_count = number + 1
        return (
            step_count % self.save_every == 0
            or step_count == self.order.steps
            or self.order.ends_epoch(number)
        )

    def train_on(self, parts: list[Batch], number: int) -> StepReport:
        """Step `number` from 0, on this process's parts of the batch; see `Stepper.take`."""
        return self.stepper.take(parts, number, self.stop.received)

    def read(self, report: StepReport, track: Track | None, log: TrainingLog | None) -> None:
        """Take a step's numbers from the device, check them, count them, log them.

        Raises:
            CleverError: loss or gradient is not finite.
        """
        norm, stop, *numbers = report.values.read()
        counts = dict(zip(report.counts, numbers, strict=False))
        losses = dict(zip(report.losses, numbers[len(counts) :], strict=True))
        # A loss is named after what it is a mean over, or its name begins so; without a single one
        # there is no such loss in this step.
        values = {
            name: value
            for name, value in losses.items()
            if counts.get(name, counts.get(name.partition("/")[0], 1)) > 0
        }
        if not self._finite.passes(values["loss"], norm):
            raise self._not_finite(values["loss"], norm, report.number)
        self.stop.agreed = self.stop.agreed or stop > 0
        progress = self.progress
        progress.step = report.number + 1
        progress.seconds += report.seconds
        progress.epoch_loss += values["loss"]
        progress.epoch_steps += 1
        if log is None or track is None:
            return
        log.write(
            {
                "step": progress.step,
                "steps": self.order.steps,
                "epoch": self.order.epoch(report.number) + 1,
                **values,
                "lr": report.rate,
                "grad_norm": norm,
                "frames_per_s": self.settings.batch_size / report.seconds,
                "data_wait": report.waited / report.seconds,
                "memory_mb": _memory(self.team.device),
            }
        )
        track.advance(
            self.settings.batch_size,
            "  ".join(f"{name} {value:.4f}" for name, value in values.items()),
        )

    def _not_finite(self, loss: float, norm: float, number: int) -> CleverError:
        """The error of a step whose numbers are not finite."""
        ids = [self.job.ids[draw.frame] for draw in self.order.batch(number)]
        return CleverError(
            f"loss {loss} and gradient norm {norm} at step {number + 1} in frames "
            f"{', '.join(ids)}; "
            f"the checkpoint of step {self._checkpoint} stays in {self.run.folder}; look at these "
            "frames or lower `lr`"
        )

    def _pause(self, number: int, log: TrainingLog | None) -> None:
        """Between two steps, with everything read: end a pass, measure, save."""
        progress, folder = self.progress, self.run.folder
        last = number + 1 == self.order.steps
        if self.order.ends_epoch(number) or last:
            epoch = self.order.epoch(number) + 1
            loss = progress.epoch_loss / progress.epoch_steps
            progress.epoch_loss, progress.epoch_steps = 0.0, 0
            if loss < progress.best_loss:
                progress.best_loss, progress.best_epoch = loss, epoch
                if log:
                    self.job.export(folder / "best")
            every = self.job.measure_every
            if log and self.job.measure and every and (last or epoch % every == 0):
                log.write({"step": progress.step, "epoch": epoch, **self.job.measure()})
        if log and (last or self.stop.agreed or progress.step % self.save_every == 0):
            self.job.export(folder)
            self.stepper.state.save(progress)
        self._checkpoint = progress.step
        self.team.wait()


def _memory(device: torch.device) -> float:
    """Peak memory in MB: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
