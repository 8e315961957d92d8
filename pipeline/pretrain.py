"""Stage two: train a LiDAR student from a feature cache alone: no images, no dataset, no
teacher."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from ..cache import FeatureCache
from ..cache.choices import INTERPOLATED
from ..cache.standardise import standardise
from ..errors import CleverError
from ..student.checkpoint import (
    WEIGHTS,
    load_module,
    read_meta,
    save_module,
    save_student,
    weights_digest,
)
from ..student.clouds.augment import PRESETS
from ..student.clouds.extents import extent_fault
from ..student.heads import ProjectionHead
from ..student.losses.occupancy import OccupancyHead
from ..student.registry import build_student
from ..student.sampling.queries import ALSO, PAPER, OccupancyTask
from ..student.student import Student
from ..words import quantity
from .process.device import choose_device
from .process.team import Team
from .rankme import Ranks, student_ranks
from .results.cycles import cycle_words
from .results.run_folder import Run, RunResult, notice, now, run_folder, versions, warn_unfinished
from .settings.pretrain import PretrainSettings
from .settings.shared.base import SETTINGS_FILE
from .settings.shared.choices import PointChoice
from .steps.cached_frames import PairedFrames
from .steps.cached_part import CachedPart
from .steps.contrast import ContrastStep
from .steps.contrast_run import (
    collation,
    contrast_step,
    dense_sweeps,
    input_sweeps,
    neighbour_doubt,
    region_layer,
    term_weights,
    with_passes,
)
from .steps.distillation import DistillationStep, Stores
from .steps.lessons import layer_matches, lessons_of
from .steps.mixed_frames import MixedFrames, WholeFrames
from .steps.several_caches import (
    agreeing_layer,
    cached_parts,
    content_digest,
    intensity_norm,
    intensity_words,
    mixing_words,
    mixture,
    part_words,
    store_names,
)
from .steps.voxel_points import VoxelPoints
from .training.job import Job
from .training.log import Losses, Scalars, first_and_last, read_log
from .training.loop import fit
from .training.mixture import Mixture
from .training.seeds import seeded
from .training.state import TrainingProgress
from .training.stepping import check_step, frames_at_once

TERMS_FILE = "terms.safetensors"
OCCUPANCY_FILE = "occupancy.safetensors"
CLASS_TOKEN_FILE = "class-token.safetensors"
PLACES = frozenset({"cache", "init"})
"""Settings that say where a run reads, not what."""


class PretrainResult(RunResult):
    """What a pre-training run was and how its losses went."""

    student: str
    dataset: str
    teachers: list[str]
    """Where the teachers' weights come from, in words."""
    teacher_ids: list[str]
    fingerprints: list[dict[str, Any]]
    matches: list[str] = Field(default_factory=list)
    """Which layer taught which stage with which weight, where that was chosen."""
    part: str
    """Which frames of the cache were used, in words."""
    frames: int
    unpaired: list[str]
    """Frames none of whose points is seen by a camera."""
    missing: list[str]
    """Frames that only some of several teachers have; they are left out."""
    unfit: dict[str, str] = Field(default_factory=dict)
    """Frames that the student cannot be trained on, left out, and why."""
    epochs: int
    cycles: list[int] = Field(default_factory=list)
    """Passes of each cycle of the schedule; several where a finished run was prolonged."""
    steps: int
    batch_size: int | None = None
    """Frames a step; None in older results."""
    losses: Losses
    best_epoch: int
    """Pass with the lowest mean loss; its weights are in ``best/``."""
    points: PointChoice = "all"
    """Which points had pairs and queries."""
    ranks: Ranks | None
    """Of the last weights."""
    mixing: str = ""
    """How the frames of several caches alternate, in words; empty for one."""
    intensity: str = "raw"
    """How intensities were given to the student, in words."""
    targets: str = "raw"
    """How teacher features were given, in words."""
    recipe: str
    precision: str
    processes: int
    device: str
    out: Path

    def __str__(self) -> str:
        origin = " and ".join(dict.fromkeys(self.teachers))
        matched = f"matched {', '.join(self.matches)}, " if self.matches else ""
        shared = f" x {self.processes}" if self.processes > 1 else ""
        batch = f" of {self.batch_size}" if self.batch_size else ""
        draws = self.steps * (self.batch_size or 0) / self.frames
        lines = [
            f"{self.student} distilled from {origin}: {self.dataset}, {self.part}, "
            f"{self.frames} used, {matched}"
            f"{cycle_words(self.epochs, self.cycles, draws)}, "
            f"{quantity(self.steps, 'step')}{batch}, "
            f"{f'{self.mixing}, ' if self.mixing else ''}recipe {self.recipe}, "
            f"points {self.points}, "
            f"{'' if self.intensity == 'raw' else f'intensity {self.intensity}, '}"
            f"{'' if self.targets == 'raw' else f'targets {self.targets}, '}"
            f"seed {self.seed}, {self.precision}, {self.device}{shared}, "
            f"{self.seconds / 60:.1f} min",
            str(self.losses),
        ]
        if self.ranks:
            plain, centred = self.ranks.uncentred, self.ranks.centred
            lines.append(
                f"RankMe {plain.rankme:.3f} (centred {centred.rankme:.3f}), matrix rank "
                f"{plain.matrix_rank} "
                f"(centred {centred.matrix_rank}): backbone features of "
                f"{quantity(self.ranks.rows, 'point')} "
                "of "
                f"{quantity(self.ranks.frames, 'training frame')}, seed {self.ranks.seed}"
            )
        return "\n".join([*lines, str(self.out)])


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
    match = _matches(settings)
    points = _points(settings)
    parts = cached_parts(settings, stores)
    frames = _frames(settings, stores, parts, step, points, team)
    step.stores = _stores(settings, frames)
    mixed = mixture(settings, frames)
    inputs = _inputs(settings, frames)
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
        for part, store in zip(parts, stores, strict=True):
            if team.first and len(part.ids) < len(store[0]):
                notice(f"{store[0].path}: {part.words}")
        if team.first and (doubt := neighbour_doubt(settings, caches[0], frames.first.ids)):
            notice(doubt)
        unpaired = [name for part in frames.parts for name in _unpaired(part, team)]
        if run.cycle.earlier:
            _load_last(run.folder, step)
        elif settings.init:
            words = start_from(settings.init, step)
            _check_intensity(settings)
            if team.first:
                warn_unfinished(settings.init)
                notice(words)
        progress, ranks = _train(settings, lr, step, frames, mixed, inputs, run, team)
        team.others_leave()
        result = _result(settings, parts, frames, unpaired, progress, ranks, run, team)
        run.finish(result)
        return result


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
        matches=list(_matches(settings) or ()),
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
        points="voxel" if frames.first.thinning else "all",
        ranks=ranks,
        mixing=mixing_words(settings, frames),
        intensity=intensity_words(settings),
        targets=_target_words(settings),
        recipe=settings.recipe,
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
    written = settings.out and settings.out / SETTINGS_FILE
    recorded = PretrainSettings.recorded(written).points if written and written.exists() else None
    return settings.points or recorded or "voxel"


