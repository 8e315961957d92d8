"""Stage two: train a LiDAR student from a feature cache alone: no images, no dataset, no
teacher."""

from collections.abc import Iterator, Sequence

from ..cache import FeatureCache
from ..cache.standardise import standardise
from ..words import quantity
from .pretraining.contrast_run import (
    collation,
    neighbour_doubt,
    with_passes,
)
from .pretraining.frames import input_digests, store_facts, training_frames, unpaired_frames
from .pretraining.idle_settings import idle_settings
from .pretraining.networks import build_step
from .pretraining.recipe_changes import recipe_changes
from .pretraining.result import PretrainResult
from .pretraining.several_caches import (
    cached_parts,
    common_frames,
    intensity_words,
    mixing_words,
    mixture,
    part_words,
)
from .pretraining.silent_terms import silent_terms
from .pretraining.stores import matched_layers, open_stores
from .pretraining.unanswered_queries import unanswered_queries
from .pretraining.weights import check_intensity, export, load_last, start_from
from .process.device import choose_device
from .process.team import Team
from .rankme import Ranks, student_ranks
from .results.run_folder import Run, notice, now, run_folder, versions, warn_unfinished
from .settings.pretrain import PretrainSettings
from .settings.shared.base import SETTINGS_FILE
from .settings.shared.choices import PointChoice
from .steps.cached_part import CachedPart
from .steps.distillation import DistillationStep
from .steps.mixed_frames import MixedFrames, WholeFrames
from .training.job import Job
from .training.log import Scalars, first_and_last, read_log
from .training.loop import fit
from .training.mixture import Mixture
from .training.state import TrainingProgress
from .training.stepping import check_step

PLACES = frozenset({"cache", "init"})
"""Settings that say where a run reads, not what."""


def pretrain(settings: PretrainSettings) -> PretrainResult:
    """Train, or go on with the run in ``settings.out``, or report that it is finished.

    Started by ``torchrun`` or ``accelerate launch``, several processes share every batch; the first
    one returns, the others end here.

    Raises:
        CleverError: no such cache or teacher, no frame with pairs, another run at ``out``, losses
            that are not finite.
        KeyboardInterrupt: the user stopped the run; its state is kept.
    """
    team = Team.join(choose_device(settings.device))
    check_step(settings, team, settings.mix3d)
    stores = open_stores(settings)
    caches = stores[0]
    if settings.targets == "standardised":
        for layers in zip(*stores, strict=True):
            standardise(layers)
    step = build_step(settings, caches)
    lr = settings.lr or step.student.backbone.peak_lr
    form = step.student.ptv3_form
    teachers = tuple(cache.teacher.id for cache in caches)
    match = matched_layers(settings)
    points = _points(settings)
    parts = cached_parts(settings, stores)
    frames = training_frames(settings, stores, parts, step, points, team)
    step.stores = store_facts(settings, frames)
    mixed = mixture(settings, frames)
    inputs = input_digests(settings, frames)
    record = settings.decided(teacher=teachers, match=match, lr=lr, ptv3_form=form, points=points)
    name = f"pretrain-{settings.student}"
    out = settings.out or run_folder(
        name, record, inputs, PLACES, settings.new, team, PretrainResult
    )
    with Run.training(out, record.decided(out=out), team, inputs, PLACES) as run:
        finished = run.result(PretrainResult)
        if finished:
            team.others_leave()
            notice(
                f"{run.folder} is finished already ({quantity(finished.epochs, 'epoch')}); "
                "nothing to do"
            )
            return finished
        for line in _remarks(settings, stores, parts, frames) if team.first else ():
            notice(line)
        unpaired = [name for part in frames.parts for name in unpaired_frames(part, team)]
        if run.cycle.earlier:
            load_last(run.folder, step)
        elif settings.init:
            words = start_from(settings.init, step)
            check_intensity(settings)
            if team.first:
                warn_unfinished(settings.init)
                notice(words)
        progress, ranks = _train(settings, lr, step, frames, mixed, inputs, run, team)
        team.others_leave()
        records = read_log(run.folder)
        for doubt in (
            unanswered_queries(settings, step.student.voxel_size, records),
            silent_terms(settings, records),
        ):
            if doubt:
                notice(doubt)
        result = _result(settings, parts, frames, unpaired, progress, ranks, run, team)
        run.finish(result)
        return result


