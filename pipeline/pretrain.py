"""Stage two: train a LiDAR student from a feature cache alone: no images, no dataset, no teacher."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
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
from .training import Losses, Progress, Recipe, choose_device, default_lr, first_and_last, fit, seeded

Count = Annotated[int, Field(ge=1)]


class PretrainSettings(JobSettings):
    """Settings of `clever pretrain`; the defaults are the paper's (Table A1, section 3)."""

    cache: Path
    """Feature cache; the only thing that is read."""
    teacher: str | None = None
    """Layer of the cache, or the beginning of its name; default: the only one."""
    student: str = "minkunet34"
    """LiDAR network: minkunet34, minkunet18, ..."""
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
    occupancy_weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the occupancy task; 0 leaves it out."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    """Metres."""
    epochs: Count = 50
    """Passes over the cache; the paper trains 50 or 100."""
    batch_size: Count = 16
    """Frames a step."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; default: Table A1's, 1e-3 for a MinkUNet and 2e-3 for a PTv3."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-3
    """AdamW's."""
    augment: bool = True
    """Rotate, scale, flip and jitter the clouds."""
    mix3d: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that two frames of a batch are mixed."""
    align_corners: bool = True
    """Corner tokens lie on corner pixels (ScaLR); otherwise on the centres of their patches."""
    limit: Count | None = None
    """First N frames only."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes; default: none on a CPU, up to 8 beside a GPU."""
    device: Device = "auto"
    """Where to train."""
    seed: int = 0
    """Seed of weights, order, augmentation and queries."""
    out: Path | None = None
    """Run folder; default: runs/pretrain-STUDENT-TIME. A run that was stopped goes on there."""


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

    def __str__(self) -> str:
        return (
            f"{self.student} distilled from {self.teacher}: {self.dataset}, {self.frames} frames, "
            f"{self.epochs} epochs, seed {self.seed}, {self.device}, {self.seconds / 60:.1f} min\n"
            f"{self.losses}\n"
            f"{self.out}"
        )


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
    step = build_step(settings, cache.teacher.channels)
    run = Run.open(settings.out, settings)
    finished = run.result(PretrainResult)
    if finished:
        notice(f"{run.folder} is finished already ({finished.epochs} epochs); nothing to do")
        return finished
    count = min(settings.limit or len(cache), len(cache))
    unpaired = _unpaired(cache, count)
    progress = _train(settings, step, cache, count, run, device)
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
        losses=first_and_last(run.records()),
        device=str(device),
        out=run.folder,
    )
    run.finish(result)
    return result


def _train(
    settings: PretrainSettings, step: DistillationStep, cache: FeatureCache, count: int, run: Run, device: torch.device
) -> Progress:
    """Train on the first `count` frames."""
    assert settings.lr is not None
    recipe = Recipe(
        settings.epochs,
        settings.batch_size,
        settings.lr,
        settings.weight_decay,
        settings.seed,
        settings.workers,
        device,
    )
    return fit(
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