def point_thinning(points: PointChoice, step: DistillationStep) -> VoxelPoints | None:
    """What leaves points of a frame out before a step; None where all take part."""
    if points == "all":
        return None
    return VoxelPoints(step.student.voxel_size, step.augmentation)


def _frames(
    settings: PretrainSettings,
    stores: Sequence[list[FeatureCache]],
    parts: Sequence[CachedPart],
    step: DistillationStep,
    points: PointChoice,
    team: Team,
) -> MixedFrames:
    """The frames of the run; raises as `PairedFrames` does."""
    fault = _extent_check(settings, step.student, team)
    thinning = point_thinning(points, step)
    return MixedFrames(
        [
            PairedFrames(
                caches,
                part.ids,
                limit=settings.limit,
                view=settings.view,
                thinning=thinning,
                pairs=settings.pairs,
                fault=fault,
                class_tokens=class_token_teacher(settings, caches),
                regions=region_layer(settings),
                input_sweeps=input_sweeps(settings),
                dense_sweeps=dense_sweeps(settings),
            )
            for caches, part in zip(stores, parts, strict=True)
        ],
        store_names([caches[0] for caches in stores]),
    )


def _stores(settings: PretrainSettings, frames: MixedFrames) -> Stores:
    """What the step is told of the stores."""
    norms = ()
    if settings.intensity == "standardised":
        norms = tuple(
            intensity_norm(part, part.caches[0].name if len(frames.parts) == 1 else name)
            for part, name in zip(frames.parts, frames.names, strict=True)
        )
    names = frames.names if len(frames.parts) > 1 else ()
    return Stores(names, norms, settings.mix3d_across)


