"""Train a segmenter from labels, on a frozen student (linear probe) or through it, and measure it
on others."""

import hashlib

from ..cache.store.files.lock import writer_lock
from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import WEIGHTS, load_module, weights_digest
from ..student.clouds.augment import Augmentation
from ..student.segmentation import LinearProbe
from ..student.segmenter import CLASSIFIER_FILE, Segmenter, load_segmenter
from ..student.student import Student
from ..words import quantity
from .datasets.base import class_mean
from .evaluate import measure_segmenter, write_confusion
from .finetuning.comparison import differences_of, measured_as_the_paper
from .finetuning.description import describe_training
from .finetuning.frames import (
    TaskFrames,
    extent_check,
    open_parts,
    readable_count,
    usable_frames,
    warn_of_common_scenes,
    warn_of_frames,
    warn_of_sweeps,
)
from .finetuning.plan import FinetunePlan, dataset_kind, starting_point
from .finetuning.result import FinetuneResult
from .finetuning.validation import Validation
from .process.device import choose_device
from .process.team import Team
from .results.published import published
from .results.run_folder import Run, notice, now, run_folder, versions
from .settings.finetune import FinetuneSettings
from .steps.labelled import BadFrame, LabelledFrames, collate_labelled
from .steps.samplers import TRAIN_FRAMES
from .steps.segmentation import SegmentationStep
from .training.job import Job
from .training.log import first_and_last, log_evaluation, read_log
from .training.loop import fit
from .training.seeds import seeded
from .training.starting_student import choose_intensity
from .training.state import TrainingProgress
from .training.stepping import check_step

PLACES = frozenset({"data_root", "checkpoint", "frames_file"})
"""Settings that say where a run reads, not what."""
UNDIGESTED = frozenset({"data_root"})
"""Those of which a run notes the training frames' names alone."""


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Train and measure, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no checkpoint, no labelled frames, frames in both parts, another run at
            ``out``, losses that are not finite.
    """
    _check(settings)
    team = Team.join(choose_device(settings.device))
    start = starting_point(settings)
    dataset = dataset_kind(settings, start, announce=team.first)
    settings = settings.decided(dataset=dataset)
    choose_intensity(start.student, dataset, announce=team.first)
    train, val = open_parts(settings, dataset)
    if team.first:
        warn_of_sweeps(settings, start)
    plan = FinetunePlan.of(settings, start, class_mean(val))
    check_step(settings, team, plan.recipe.mix3d)
    parts = TaskFrames.of(settings, train, val)
    inputs, record = _inputs(plan, parts), plan.record(settings)
    name = f"finetune-{settings.mode}-{start.student.name}"
    out = settings.out or run_folder(
        name, record, inputs, PLACES, settings.new, team, FinetuneResult, UNDIGESTED
    )
    with Run.training(out, record.decided(out=out), team, inputs, PLACES) as run:
        finished = run.result(FinetuneResult)
        if finished:
            team.others_leave()
            return _result_again(finished, run, parts, settings, plan, team)
        result = _new_result(settings, plan, parts, inputs, run, team)
        run.finish(result)
        return result


def _result_again(
    finished: FinetuneResult,
    run: Run,
    parts: TaskFrames,
    settings: FinetuneSettings,
    plan: FinetunePlan,
    team: Team,
) -> FinetuneResult:
    """The result of a finished run; where frames that it skipped can be read now, with a new
    measurement of its weights, which is written in its folder."""
    restored = readable_count(parts, finished.evaluation.bad)
    if not restored:
        notice(f"{run.folder} is finished already; nothing to do")
        return finished
    notice(
        f"{run.folder} is finished; {quantity(restored, 'frame')} skipped before can be "
        "read now: measured again"
    )
    with writer_lock(run.folder, "out"):
        segmenter, training = load_segmenter(run.folder)
        evaluation = measure_segmenter(
            segmenter, training, parts.val, parts.held_out, settings.val_split, team.device,
            plan.mean,
        ).with_weights_of(run.folder)  # fmt: skip
        result = finished.model_copy(update={"evaluation": evaluation})
        write_confusion(run.folder, evaluation)
        log_evaluation(run.folder, result.steps, evaluation.miou)
        run.write_result(result)
    return result


def _new_result(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    parts: TaskFrames,
    inputs: dict[str, str],
    run: Run,
    team: Team,
) -> FinetuneResult:
    """Train and measure, in the folder of `run`."""
    student, train, val = plan.start.student, parts.train, parts.val
    warn_of_frames(settings, parts)
    indices, bad = usable_frames(parts, extent_check(settings, student, team))
    training = describe_training(settings, plan, parts, indices, run.cycle)
    with seeded(settings.seed, "classifier"):
        classifier = LinearProbe(
            student.out_channels, len(train.class_names), plan.recipe.batch_norm
        )
    if run.cycle.earlier:
        _load_last(settings, run, student, classifier)
    if team.first:
        warn_of_common_scenes(training, parts)
        ids = (train.frame_ids[index] for index in parts.sample.indices)
        atomic_write(run.folder / TRAIN_FRAMES, "".join(f"{name}\n" for name in ids))
    segmenter, selects = Segmenter(student, classifier), settings.keep == "best"
    validation = Validation(
        segmenter, training, val, parts.held_out, settings.val_split, plan.mean, team.device,
        run.folder, selects,
    )  # fmt: skip
    progress = _train(settings, plan, validation, parts, indices, inputs, run, team)
    team.others_leave()
    result = _result(settings, plan, validation, progress, bad)
    write_confusion(run.folder, result.evaluation)
    log_evaluation(run.folder, result.steps, result.evaluation.miou)
    return result


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


def _train(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    validation: Validation,
    parts: TaskFrames,
    indices: list[int],
    inputs: dict[str, str],
    run: Run,
    team: Team,
) -> TrainingProgress:
    """Train the segmenter on the frames at `indices`."""
    dataset = parts.train
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


def _result(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    validation: Validation,
    progress: TrainingProgress,
    bad: list[BadFrame],
) -> FinetuneResult:
    """Measure the weights that stay, and say what the run was."""
    training, evaluation = validation.final()
    alike = measured_as_the_paper(settings, class_mean(validation.dataset))
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
        differences=differences_of(settings, plan) if figures else [],
        device=validation.device.type,
        out=validation.folder,
    )


def _inputs(plan: FinetunePlan, parts: TaskFrames) -> dict[str, str]:
    """Digests of what a run reads."""
    ids = "\n".join(parts.train.frame_ids[index] for index in parts.sample.indices)
    checkpoint = plan.start.checkpoint
    return {
        "training frames": hashlib.sha256(ids.encode()).hexdigest(),
        "student weights": "random" if checkpoint == "none" else weights_digest(checkpoint),
    }
