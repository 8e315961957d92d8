"""The sides of `clever benchmark step`: the training step as `clever pretrain` takes it, and its
networks alone.

- ``full``: the training loop's own step: batch to the device, augmentation, Mix3D, voxels, targets,
  networks, losses, backward pass, gradient norm, optimiser, schedule, reading and logging the
  numbers.
- ``network``: forward and backward pass of all that is trained, on voxels, targets and queries made
  before.
- ``bare``: forward and backward pass of the backbone, on the same voxels.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...student.backbones.base import Backbone
from ..pretraining.contrast_run import (
    collation,
    dense_sweeps,
    input_sweeps,
    region_layer,
    with_passes,
)
from ..pretraining.frames import point_thinning
from ..pretraining.networks import build_step
from ..pretraining.stores import open_teachers
from ..process.progress import Track
from ..process.team import Team
from ..results.run_folder import Run
from ..settings.pretrain import PretrainSettings
from ..steps.cached_frames import DistillationBatch, PairedFrames
from ..steps.distillation import DistillationStep, Prepared
from ..steps.mixed_frames import MixedFrames
from ..steps.passes import PassBatch
from ..training.batches import FrameDraw
from ..training.job import Job
from ..training.log import TrainingLog, read_log
from ..training.loop import Fit
from ..training.stepping import StepReport

Side = Literal["full", "network", "bare"]
SIDES: tuple[Side, ...] = ("full", "network", "bare")


class Sides:
    """One student in a training run of its own, whose steps are taken by hand.

    Args:
        settings: of the run.
        folder: empty, for the run.
        steps: how many steps there will be.
    """

    def __init__(
        self, settings: PretrainSettings, device: torch.device, folder: Path, steps: int
    ) -> None:
        caches = open_teachers(settings)
        step = build_step(settings, caches)
        thinning = point_thinning(settings.points or "voxel", step)
        paired = PairedFrames(
            caches,
            thinning=thinning,
            regions=region_layer(settings),
            input_sweeps=input_sweeps(settings),
            dense_sweeps=dense_sweeps(settings),
        )
        passes = with_passes(settings, MixedFrames([paired], [paired.caches[0].name]))
        frames = _RepeatedFrames(passes, paired.ids, steps * settings.batch_size)
        job = Job(
            label=f"{settings.student}, loop",
            epochs=1,
            lr=settings.lr or step.student.backbone.peak_lr,
            step=step,
            frames=frames,
            ids=frames.ids,
            collate=collation(settings),
            inputs={},
            export=lambda _: None,
        )
        folder.mkdir(exist_ok=True)
        self.fit = Fit(job, settings, Run(folder), Team(0, 1, device))
        self.device = device
        self.step_number = 0
        self._log: TrainingLog | None = None
        self._track = Track(job.label, steps, every=math.inf)
        self._generator = torch.Generator(device).manual_seed(settings.seed)

    @property
    def step(self) -> DistillationStep:
        """The module that is trained, without what accelerate puts around it."""
        assert isinstance(self.fit.job.step, DistillationStep)
        return self.fit.job.step

    @property
    def backbone(self) -> Backbone:
        """The network that `bare` is about."""
        return self.step.student.backbone

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """Steps are taken inside, and logged."""
        self.fit.stepper.module.train()
        with TrainingLog(self.fit.run.folder, 0) as self._log:
            yield

    def batch(self, number: int) -> DistillationBatch:
        """The batch of a step with one pass of the student, as the loader gives it, on the
        host."""
        batch = self.batch_of_passes(number)
        assert isinstance(batch, DistillationBatch)
        return batch

    def batch_of_passes(self, number: int) -> DistillationBatch | PassBatch:
        """The batch of a step as the loader gives it, on the host."""
        job = self.fit.job
        batch = job.collate([job.frames[draw] for draw in self.fit.order.batch(number)])
        assert isinstance(batch, DistillationBatch | PassBatch)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def of(
        self,
        side: Side,
        batch: DistillationBatch | PassBatch,
        prepared: Prepared | None,
        count: int = 1,
    ) -> Callable[[], None]:
        """`count` passes of a side over a batch, as a function to time; ``full`` needs nothing
        prepared."""
        if side == "full":
            return lambda: self._full(batch, count)
        assert prepared is not None
        assert isinstance(batch, DistillationBatch)
        totals = {
            name: torch.tensor(value, device=self.device)
            for name, value in self.step.counts(batch).items()
        }
        pull = torch.randn(
            len(prepared.voxels.coords),
            self.backbone.out_channels,
            generator=self._generator,
            device=self.device,
        )

        def loss() -> Tensor:
            if side == "network":
                return self.step.losses(prepared, totals)["loss"]
            return (
                self.step.student.encode(prepared.mixed, prepared.voxels, prepared.draws) * pull
            ).sum()

        def run() -> None:
            for _ in range(count):
                with self.fit.stepper.accelerator.autocast():
                    value = loss()
                self.fit.stepper.accelerator.backward(value)
                self.fit.stepper.optimizer.zero_grad()

        return run

    def prepare(self, batch: DistillationBatch) -> Prepared:
        """What the step's networks are given."""
        return self.step.prepare(batch.to(self.device))

    def train_on(self, batch: DistillationBatch | PassBatch) -> StepReport:
        """One step of the training loop; its numbers are still to be read."""
        started = time.monotonic()
        report = self.fit.train_on([batch], self.step_number)
        report.seconds = time.monotonic() - started
        self.step_number += 1
        return report

    def read(self, report: StepReport) -> None:
        """Read and log a step's numbers as the loop does."""
        self.fit.read(report, self._track, self._log)

    def loop(self) -> list[float]:
        """The steps that are left, by the loop and its own loader: of each but the first the share
        that it waited.

        The first one waits for the loader to start.
        """
        self.fit.run_all()
        records = [
            record
            for record in read_log(self.fit.run.folder)
            if record["step"] > self.step_number + 1
        ]
        return [float(record["data_wait"]) for record in records]

    def _full(self, batch: DistillationBatch | PassBatch, count: int) -> None:
        """As in the loop, a step's numbers are read when the next one is under way."""
        pending: StepReport | None = None
        started = time.monotonic()
        for _ in range(count):
            report = self.train_on(batch)
            if pending:
                self.read(pending)
            now = time.monotonic()
            report.seconds, started = now - started, now
            pending = report
        if pending:
            self.read(pending)


class _RepeatedFrames(Dataset[Any]):
    """`count` frames: those of a cache over and over, so that a run has one pass and as many steps
    as are asked for."""

    def __init__(self, frames: Dataset[Any], ids: Sequence[str], count: int) -> None:
        self.frames, self._count = frames, len(ids)
        self.ids = [ids[number % len(ids)] for number in range(count)]

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> Any:
        index, key = draw
        return self.frames[FrameDraw(index % self._count, key)]