def _inputs(settings: PretrainSettings, frames: MixedFrames) -> dict[str, str]:
    """Digests of what a run reads."""
    if len(frames.parts) > 1:
        inputs = {
            f"cache {number} ({name})": content_digest(part)
            for number, (name, part) in enumerate(zip(frames.names, frames.parts, strict=True), 1)
        }
    else:
        inputs = {
            "teacher": " ".join(cache.teacher.id for cache in frames.first.caches),
            "frames": hashlib.sha256("\n".join(frames.ids).encode()).hexdigest(),
        }
    if frames.first.regions:
        inputs["regions"] = frames.first.regions.info.id
    if settings.init:
        inputs["initial weights"] = weights_digest(settings.init)
    return inputs


def start_from(folder: Path, step: DistillationStep) -> str:
    """Fill a fresh step with the weights of a run: its student, and those heads that fit; returns
    in words what was taken.

    Raises:
        CleverError: `folder` holds no student, or another one.
    """
    student = step.student
    description = read_meta(folder / WEIGHTS)
    own = (student.name, student.voxel_size)
    if (description.get("student"), description.get("voxel_size")) != own:
        raise CleverError(
            f"{folder} holds a {description.get('student')} with voxels of "
            f"{description.get('voxel_size')} m, not a {own[0]} with {own[1]} m; change `student` "
            "and `voxel_size`, or `init`"
        )
    load_module(folder / WEIGHTS, student)
    parts: dict[str, nn.Module] = {"occupancy": step.occupancy} if step.occupancy else {}
    parts |= {"class token": step.class_head} if step.class_head else {}
    parts |= {f"head of {name}": head for name, head in zip(step.teachers, step.heads, strict=True)}
    fresh = [name for name, module in parts.items() if not _filled(folder, name, module)]
    part_names = ["student", *(name for name in parts if name not in fresh)]
    anew = f"; new: {', '.join(fresh)}" if fresh else ""
    return f"starts from {folder}: {', '.join(part_names)}{anew}; optimiser and schedule begin anew"


def _check_intensity(settings: PretrainSettings) -> None:
    """Whether the student of `init` takes intensities as this run gives them.

    Raises:
        CleverError: it does not.
    """
    assert settings.init
    own = "standardised" if read_meta(settings.init / WEIGHTS).get("intensities") else "raw"
    if own != settings.intensity:
        raise CleverError(
            f"the student in {settings.init} takes intensities {own}; change `intensity` or `init`"
        )


def _load_last(folder: Path, step: DistillationStep) -> None:
    """Fill a step with the last weights of its own run.

    Raises:
        CleverError: one of the files is missing or damaged.
    """
    load_module(folder / WEIGHTS, step.student)
    for name, head in zip(step.teachers, step.heads, strict=True):
        load_module(folder / head_file(name, len(step.teachers)), head)
    for file, module in _further_parts(step).items():
        load_module(folder / file, module)


def _further_parts(step: DistillationStep) -> dict[str, nn.Module]:
    """What is trained beside student and projection heads, by its file."""
    parts: dict[str, nn.Module | None] = {
        OCCUPANCY_FILE: step.occupancy,
        CLASS_TOKEN_FILE: step.class_head,
        TERMS_FILE: step.terms if isinstance(step, ContrastStep) else None,
    }
    return {file: module for file, module in parts.items() if module is not None}


def _filled(folder: Path, name: str, module: nn.Module) -> bool:
    """Fill a head from the file of a run; False where it has none that fits."""
    teacher = name.removeprefix("head of ")
    own_file = {"occupancy": OCCUPANCY_FILE, "class token": CLASS_TOKEN_FILE}.get(name)
    files = [folder / (own_file or head_file(teacher, count)) for count in (1, 2)]
    for file in files:
        if file.is_file() and (own_file or read_meta(file)["teacher"] == teacher):
            try:
                load_module(file, module)
            except CleverError:
                return False
            return True
    return False


def open_stores(settings: PretrainSettings) -> list[list[FeatureCache]]:
    """Every cache as `open_teachers` opens the first: the others by the layers that agree with its
    in all but image size and storage.

    Raises:
        CleverError: as `open_teachers`; a cache has no such layer, or is named twice.
    """
    places = [str(place) for place in settings.caches]
    if len(set(places)) < len(places):
        raise CleverError(f"`cache` names {', '.join(places)}: give each once")
    first = open_teachers(settings)
    others = [
        [FeatureCache(place, agreeing_layer(cache.teacher, place)) for cache in first]
        for place in settings.caches[1:]
    ]
    for cache in (cache for caches in others for cache in caches):
        _check_interpolation(settings, cache)
    return [first, *others]


