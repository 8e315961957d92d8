"""Train a segmenter from labels, on a frozen student (linear probe) or through it, and measure it
on others."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..cache.store.files.lock import writer_lock
from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import DATASETS_JOINED, WEIGHTS, load_module, weights_digest
from ..student.choices import SegmentationLoss
from ..student.clouds.augment import Augmentation
from ..student.clouds.extents import extent_fault
from ..student.segmentation import LinearProbe
from ..student.segmenter import CLASSIFIER_FILE, Segmenter, Training, load_segmenter
from ..student.student import Student
from ..words import quantity
from .datasets import LidarDataset, open_dataset
from .datasets.base import class_labels, class_mean, label_ids
from .datasets.denser_frames import with_input_sweeps
from .datasets.readers.intensity import dark_sweeps
from .datasets.registry import dataset_class
from .evaluate import SegmentationResult, common_scenes, measure_segmenter, write_confusion
from .process.device import choose_device
from .process.team import Team
from .results.cycles import Cycle, cycle_words
from .results.published import MINKUNET, SHARED, published
from .results.run_folder import (
    Run,
    RunResult,
    newest_run,
    notice,
    now,
    run_folder,
    versions,
    warn_unfinished,
)
from .settings.finetune import FinetuneSettings
from .settings.shared.choices import ClassMean
from .settings.shared.recipes import FinetuneRecipe, finetune_recipe
from .steps.labelled import (
    BadFrame,
    LabelledFrames,
    collate_labelled,
    describe,
    labelled_indices,
    labels_fault,
    scenes_of,
    usable,
)
from .steps.samplers import TRAIN_FRAMES, FrameSample, LabelledPart, listed_frames, sample_frames
from .steps.segmentation import SegmentationStep
from .training.batches import FrameOrder
from .training.job import Job
from .training.log import Losses, first_and_last, log_evaluation, read_log
from .training.loop import fit
from .training.seeds import seeded
from .training.starting_student import StartingStudent, choose_intensity, starting_student
from .training.state import TrainingProgress
from .training.stepping import check_step, frames_at_once
from .validation import SELECTED, Validation

PLACES = frozenset({"data_root", "checkpoint", "frames_file"})
"""Settings that say where a run reads, not what."""
UNDIGESTED = frozenset({"data_root"})
"""Those of which a run notes the training frames' names alone."""
DATASET = "nuscenes"
"""Trained on where neither the settings nor the student says another."""


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
    differences: list[str] = Field(default_factory=list)
    """In what this run differs from the paper's where its figures stand beside."""
    device: str
    out: Path

    def __str__(self) -> str:
        lines = [str(self.evaluation), str(self.losses)]
        lines += [f"skipped training frame {frame.id}: {frame.reason}" for frame in self.bad]
        if self.published:
            figures = ", ".join(f"{name} {miou:.2f}" for name, miou in self.published.items())
            here = f"; here {', '.join(self.differences)}" if self.differences else ""
            lines.append(
                f"the paper, whole dataset, MinkUNet-34, ViT-S, 100 epochs: {figures}{here}"
            )
        return "\n".join([*lines, str(self.out)])


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """What a run needs and its settings may leave open.

    Attributes:
        start: the student to start from.
        recipe: what the settings say, else the named recipe; nothing is open.
        mean: over which classes mIoU is taken.
    """

    start: StartingStudent
    recipe: FinetuneRecipe
    loss: SegmentationLoss
    lr: float
    mean: ClassMean

    @classmethod
    def of(
        cls, settings: FinetuneSettings, start: StartingStudent, mean: ClassMean
    ) -> "FinetunePlan":
        """What the settings say, else the recipe, else what suits the student and the dataset.

        Raises:
            CleverError: the settings contradict each other.
        """
        named = finetune_recipe(settings.recipe, settings.mode)
        own_values = {name: getattr(settings, name) for name in FinetuneRecipe.model_fields}
        recipe = FinetuneRecipe(
            **dict(named) | {name: value for name, value in own_values.items() if value is not None}
        )
        if not recipe.augment and settings.mix3d:
            raise CleverError(
                f"`mix3d={settings.mix3d:g}` mixes augmented frames alone; leave it out or "
                "give `augment=yes`"
            )
        if not recipe.augment or settings.batch_size == 1:  # nothing is there to mix with
            recipe = FinetuneRecipe.model_validate({**dict(recipe), "mix3d": 0.0})
        backbone = start.student.backbone
        return cls(
            start=start,
            recipe=recipe,
            loss=recipe.loss or backbone.finetuning_loss,
            lr=recipe.lr or backbone.peak_lr,
            mean=settings.mean or mean,
        )

    def record(self, settings: FinetuneSettings) -> FinetuneSettings:
        """The settings with nothing left open, as the run's folder keeps them."""
        student = self.start.student
        return settings.decided(
            **dict(self.recipe),
            checkpoint=self.start.checkpoint,
            student=student.name,
            voxel_size=student.voxel_size,
            ptv3_form=student.ptv3_form,
        ).decided(loss=self.loss, lr=self.lr, mean=self.mean)


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Train and measure, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no checkpoint, no labelled frames, frames in both parts, another run at
            ``out``, losses that are not finite.
    """
    _check(settings)
    team = Team.join(choose_device(settings.device))
    start = _start(settings)
    student, dataset = start.student, _dataset(settings, start, team)
    settings = settings.decided(dataset=dataset)
    choose_intensity(student, dataset, announce=team.first)
    train, val = (
        with_input_sweeps(open_dataset(part, dataset), settings.input_sweeps)
        for part in (settings.train_part, settings.val_part)
    )
    if team.first:
        _warn_of_sweeps(settings, start)
    plan = FinetunePlan.of(settings, start, class_mean(val))
    check_step(settings, team, plan.recipe.mix3d)
    held_out = labelled_indices(val, settings.val_split)
    sample = _training_frames(settings, train, {val.frame_ids[index] for index in held_out})
    inputs, record = _inputs(plan, train, sample.indices), plan.record(settings)
    name = f"finetune-{settings.mode}-{student.name}"
    out = settings.out or run_folder(
        name, record, inputs, PLACES, settings.new, team, FinetuneResult, UNDIGESTED
    )
    with Run.training(out, record.decided(out=out), team, inputs, PLACES) as run:
        finished = run.result(FinetuneResult)
        if finished:
            team.others_leave()
            restored = _readable(val, held_out, finished.evaluation.bad)
            if not restored:
                notice(f"{run.folder} is finished already; nothing to do")
                return finished
            notice(
                f"{run.folder} is finished; {quantity(restored, 'frame')} skipped before can be "
                "read now: measured again"
            )
            with writer_lock(run.folder, "out"):
                return _measured_again(finished, run, val, held_out, settings, plan, team)
        _warn_of_frames(settings, (train, sample.indices), (val, held_out))
        indices, bad = _usable_frames(train, sample.indices, _extent_check(settings, student, team))
        training = _describe(settings, plan, train, indices, sample, run.cycle)
        with seeded(settings.seed, "classifier"):
            classifier = LinearProbe(
                student.out_channels, len(train.class_names), plan.recipe.batch_norm
            )
        if run.cycle.earlier:
            _load_last(settings, run, student, classifier)
        _warn_of_common_scenes(training, val, held_out, team)
        validation = Validation(
            Segmenter(student, classifier),
            training,
            val,
            held_out,
            settings.val_split,
            plan.mean,
            team.device,
            run.folder,
            settings.keep == "best",
        )
        if team.first:
            ids = (train.frame_ids[index] for index in sample.indices)
            atomic_write(run.folder / TRAIN_FRAMES, "".join(f"{name}\n" for name in ids))
        progress = _train(settings, plan, validation, train, indices, inputs, run, team)
        team.others_leave()
        result = _result(settings, plan, validation, progress, bad)
        write_confusion(run.folder, result.evaluation)
        log_evaluation(run.folder, result.steps, result.evaluation.miou)
        run.finish(result)
        return result


def _readable(dataset: LidarDataset, indices: Sequence[int], skipped: Sequence[BadFrame]) -> int:
    """How many of the frames that a measurement skipped can be read now."""
    names = {frame.id for frame in skipped}
    count = 0
    for index in indices:
        if dataset.frame_ids[index] in names:
            with suppress(CleverError):
                dataset.points(index)
                class_labels(dataset, index)
                count += 1
    return count


def _measured_again(
    finished: FinetuneResult,
    run: Run,
    val: LidarDataset,
    held_out: Sequence[int],
    settings: FinetuneSettings,
    plan: FinetunePlan,
    team: Team,
) -> FinetuneResult:
    """A finished run with a new measurement of its weights, which is written in its folder."""
    segmenter, training = load_segmenter(run.folder)
    evaluation = measure_segmenter(
        segmenter, training, val, held_out, settings.val_split, team.device, plan.mean
    ).with_weights_of(run.folder)
    result = finished.model_copy(update={"evaluation": evaluation})
    write_confusion(run.folder, evaluation)
    log_evaluation(run.folder, result.steps, evaluation.miou)
    run.write_result(result)
    return result


def _warn_of_frames(settings: FinetuneSettings, *parts: tuple[LidarDataset, Sequence[int]]) -> None:
    """Say what is doubtful in the frames of the training part and of the validation part."""
    for part, frames in parts:
        if intensity_fault := dark_sweeps(part, frames):
            notice(intensity_fault)
    if label_fault := labels_fault(*parts[-1]):
        notice(f"{settings.val_split}: {label_fault}")


def _warn_of_sweeps(settings: FinetuneSettings, start: StartingStudent) -> None:
    """Say that a student was pre-trained on denser clouds than it is given here."""
    if start.input_sweeps > settings.input_sweeps:
        words = quantity(start.input_sweeps, "earlier sweep")
        notice(
            f"{start.checkpoint} was pre-trained with {words} in every cloud and is given "
            f"{settings.input_sweeps} here; give `input_sweeps={start.input_sweeps}` where the "
            "dataset has them"
        )


def _check(settings: FinetuneSettings) -> None:
    """Refuse settings that contradict each other."""
    if settings.keep == "best" and not settings.val_every:
        raise CleverError("`keep=best` needs measurements: give `val_every`")
    defaults = FinetuneSettings.model_fields
    for name in ("fraction", "sampler"):
        if settings.frames_file and getattr(settings, name) != defaults[name].default:
            raise CleverError(f"`frames_file` names the training frames; leave `{name}` out")


def _load_last(
    settings: FinetuneSettings, run: Run, student: Student, classifier: LinearProbe
) -> None:
    """Fill both parts with the last weights of their own run.

    Raises:
        CleverError: they are not there, or damaged.
    """
    if settings.keep == "best" and run.cycle.begins:
        raise CleverError(
            f"{run.folder} kept its best weights, not its last ones, so it cannot be prolonged; "
            "choose another `out`"
        )
    load_module(run.folder / WEIGHTS, student)
    load_module(run.folder / CLASSIFIER_FILE, classifier)


def _warn_of_common_scenes(
    training: Training, val: LidarDataset, held_out: list[int], team: Team
) -> None:
    """Say that the student has seen scenes in pre-training that it will be measured on."""
    scenes = common_scenes(training, val, held_out).get("pre-training")
    if scenes and team.first:
        notice(
            f"warning: {len(scenes)} of the "
            f"{quantity(len(scenes_of(val, held_out)), 'scene')} to measure on "
            f"were seen in pre-training, e.g. {min(scenes)}; a fair figure needs a student that "
            "was pre-trained on others"
        )


def _extent_check(
    settings: FinetuneSettings, student: Student, team: Team
) -> Callable[[NDArray[np.float32]], str]:
    """Says of a frame's bounds why it cannot be trained on; a frozen student takes small ones."""
    alone = settings.mode == "full" and frames_at_once(settings, team) == 1
    halvings = student.backbone.halvings if alone else None
    return partial(extent_fault, voxel_size=student.voxel_size, halvings=halvings)


