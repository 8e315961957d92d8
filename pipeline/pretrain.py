"""Stage two: train a LiDAR student from a feature cache alone: no images, no dataset, no teacher."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import Field
from torch.utils.data import Dataset, Subset

from ..cache import CachedFrame, FeatureCache
from ..errors import CleverError
from ..student.augment import PRESETS
from ..student.checkpoint import save_module, save_student
from ..student.heads import ProjectionHead
from ..student.losses import Kind, Weighting
from ..student.occupancy import OccupancyHead
from ..student.queries import ALSO, PAPER, Distance, OccupancyTask
from ..student.registry import build_student
from .cached_frames import DistillationBatch, PairedFrames, View
from .distillation import DistillationStep
from .distributed import Team
from .rankme import Ranks, student_ranks
from .runs import Run, RunResult, default_folder, notice, now, versions
from .settings import Count, Names
from .training import (
    Job,
    Losses,
    Progress,
    TrainingSettings,
    check_step,
    choose_device,
    first_and_last,
    fit,
    seeded,
)
from .training_log import Scalars, read_log


class PretrainSettings(TrainingSettings):
    """Settings of `clever pretrain`; the defaults are the paper's (Table A1, section 3)."""

    cache: Path
    """Feature cache; the only thing that is read."""
    recipe: Literal["clever", "scalr"] = "clever"
    """Where all other defaults come from: the paper's recipe, or ScaLR's. YAML files in the package."""
    teacher: Names | None = None
    """Layer of the cache, or the beginning of its name; default: the only one. Given several times, the student
    learns from all of them at once, through a head for each."""
    student: str = "minkunet34"
    """LiDAR network: minkunet34, minkunet18, ptv3, ptv3-256, ..."""
    patch: Count | None = None
    """PTv3 only: voxels that attend to each other; default: 1024."""
    head: Literal["mlp", "linear"] = "mlp"
    """Projection head; linear is one layer."""
    head_layers: Count = 3
    """Layers of the MLP head."""
    head_hidden: Count = 2048
    """Width of the MLP head."""
    loss: Kind = "l2"
    """Distance between unit features: l2, its square (mse), or one minus the cosine."""
    weighting: Weighting = "view"
    """Mean over each camera view and then the views (equation 1), or over all pairs at once (ScaLR)."""
    view: View = "all"
    """The whole sweep and all cameras, or one random camera and the points that it sees (ScaLR)."""
    pairs: Count | None = None
    """At most so many pairs a camera view, drawn anew each time; default: all."""
    occupancy: Literal["paper", "also"] = "paper"
    """Form of the occupancy task: the paper's (source point's feature, three queries a point, squared intensity
    error), or ALSO's (all voxels within a radius, thirds, absolute error)."""
    occupancy_weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the occupancy task; 0 leaves it out."""
    occupancy_points: Count | None = None
    """Source points of queries a frame; default: an eighth of its points (paper), 2048 (also)."""
    occupancy_delta: Annotated[float, Field(gt=0)] = 0.1
    """Metres from a point to its queries in front and behind."""
    occupancy_distance: Distance = "uniform"
    """Whether they lie anywhere up to there (ALSO) or exactly there."""
    occupancy_radius: Annotated[float, Field(gt=0)] = 1.0
    """Metres around a query from which features answer (also)."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    """Metres."""
    epochs: Count = 50
    """Passes over the cache; the paper trains 50 or 100."""
    augmentation: Literal["pointcept", "scalr", "none"] = "pointcept"
    """Rotate, scale, flip and jitter the clouds, as Pointcept (the paper) or ScaLR does."""
    mix3d: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that two frames of a batch are mixed."""
    align_corners: bool = True
    """Corner tokens lie on corner pixels (ScaLR); otherwise on the centres of their patches."""
    rankme_every: Annotated[int, Field(ge=0)] = 10
    """Passes between measurements of RankMe and matrix rank; there is one in the end. 0: none."""
    limit: Count | None = None
    """First N frames only."""

    @classmethod
    def defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The recipe's values."""
        return read_recipe(str(given.get("recipe", "clever")))


def read_recipe(name: str) -> dict[str, Any]:
    """Settings of ``recipes/<name>.yaml`` in the package; none for a name that is not there."""
    file = resources.files("clever.pipeline") / "recipes" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


