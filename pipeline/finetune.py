"""Train a segmenter from labels, on a frozen student (linear probe) or through it, and measure it
on others."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import CleverError
from ..student.augment import Augmentation
from ..student.checkpoint import WEIGHTS
from ..student.segmentation import LinearProbe
from ..student.segmenter import Segmenter, Training
from .datasets import LidarDataset, open_dataset
from .device import choose_device
from .evaluate import SegmentationResult, measure_segmenter
from .published import published
from .runs import RESULT_FILE, Run, RunResult, default_folder, newest_run, notice, now, versions
from .settings.finetune import FinetuneSettings
from .starting_student import StartingStudent, starting_student
from .steps.labelled import (
    BadFrame,
    LabelledFrames,
    choose_frames,
    collate_labelled,
    describe,
    labelled_indices,
    scenes_of,
    usable,
)
from .steps.segmentation import SegmentationStep
from .team import Team
from .training.job import Job
from .training.log import Losses, first_and_last, read_log
from .training.loop import fit
from .training.seeds import seeded
from .training.state import TrainingProgress
from .training.stepping import check_step


class FinetuneResult(RunResult):
    """What a fine-tuning run was and what it reached."""

    student: str
    training: Training
    losses: Losses
    steps: int
    bad: list[BadFrame]
    """Training frames that could not be used."""
    evaluation: SegmentationResult
    published: dict[str, float]
    """The paper's mIoU in percent by variant, on the whole dataset with MinkUNet-34."""
    device: str
    out: Path

    def __str__(self) -> str:
        lines = [str(self.evaluation), str(self.losses)]
        lines += [f"skipped training frame {frame.id}: {frame.reason}" for frame in self.bad]
        if self.published:
            figures = ", ".join(f"{name} {miou:.2f}" for name, miou in self.published.items())
            lines.append(f"the paper, whole dataset, MinkUNet-34, ViT-S, 100 epochs: {figures}")
        return "\n".join([*lines, str(self.out)])


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """What a run needs and its settings may leave open.

    Attributes:
        start: the student to start from.
        epochs: passes over the training frames.
        lr: peak learning rate.
        batch_norm: whether there is one before the linear layer.
        augment: whether clouds are augmented and mixed.
        out: folder of the run.
    """

    start: StartingStudent
    epochs: int
    lr: float
    batch_norm: bool
    augment: bool
    out: Path

    @classmethod
    def of(cls, settings: FinetuneSettings, start: StartingStudent, out: Path) -> "FinetunePlan":
        """What the settings say, else what suits their mode and student."""
        frozen = settings.mode == "probe"
        return cls(
            start=start,
            epochs=settings.epochs or (50 if frozen else 100),
            lr=settings.lr or start.student.backbone.peak_lr,
            batch_norm=frozen if settings.batch_norm is None else settings.batch_norm,
            augment=not frozen if settings.augment is None else settings.augment,
            out=out,
        )

    def record(self, settings: FinetuneSettings) -> FinetuneSettings:
        """The settings with nothing left open, as the run's folder keeps them."""
        student = self.start.student
        return settings.decided(
            checkpoint=self.start.checkpoint,
            student=student.name,
            voxel_size=student.voxel_size,
            ptv3_form=student.ptv3_form,
            epochs=self.epochs,
            lr=self.lr,
            batch_norm=self.batch_norm,
            augment=self.augment,
            out=self.out,
        )


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Train and measure, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no checkpoint, no labelled frames, frames in both parts, another run at
            ``out``, losses that are not finite.
    """
    team = Team.join(choose_device(settings.device))
    start = _start(settings)
    student = start.student
    out = team.agree(settings.out or default_folder(f"finetune-{settings.mode}-{student.name}"))
    plan = FinetunePlan.of(settings, start, out)
    check_step(settings, team, settings.mix3d if plan.augment else 0)
    train = open_dataset(settings.train_part, settings.dataset)
    val = open_dataset(settings.val_part, settings.dataset)
    held_out = labelled_indices(val, settings.val_split)
    chosen = _training_frames(settings, train, {val.frame_ids[index] for index in held_out})
    with Run.training(out, plan.record(settings), team) as run:
        finished = run.result(FinetuneResult)
        if finished:
            team.others_leave()
            notice(f"{run.folder} is finished already; nothing to do")
            return finished
        indices, bad = usable(train, chosen, "check labels")
        for frame in bad:
            notice(f"skipped frame {frame.id}: {frame.reason}")
        if not indices:
            raise CleverError(
                f"none of the {len(chosen)} training frames can be used; the first: {bad[0].reason}"
            )
        training = _describe(settings, plan, train, indices)
        with seeded(settings.seed, "classifier"):
            classifier = LinearProbe(student.out_channels, len(train.class_names), plan.batch_norm)
        segmenter = Segmenter(student, classifier)
        progress = _train(settings, plan, segmenter, train, indices, training, run, team)
        team.others_leave()
        result = FinetuneResult(
            job="finetune",
            finished=now(),
            seed=settings.seed,
            seconds=progress.seconds,
            versions=versions(),
            student=student.name,
            training=training,
            losses=first_and_last(read_log(run.folder)),
            steps=progress.step,
            bad=bad,
            evaluation=measure_segmenter(
                segmenter, training, val, held_out, settings.val_split, team.device
            ),
            published=published(settings.dataset, settings.mode, settings.fraction),
            device=team.device.type,
            out=run.folder,
        )
        run.finish(result)
        return result


def _train(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    segmenter: Segmenter,
    dataset: LidarDataset,
    indices: list[int],
    training: Training,
    run: Run,
    team: Team,
) -> TrainingProgress:
    """Train the segmenter."""
    frozen = settings.mode == "probe"
    augmentation = Augmentation() if plan.augment else None
    step = SegmentationStep(
        segmenter,
        frozen=frozen,
        loss=settings.loss,
        augmentation=augmentation,
        mix3d=settings.mix3d,
    )
    segmenter.student.recompute = settings.recompute
    ids = [dataset.frame_ids[index] for index in indices]
    job = Job(
        label="finetune",
        epochs=plan.epochs,
        lr=plan.lr,
        step=step,
        frames=LabelledFrames(dataset, indices),
        ids=ids,
        collate=collate_labelled,
        inputs={
            "training frames": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            "student weights": _weights_digest(plan.start.checkpoint),
        },
        export=lambda folder: segmenter.save(
            folder, training, not (frozen and (folder / WEIGHTS).exists())
        ),
    )
    return fit(job, settings, run, team)


def _start(settings: FinetuneSettings) -> StartingStudent:
    """The student to start from; the newest pre-training run's, unless told otherwise.

    Raises:
        CleverError: see `newest_run` and `starting_student`.
    """
    checkpoint = settings.checkpoint or newest_run("pretrain")
    start = starting_student(
        checkpoint, settings.student, settings.voxel_size, settings.seed, settings.ptv3_form
    )
    if checkpoint != "none" and not (checkpoint / RESULT_FILE).exists():
        notice(f"{checkpoint} is not finished; its newest weights are used")
    return start


def _weights_digest(checkpoint: Literal["none"] | Path) -> str:
    if checkpoint == "none":
        return "random"
    return hashlib.sha256((checkpoint / WEIGHTS).read_bytes()).hexdigest()


def _training_frames(
    settings: FinetuneSettings, dataset: LidarDataset, held_out: set[str]
) -> list[int]:
    """Frames to train on.

    Raises:
        CleverError: none is labelled, or one is also measured on.
    """
    labelled = labelled_indices(dataset, settings.train_split)
    shared = [index for index in labelled if dataset.frame_ids[index] in held_out]
    if shared:
        raise CleverError(
            f"{len(shared)} frames are in the training and in the validation part, e.g. "
            f"{dataset.frame_ids[shared[0]]}; choose other `train_sequences` or `val_sequences` "
            "(or splits)"
        )
    return choose_frames(
        labelled, dataset.scenes, settings.fraction, settings.sampler, settings.seed
    )


def _describe(
    settings: FinetuneSettings, plan: FinetunePlan, dataset: LidarDataset, indices: list[int]
) -> Training:
    """The run in words, for the protocol line."""
    student = plan.start.student
    augmentation = f"augmentation, Mix3D {settings.mix3d:g}" if plan.augment else "no augmentation"
    layer = "batch norm + linear" if plan.batch_norm else "linear"
    return Training(
        dataset=dataset.name,
        version=settings.version,
        class_names=tuple(dataset.class_names),
        batch_norm=plan.batch_norm,
        head="linear probe" if settings.mode == "probe" else "full fine-tuning",
        initialisation=plan.start.origin,
        frames=describe(dataset, indices, settings.train_split),
        scenes=tuple(scenes_of(dataset, indices)),
        details=(
            f"{student.name} at {student.voxel_size:g} m, {100 * settings.fraction:g} % "
            f"{settings.sampler}, "
            f"{plan.epochs} epochs, batch {settings.batch_size}, lr {plan.lr:g}, {layer}, "
            f"{settings.loss}, {augmentation}, seed {settings.seed}"
        ),
    )