def open_teachers(settings: PretrainSettings) -> list[FeatureCache]:
    """The first cache, once for each layer that teaches: those matched, else those of `teacher`."""
    place = settings.caches[0]
    names = settings.teacher or (None,)
    if settings.match:
        matched = dict.fromkeys(each.layer for each in layer_matches(settings.match, place))
        if settings.teacher and set(settings.teacher) != matched.keys():
            raise CleverError(
                "`match` says which layers teach, and `teacher` names others; leave one of them out"
            )
        names = tuple(matched)
    caches = [FeatureCache(place, name) for name in names]
    for cache in caches:
        _check_interpolation(settings, cache)
    ids = [cache.teacher.id for cache in caches]
    if len(set(ids)) < len(ids):
        raise CleverError(f"`teacher` names {', '.join(ids)}: give each teacher once")
    return caches


def _check_interpolation(settings: PretrainSettings, cache: FeatureCache) -> None:
    """Whether a layer's features of pairs were interpolated as the run would.

    Raises:
        CleverError: they were not.
    """
    if settings.centre == "patches" and cache.teacher.tokens in INTERPOLATED:
        raise CleverError(
            f"{cache.teacher.id} of {cache.path} holds features of pairs and knows no patches; "
            "choose `centre=frames`"
        )
    own = INTERPOLATED.get(cache.teacher.tokens, settings.align_corners)
    if own != settings.align_corners:
        raise CleverError(
            f"{cache.teacher.id} of {cache.path} holds features interpolated with "
            f"`align_corners={'yes' if own else 'no'}`; choose that, or make a layer with other "
            "`tokens`"
        )


def _matches(settings: PretrainSettings) -> tuple[str, ...] | None:
    """The settings' matches with the ids of the layers."""
    if not settings.match:
        return None
    return tuple(map(str, layer_matches(settings.match, settings.caches[0])))


def class_token_teacher(settings: PretrainSettings, caches: list[FeatureCache]) -> int | None:
    """Which of the caches gives class tokens: the first one that has any; None without that loss.

    Raises:
        CleverError: none of them has.
    """
    if not settings.class_token_weight:
        return None
    for number, cache in enumerate(caches):
        if cache.teacher.fingerprint.class_token:
            return number
    ids = ", ".join(cache.teacher.id for cache in caches)
    raise CleverError(
        f"{caches[0].path} holds no class tokens of {ids}; make a layer that does with "
        "`class_token=yes` of cache-teacher, or give `class_token_weight=0`"
    )


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
        export=lambda folder: _export(step, frames, settings.init, folder),
        mixture=mixed,
        measure=measure,
        measure_every=settings.rankme_every,
    )
    progress = fit(job, settings, run, team)
    if settings.rankme_every and team.first and not ranks:
        measure()  # a run that was killed after its last step
    return progress, ranks[-1] if ranks else None


def build_step(settings: PretrainSettings, caches: list[FeatureCache]) -> DistillationStep:
    """All that is trained, with fresh weights from the settings' seed."""
    with seeded(settings.seed, "student"):
        student = build_student(
            settings.student, settings.voxel_size, settings.patch, settings.ptv3_form
        )
    student.recompute = settings.recompute
    matches = layer_matches(settings.match, settings.caches[0]) if settings.match else []
    lessons = lessons_of(matches, caches)
    layers = 1 if settings.head == "linear" else settings.head_layers
    heads = {}
    weights = term_weights(settings)
    for name, lesson in lessons.items() if "distance" in weights else ():
        width, channels = (
            student.stage_channels(lesson.stage),
            caches[lesson.teacher].teacher.channels,
        )
        with seeded(settings.seed, "head"):
            heads[name] = ProjectionHead(width, channels, layers, settings.head_hidden)
    class_head, token_teacher = None, class_token_teacher(settings, caches)
    if token_teacher is not None:
        channels = caches[token_teacher].teacher.channels
        with seeded(settings.seed, "class token"):
            class_head = ProjectionHead(
                student.out_channels, channels, settings.head_layers, settings.head_hidden
            )
    with seeded(settings.seed, "occupancy"):
        occupancy = (
            OccupancyHead(student.out_channels, occupancy_task(settings))
            if settings.occupancy_weight
            else None
        )
    options: dict[str, Any] = {
        "loss": settings.loss,
        "weighting": settings.weighting,
        "occupancy_weight": settings.occupancy_weight,
        "augmentation": PRESETS.get(settings.augmentation),
        "mix3d": settings.mix3d,
        "align_corners": settings.align_corners,
        "lessons": list(lessons.values()),
        "class_head": class_head,
        "class_token_weight": settings.class_token_weight,
        "centre": settings.centre,
        "intensity_dropout": settings.intensity_dropout,
    }
    if weights.keys() == {"distance"}:
        return DistillationStep(student, heads, occupancy, **options)
    return contrast_step(settings, caches, student, heads, occupancy, options)