class PretrainResult(RunResult):
    """What a pre-training run was and how its losses went."""

    student: str
    dataset: str
    teachers: list[str]
    """Where the teachers' weights come from, in words."""
    teacher_ids: list[str]
    fingerprints: list[dict[str, Any]]
    frames: int
    unpaired: list[str]
    """Frames none of whose points is seen by a camera."""
    missing: list[str]
    """Frames that only some of several teachers have; they are left out."""
    epochs: int
    steps: int
    losses: Losses
    best_epoch: int
    """Pass with the lowest mean loss; its weights are in ``best/``."""
    ranks: Ranks | None
    """Of the last weights."""
    recipe: str
    precision: str
    processes: int
    device: str
    out: Path

    def __str__(self) -> str:
        origin = " and ".join(self.teachers)
        shared = f" x {self.processes}" if self.processes > 1 else ""
        lines = [
            f"{self.student} distilled from {origin}: {self.dataset}, {self.frames} frames, {self.epochs} epochs, "
            f"{self.steps} steps, recipe {self.recipe}, seed {self.seed}, {self.precision}, {self.device}{shared}, "
            f"{self.seconds / 60:.1f} min",
            str(self.losses),
        ]
        if self.ranks:
            plain, centred = self.ranks.uncentred, self.ranks.centred
            lines.append(
                f"RankMe {plain.rankme:.3f} (centred {centred.rankme:.3f}), matrix rank {plain.matrix_rank} "
                f"(centred {centred.matrix_rank}): backbone features of {self.ranks.rows} points of "
                f"{self.ranks.frames} training frames, seed {self.ranks.seed}"
            )
        return "\n".join([*lines, str(self.out)])


def pretrain(settings: PretrainSettings) -> PretrainResult:
    """Train, or go on with the run in ``settings.out``, or report that it is finished.

    Started by ``torchrun`` or ``accelerate launch``, several processes share every batch; the first one returns, the
    others end here.

    Raises:
        CleverError: no such cache or teacher, no frame with pairs, another run at ``out``, losses that are not finite.
        KeyboardInterrupt: the user stopped the run; its state is kept.
    """
    team = Team.join(choose_device(settings.device))
    check_step(settings, team, settings.mix3d)
    caches = open_teachers(settings)
    step = build_step(settings, caches)
    peak = step.student.backbone.peak_lr
    settings = settings.model_copy(
        update={
            "teacher": tuple(cache.teacher.id for cache in caches),
            "lr": settings.lr or peak,
            "out": team.agree(settings.out or default_folder(f"pretrain-{settings.student}")),
        }
    )
    assert settings.out is not None
    run = Run.open(settings.out, settings, team)
    finished = run.result(PretrainResult)
    if finished:
        team.others_leave()
        notice(f"{run.folder} is finished already ({finished.epochs} epochs); nothing to do")
        return finished
    frames = PairedFrames(caches, settings.limit, settings.view, settings.pairs)
    unpaired = _unpaired(frames, team)
    progress, ranks = _train(settings, step, frames, run, team)
    team.others_leave()
    result = PretrainResult(
        job="pretrain",
        finished=now(),
        seed=settings.seed,
        seconds=progress.seconds,
        versions=versions(),
        student=settings.student,
        dataset=caches[0].name,
        teachers=[cache.teacher.description for cache in caches],
        teacher_ids=[cache.teacher.id for cache in caches],
        fingerprints=[cache.teacher.fingerprint for cache in caches],
        frames=len(frames),
        unpaired=unpaired,
        missing=frames.missing,
        epochs=settings.epochs,
        steps=progress.step,
        losses=first_and_last(read_log(run.folder)),
        best_epoch=progress.best_epoch,
        ranks=ranks,
        recipe=settings.recipe,
        precision=settings.precision,
        processes=team.size,
        device=team.device.type,
        out=run.folder,
    )
    run.finish(result)
    return result


def open_teachers(settings: PretrainSettings) -> list[FeatureCache]:
    """The cache, once for each teacher."""
    caches = [FeatureCache(settings.cache, name) for name in settings.teacher or (None,)]
    ids = [cache.teacher.id for cache in caches]
    if len(set(ids)) < len(ids):
        raise CleverError(f"--teacher names {', '.join(ids)}: give each teacher once")
    return caches