def _remarks(
    settings: PretrainSettings,
    stores: Sequence[Sequence[FeatureCache]],
    parts: Sequence[CachedPart],
    frames: MixedFrames,
) -> Iterator[str]:
    """What a user should know before the first step, a line each."""
    for part, store in zip(parts, stores, strict=True):
        if len(part.ids) < len(store[0]):
            yield f"{store[0].path}: {part.words}"
    yield from common_frames(frames.parts)
    yield from idle_settings(settings)
    if doubt := neighbour_doubt(settings, stores[0][0], frames.first.ids):
        yield doubt


def _result(
    settings: PretrainSettings,
    parts: list[CachedPart],
    frames: MixedFrames,
    unpaired: list[str],
    progress: TrainingProgress,
    ranks: Ranks | None,
    run: Run,
    team: Team,
) -> PretrainResult:
    """What the run was."""
    caches = frames.first.caches
    return PretrainResult(
        job="pretrain",
        finished=now(),
        seed=settings.seed,
        seconds=progress.seconds,
        versions=versions(),
        student=settings.student,
        dataset=frames.dataset,
        teachers=[cache.teacher.description for cache in caches],
        teacher_ids=[cache.teacher.id for cache in caches],
        fingerprints=[cache.teacher.fingerprint.values() for cache in caches],
        matches=list(matched_layers(settings) or ()),
        regions=frames.first.regions.info.id if frames.first.regions else "",
        part=part_words(parts, frames),
        frames=len(frames),
        unpaired=unpaired,
        missing=frames.missing,
        unfit=frames.unfit,
        epochs=settings.epochs,
        cycles=run.cycle.lengths(settings.epochs),
        batch_size=settings.batch_size,
        steps=progress.step,
        losses=first_and_last(read_log(run.folder)),
        best_epoch=progress.best_epoch,
        start=str(settings.init) if settings.init else "",
        points="voxel" if frames.first.thinning else "all",
        ranks=ranks,
        mixing=mixing_words(settings, frames),
        intensity=intensity_words(settings),
        targets=_target_words(settings),
        recipe=settings.recipe,
        changes=recipe_changes(settings),
        precision=settings.precision,
        processes=team.size,
        device=team.device.type,
        out=run.folder,
    )


def _target_words(settings: PretrainSettings) -> str:
    """What was done to the teacher's features: ``raw``, ``standardised, centred by frames``."""
    centred = "" if settings.centre == "none" else f", centred by {settings.centre}"
    return f"{settings.targets}{centred}"


def _points(settings: PretrainSettings) -> PointChoice:
    """Which points take part: where the user left it open those of the run that goes on, or one a
    voxel."""
    record = settings.out and settings.out / SETTINGS_FILE
    recorded = PretrainSettings.recorded(record).points if record and record.exists() else None
    return settings.points or recorded or "voxel"


def _train(
    settings: PretrainSettings,
    lr: float,
    step: DistillationStep,
    frames: MixedFrames,
    mixed: Mixture | None,
    inputs: dict[str, str],
    run: Run,
    team: Team,
) -> tuple[TrainingProgress, Ranks | None]:
    """Train; returns the ranks of the last weights too, if they were asked for."""
    ranks: list[Ranks] = []

    def measure() -> Scalars:
        ranks.append(_ranks(step, frames, settings, team))
        return ranks[-1].scalars()

    job = Job(
        label="pretrain",
        epochs=settings.epochs,
        lr=lr,
        step=step,
        frames=with_passes(settings, frames),
        ids=frames.ids,
        collate=collation(settings),
        inputs=inputs,
        export=lambda folder: export(step, frames, settings.init, folder),
        mixture=mixed,
        measure=measure,
        measure_every=settings.rankme_every,
    )
    progress = fit(job, settings, run, team)
    if settings.rankme_every and team.first and not ranks:
        measure()  # a run that was killed after its last step
    return progress, ranks[-1] if ranks else None


def _ranks(
    step: DistillationStep, frames: MixedFrames, settings: PretrainSettings, team: Team
) -> Ranks:
    """RankMe and matrix rank of the student as it is, on whole training frames."""
    sample = WholeFrames(frames, step.stores.intensities)
    return student_ranks(step.student, sample, team.device, seed=settings.seed)