def _usable_frames(
    dataset: LidarDataset, indices: list[int], fault: Callable[[NDArray[np.float32]], str]
) -> tuple[list[int], list[BadFrame]]:
    """Training frames that can be read, and those that are reported and left out.

    Raises:
        CleverError: none can be read.
    """
    good, bad = usable(dataset, indices, "check labels", fault)
    for frame in bad:
        notice(f"skipped frame {frame.id}: {frame.reason}")
    if not good:
        raise CleverError(
            f"none of the {quantity(len(indices), 'training frame')} can be used; the first: "
            f"{bad[0].reason}"
        )
    return good, bad


def _result(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    validation: Validation,
    progress: TrainingProgress,
    bad: list[BadFrame],
) -> FinetuneResult:
    """Measure the weights that stay, and say what the run was."""
    training, evaluation = _final_weights(settings, validation)
    alike = _measured_as_the_paper(settings, class_mean(validation.dataset))
    figures = published(training.dataset, settings.mode, settings.fraction) if alike else {}
    return FinetuneResult(
        job="finetune",
        finished=now(),
        seed=settings.seed,
        seconds=progress.seconds,
        versions=versions(),
        student=plan.start.student.name,
        training=training,
        losses=first_and_last(read_log(validation.folder)),
        steps=progress.step,
        bad=bad,
        evaluation=evaluation.with_weights_of(validation.folder),
        published=figures,
        differences=_differences(settings, plan) if figures else [],
        device=validation.device.type,
        out=validation.folder,
    )