def _train(
    settings: PretrainSettings, step: DistillationStep, frames: PairedFrames, run: Run, team: Team
) -> tuple[Progress, Ranks | None]:
    """Train; returns the ranks of the last weights too, if they were asked for."""
    ranks: list[Ranks] = []

    def measure() -> Scalars:
        ranks.append(_ranks(step, frames, settings, team))
        return ranks[-1].scalars()

    job = Job(
        label="pretrain",
        epochs=settings.epochs,
        step=step,
        frames=frames,
        ids=frames.ids,
        collate=DistillationBatch.collate,
        inputs={
            "teacher": " ".join(cache.teacher.id for cache in frames.caches),
            "frames": hashlib.sha256("\n".join(frames.ids).encode()).hexdigest(),
        },
        export=lambda folder: _export(step, frames.caches, folder),
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
        student = build_student(settings.student, settings.voxel_size, settings.patch)
    student.recompute = settings.recompute
    heads = {}
    for cache in caches:
        with seeded(settings.seed, "head"):
            layers = 1 if settings.head == "linear" else settings.head_layers
            heads[cache.teacher.id] = ProjectionHead(
                student.out_channels, cache.teacher.channels, layers, settings.head_hidden
            )
    with seeded(settings.seed, "occupancy"):
        occupancy = OccupancyHead(student.out_channels, occupancy_task(settings)) if settings.occupancy_weight else None
    return DistillationStep(
        student,
        heads,
        occupancy,
        loss=settings.loss,
        weighting=settings.weighting,
        occupancy_weight=settings.occupancy_weight,
        augmentation=PRESETS.get(settings.augmentation),
        mix3d=settings.mix3d,
        align_corners=settings.align_corners,
    )


def occupancy_task(settings: PretrainSettings) -> OccupancyTask:
    """The occupancy task that the settings describe."""
    preset = {"paper": PAPER, "also": ALSO}[settings.occupancy]
    return replace(
        preset,
        count=settings.occupancy_points or preset.count,
        delta=settings.occupancy_delta,
        distance=settings.occupancy_distance,
        radius=settings.occupancy_radius,
    )


def _ranks(step: DistillationStep, frames: PairedFrames, settings: PretrainSettings, team: Team) -> Ranks:
    """RankMe and matrix rank of the student as it is, on whole training frames."""
    first = frames.caches[0]
    used = Subset(cast(Dataset[CachedFrame], first), [first.index(name) for name in frames.ids])
    return student_ranks(step.student, cast(Sequence[CachedFrame], used), team.device, seed=settings.seed)


def _unpaired(frames: PairedFrames, team: Team) -> list[str]:
    """Ids of frames without pairs, reported; they still serve the occupancy task.

    Raises:
        CleverError: no frame has pairs.
    """
    path, count = frames.caches[0].path, len(frames)
    unpaired = [name for index, name in enumerate(frames.ids) if not frames.pair_count(index)]
    if len(unpaired) == count:
        raise CleverError(
            f"no point of the {count} frames of {path} is seen by a camera, so there is nothing to distil; "
            "check the dataset's calibration and make the cache again"
        )
    if team.first:
        for names, what in ((unpaired, "have no point that a camera sees"), (frames.missing, "lack a teacher")):
            if names:
                shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                notice(f"{len(names)} of {count} frames {what}: {shown}")
    return unpaired


def _export(step: DistillationStep, caches: tuple[FeatureCache, ...], folder: Path) -> None:
    teachers = [cache.teacher for cache in caches]
    origin = f"distilled from {' and '.join(teacher.description for teacher in teachers)}"
    meta = {"teacher": [teacher.id for teacher in teachers], "origin": origin}
    save_student(folder, step.student, meta)
    for teacher, head in zip(teachers, step.heads, strict=True):
        save_module(folder / head_file(teacher.id, len(teachers)), head, {**meta, "teacher": teacher.id})
    if step.occupancy is not None:
        save_module(folder / "occupancy.safetensors", step.occupancy, meta)


def head_file(teacher: str, teachers: int) -> str:
    """Name of the file of a projection head; `teacher` is told where there are several."""
    return "head.safetensors" if teachers == 1 else f"head-{teacher}.safetensors"
