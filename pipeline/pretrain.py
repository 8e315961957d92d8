"""Stage two: train a LiDAR student from a feature cache alone: no images, no dataset, no teacher."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch.utils.data import Dataset, Subset

from ..cache import FeatureCache
from ..errors import CleverError
from ..student.augment import Augmentation
from ..student.checkpoint import save_module, save_student
from ..student.heads import ProjectionHead
from ..student.losses import Kind, Weighting
from ..student.occupancy import OccupancyDecoder
from ..student.registry import build_student
from .distillation import DistillationBatch, DistillationStep
from .runs import Run, RunResult, default_folder, notice, now, versions
from .settings import Device, JobSettings
from .training import Losses, Recipe, choose_device, default_lr, first_and_last, fit, seeded

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class PretrainSettings(JobSettings):
    """Settings of `clever pretrain`; the defaults are the paper's (Table A1, section 3).

    Attributes:
        cache: feature cache; the only thing that is read.
        teacher: layer of the cache, or the beginning of its name; may be left out when there is one.
        student: see `student.registry.STUDENTS`.
        head, head_layers, head_hidden: projection head; `linear` is one layer.
        loss, weighting: see `distillation_loss`.
        occupancy_weight: weight of the occupancy task; 0 leaves it out.
        voxel_size: metres.
        lr: peak learning rate; Table A1's for the student unless given.
        augment: rotate, scale, flip, jitter.
        mix3d: probability that a pair of scenes is mixed.
        align_corners: where tokens lie in the image, see `sample_tokens`.
        limit: first N frames only.
        workers: loader processes; by default none on a CPU and up to 8 beside a GPU.
        out: run folder; by default ``runs/pretrain-<student>-<time>``.
    """

    cache: Path
    teacher: str | None = None
    student: str = "minkunet34"
    head: Literal["mlp", "linear"] = "mlp"
    head_layers: Count = 3
    head_hidden: Count = 2048
    loss: Kind = "l2"
    weighting: Weighting = "view"
    occupancy_weight: Annotated[float, Field(ge=0)] = 0.05
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    epochs: Count = 50
    batch_size: Count = 16
    lr: Annotated[float | None, Field(gt=0)] = None
    weight_decay: Annotated[float, Field(ge=0)] = 5e-3
    augment: bool = True
    mix3d: Share = 0.8
    align_corners: bool = True
    limit: Count | None = None
    workers: Annotated[int | None, Field(ge=0)] = None
    device: Device = "auto"
    seed: int = 0
    out: Path | None = None


class PretrainResult(RunResult):
    """What a pre-training run was and how its losses went."""

    student: str
    dataset: str
    teacher: str
    """Where the teacher's weights come from, in words."""
    teacher_id: str
    fingerprint: dict[str, Any]
    frames: int
    unpaired: list[str]
    """Frames none of whose points is seen by a camera."""
    epochs: int
    steps: int
    losses: Losses
    device: str
    out: Path


def pretrain(settings: PretrainSettings) -> PretrainResult:
    """Train, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no such cache or teacher, no frame with pairs, another run at ``out``, losses that are not finite.
    """
    device = choose_device(settings.device)
    cache = FeatureCache(settings.cache, settings.teacher)
    settings = settings.model_copy(
        update={
            "teacher": cache.teacher.id,
            "lr": settings.lr or default_lr(settings.student),
            "out": settings.out or default_folder(f"pretrain-{settings.student}"),
        }
    )
    assert settings.out is not None
    assert settings.lr is not None
    step = build_step(settings, cache.teacher.channels)
    run = Run.open(settings.out, settings)
    finished = run.result(PretrainResult)
    if finished:
        notice(f"{run.folder} is finished already ({finished.epochs} epochs); nothing to do")
        return finished
    count = min(settings.limit or len(cache), len(cache))
    unpaired = _unpaired(cache, count)
    recipe = Recipe(
        settings.epochs,
        settings.batch_size,
        settings.lr,
        settings.weight_decay,
        settings.seed,
        settings.workers,
        device,
    )
    progress = fit(
        step,
        Subset(cast(Dataset[Any], cache), range(count)),
        count,
        DistillationBatch.collate,
        recipe,
        run,
        "pretrain",
        {"teacher": cache.teacher.id, "frames": hashlib.sha256("\n".join(cache.ids[:count]).encode()).hexdigest()},
        lambda: _export(step, cache, run),
    )
    losses = first_and_last(run.records())
    result = PretrainResult(
        job="pretrain",
        finished=now(),
        seed=settings.seed,
        seconds=progress.seconds,
        versions=versions(),
        student=settings.student,
        dataset=cache.name,
        teacher=cache.teacher.description,
        teacher_id=cache.teacher.id,
        fingerprint=cache.teacher.fingerprint,
        frames=count,
        unpaired=unpaired,
        epochs=settings.epochs,
        steps=progress.step,
        losses=losses,
        device=str(device),
        out=run.folder,
    )
    run.finish(result)
    return result


def build_step(settings: PretrainSettings, channels: int) -> DistillationStep:
    """All that is trained, with fresh weights from the settings' seed; `channels` is the teacher's width."""
    with seeded(settings.seed, "student"):
        student = build_student(settings.student, settings.voxel_size)
    with seeded(settings.seed, "head"):
        layers = 1 if settings.head == "linear" else settings.head_layers
        head = ProjectionHead(student.out_channels, channels, layers, settings.head_hidden)
    with seeded(settings.seed, "occupancy"):
        occupancy = OccupancyDecoder(student.out_channels) if settings.occupancy_weight else None
    return DistillationStep(
        student,
        head,
        occupancy,
        loss=settings.loss,
        weighting=settings.weighting,
        occupancy_weight=settings.occupancy_weight,
        augmentation=Augmentation() if settings.augment else None,
        mix3d=settings.mix3d,
        align_corners=settings.align_corners,
    )


def _unpaired(cache: FeatureCache, count: int) -> list[str]:
    """Ids of frames without pairs, reported; they still serve the occupancy task.

    Raises:
        CleverError: no frame has pairs.
    """
    unpaired = [cache.ids[index] for index in range(count) if not cache.pair_count(index)]
    if len(unpaired) == count:
        raise CleverError(
            f"no point of the {count} frames of {cache.path} is seen by a camera, so there is nothing to distil; "
            "check the dataset's calibration and make the cache again"
        )
    if unpaired:
        shown = ", ".join(unpaired[:10]) + (", ..." if len(unpaired) > 10 else "")
        notice(f"{len(unpaired)} of {count} frames have no point that a camera sees: {shown}")
    return unpaired


def _export(step: DistillationStep, cache: FeatureCache, run: Run) -> None:
    meta = {"teacher": cache.teacher.id, "origin": f"distilled from {cache.teacher.description}"}
    save_student(run.folder, step.student, meta)
    save_module(run.folder / "head.safetensors", step.head, meta)
    if step.occupancy is not None:
        save_module(run.folder / "occupancy.safetensors", step.occupancy, meta)