def _measured_as_the_paper(settings: FinetuneSettings, mean: ClassMean) -> bool:
    """Whether the frames to train on are drawn, and the weights and the mean chosen, as there."""
    drawn = settings.sampler == "frames" and not settings.frames_file
    measured = settings.keep == "last" and settings.mean in (None, mean)
    return settings.recipe == "paper" and drawn and measured


def _differences(settings: FinetuneSettings, plan: FinetunePlan) -> list[str]:
    """In what a run's network and training differ from the paper's."""
    student = plan.start.student
    backbone = student.backbone
    recipe = finetune_recipe(settings.recipe, settings.mode)
    theirs = dict(recipe) | {
        "loss": recipe.loss or backbone.finetuning_loss,
        "lr": recipe.lr or backbone.peak_lr,
    }
    ours = dict(plan.recipe) | {"loss": plan.loss, "lr": plan.lr}
    for name in ("batch_size", "weight_decay", "schedule", "warmup", "clip_norm", "input_sweeps"):
        theirs[name] = FinetuneSettings.model_fields[name].default
        ours[name] = getattr(settings, name)
    network = [] if student.name == MINKUNET else [student.name]
    voxels = (
        [] if student.voxel_size == SHARED["voxel_size"] else [f"voxel_size {student.voxel_size}"]
    )
    others = [f"{name} {ours[name]}" for name in ours if ours[name] != theirs[name]]
    return [*network, *voxels, *others]