def occupancy_task(settings: PretrainSettings) -> OccupancyTask:
    """The occupancy task that the settings describe."""
    preset = {"paper": PAPER, "also": ALSO}[settings.occupancy]
    return replace(
        preset,
        count=settings.occupancy_points or preset.count,
        delta=settings.occupancy_delta,
        distance=settings.occupancy_distance,
        radius=settings.occupancy_radius,
        neighbours=settings.occupancy_neighbours or preset.neighbours,
    )


def _ranks(
    step: DistillationStep, frames: MixedFrames, settings: PretrainSettings, team: Team
) -> Ranks:
    """RankMe and matrix rank of the student as it is, on whole training frames."""
    sample = WholeFrames(frames, step.stores.intensities)
    return student_ranks(step.student, sample, team.device, seed=settings.seed)


def _extent_check(
    settings: PretrainSettings, student: Student, team: Team
) -> Callable[[NDArray[np.float32]], str]:
    """Says of a frame's bounds why the student cannot be trained on it; empty where it can."""
    halvings = student.backbone.halvings if frames_at_once(settings, team) == 1 else None
    return partial(extent_fault, voxel_size=student.voxel_size, halvings=halvings)


def _unpaired(frames: PairedFrames, team: Team) -> list[str]:
    """Ids of frames without pairs, reported; they still serve the occupancy task.

    Raises:
        CleverError: no frame has pairs.
    """
    path, count = frames.caches[0].path, len(frames)
    unpaired = [name for index, name in enumerate(frames.ids) if not frames.pair_count(index)]
    if len(unpaired) == count:
        raise CleverError(
            f"no point of the {quantity(count, 'frame')} of {path} is seen by a camera, so "
            "there is nothing to "
            "distil; "
            "check the dataset's calibration and make the cache again"
        )
    if team.first:
        for name, reason in islice(frames.unfit.items(), 10):
            notice(f"left out frame {name}: {reason}")
        if len(frames.unfit) > 10:
            notice(f"left out {len(frames.unfit) - 10} more such frames")
        for names, fault in (
            (unpaired, "have no point that a camera sees"),
            (frames.missing, "lack a teacher"),
        ):
            if names:
                shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                notice(f"{len(names)} of {quantity(count, 'frame')} {fault}: {shown}")
    return unpaired


def _export(step: DistillationStep, frames: MixedFrames, init: Path | None, folder: Path) -> None:
    teachers = [cache.teacher for cache in frames.first.caches]
    norms = step.stores.intensities
    sources = dict.fromkeys(teacher.description for teacher in teachers)
    origin = f"distilled from {' and '.join(sources)}"
    origin += ", intensities standardised" if norms else ""
    meta: dict[str, Any] = {
        "teacher": [teacher.id for teacher in teachers],
        "origin": f"{origin}, begun from {init}" if init else origin,
        "dataset": frames.dataset,
        "scenes": frames.scenes,
    }
    if frames.first.input_sweeps:
        meta["input_sweeps"] = frames.first.input_sweeps.count
    save_student(folder, step.student, meta, norms)
    for name, head in zip(step.teachers, step.heads, strict=True):
        save_module(folder / head_file(name, len(step.heads)), head, {**meta, "teacher": name})
    for file, module in _further_parts(step).items():
        save_module(folder / file, module, meta)


def head_file(name: str, heads: int) -> str:
    """Name of the file of a projection head, with its own name where there are several."""
    return "head.safetensors" if heads == 1 else f"head-{name}.safetensors"