def _train(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    validation: Validation,
    dataset: LidarDataset,
    indices: list[int],
    inputs: dict[str, str],
    run: Run,
    team: Team,
) -> TrainingProgress:
    """Train the segmenter."""
    frozen, segmenter = settings.mode == "probe", validation.segmenter
    step = SegmentationStep(
        segmenter,
        frozen=frozen,
        loss=plan.loss,
        augmentation=Augmentation() if plan.recipe.augment else None,
        mix3d=plan.recipe.mix3d,
    )
    segmenter.student.recompute = settings.recompute
    ids = [dataset.frame_ids[index] for index in indices]
    job = Job(
        label="finetune",
        epochs=plan.recipe.epochs,
        lr=plan.lr,
        step=step,
        frames=LabelledFrames(dataset, indices),
        ids=ids,
        collate=collate_labelled,
        inputs={**inputs, "usable frames": hashlib.sha256("\n".join(ids).encode()).hexdigest()},
        export=lambda folder: segmenter.save(
            folder, validation.training, not (frozen and (folder / WEIGHTS).exists())
        ),
        measure=validation.measure,
        measure_every=settings.val_every,
    )
    return fit(job, settings, run, team)


def _final_weights(
    settings: FinetuneSettings, validation: Validation
) -> tuple[Training, SegmentationResult]:
    """The weights that stay in the run's folder, described and measured: the last ones, or those
    selected on the validation part."""
    training, segmenter = validation.training, validation.segmenter
    if settings.keep == "best":
        epoch = validation.best_epoch()
        note = f"weights of epoch {epoch}, selected by mIoU on the validation part"
        training = training.with_note(note)
        segmenter, _ = load_segmenter(validation.folder / SELECTED)
        segmenter.save(validation.folder, training)
    elif validation.newest:
        return training, validation.newest
    return training, validation.result(segmenter, training)


def _start(settings: FinetuneSettings) -> StartingStudent:
    """The student to start from; the newest pre-training run's, unless told otherwise.

    Raises:
        CleverError: see `newest_run` and `starting_student`.
    """
    checkpoint = settings.checkpoint or newest_run("pretrain")
    start = starting_student(
        checkpoint, settings.student, settings.voxel_size, settings.seed, settings.ptv3_form
    )
    if checkpoint != "none":
        warn_unfinished(checkpoint)
    return start


def _dataset(settings: FinetuneSettings, start: StartingStudent, team: Team) -> str:
    """Kind of the dataset: the one asked for, else the one that the student was pre-trained on,
    else `DATASET`; a line says which was taken.

    Raises:
        CleverError: the student was pre-trained on a dataset that is not known here.
    """
    if settings.dataset is not None:
        return settings.dataset
    if DATASETS_JOINED in start.dataset:
        raise CleverError(
            f"{start.checkpoint} was pre-trained on {start.dataset}; choose one as `dataset`"
        )
    if start.dataset:
        try:
            dataset_class(start.dataset)
        except CleverError as error:
            raise CleverError(f"{start.checkpoint} was pre-trained on it, but {error}") from error
    name = start.dataset or DATASET
    if team.first:
        origin = "that of the pre-training" if start.dataset else "unless told otherwise"
        notice(f"`dataset={name}`, {origin}")
    return name


def _inputs(plan: FinetunePlan, dataset: LidarDataset, sample: list[int]) -> dict[str, str]:
    """Digests of what a run reads."""
    ids = "\n".join(dataset.frame_ids[index] for index in sample)
    checkpoint = plan.start.checkpoint
    return {
        "training frames": hashlib.sha256(ids.encode()).hexdigest(),
        "student weights": "random" if checkpoint == "none" else weights_digest(checkpoint),
    }


def _training_frames(
    settings: FinetuneSettings, dataset: LidarDataset, held_out: set[str]
) -> FrameSample:
    """Frames to train on.

    Raises:
        CleverError: none is labelled, one is also measured on, or see `listed_frames` and
            `sample_frames`.
    """
    labelled = labelled_indices(dataset, settings.train_split)
    shared = [index for index in labelled if dataset.frame_ids[index] in held_out]
    if shared:
        raise CleverError(
            f"{quantity(len(shared), 'frame')} in both the training and the validation part, e.g. "
            f"{dataset.frame_ids[shared[0]]}; choose other `train_sequences` or `val_sequences` "
            "(or splits)"
        )
    if settings.frames_file:
        indices = listed_frames(settings.frames_file, dataset, labelled, settings.train_split)
        rule = f"frames of {settings.frames_file.name}"
    else:
        part = LabelledPart(labelled, dataset.scenes)
        indices = sample_frames(part, settings.fraction, settings.sampler, settings.seed)
        rule = f"{100 * settings.fraction:g} % by {settings.sampler}"
        if settings.fraction < 1 and len(indices) == len(labelled) > 1:
            notice(
                f"`sampler={settings.sampler}` takes all "
                f"{quantity(len(indices), 'labelled frame')}, not "
                f"{100 * settings.fraction:g} %: they are of {len(part.scene_names)} scene; "
                "`sampler=frames` or `sampler=every-nth` takes some"
            )
    return FrameSample(indices, f"{rule} ({len(indices)} of {len(labelled)} labelled)")


def _describe(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    dataset: LidarDataset,
    indices: list[int],
    sample: FrameSample,
    cycle: Cycle,
) -> Training:
    """The run in words, for the protocol line; of the sample the frames at `indices` can be
    used."""
    student, recipe = plan.start.student, plan.recipe
    mixed = f"augmentation, Mix3D {recipe.mix3d:g}"
    augmentation = mixed if recipe.augment else "no augmentation"
    order = FrameOrder(len(indices), recipe.epochs, settings.batch_size, settings.seed)
    epochs = cycle_words(recipe.epochs, cycle.lengths(recipe.epochs), order.draws)
    layer = "batch norm + linear" if recipe.batch_norm else "linear"
    sweeps = f", {quantity(settings.input_sweeps, 'earlier sweep')} in the input"
    return Training(
        dataset=dataset.name,
        version=settings.version,
        class_names=tuple(dataset.class_names),
        label_ids=tuple(label_ids(dataset, dataset.class_names)),
        batch_norm=recipe.batch_norm,
        head="linear probe" if settings.mode == "probe" else "full fine-tuning",
        initialisation=plan.start.origin,
        frames=describe(dataset, indices, settings.train_split, len(sample.indices)),
        scenes=tuple(scenes_of(dataset, indices)),
        pretraining=plan.start.dataset,
        pretraining_scenes=plan.start.scenes,
        input_sweeps=settings.input_sweeps,
        details=(
            f"{student.name} at {student.voxel_size:g} m"
            f"{sweeps if settings.input_sweeps else ''}, {sample.rule}, "
            f"recipe {settings.recipe}, {epochs}, batch {settings.batch_size}, "
            f"lr {plan.lr:g}, {layer}, {plan.loss}, {augmentation}, seed {settings.seed}"
        ),
    )
