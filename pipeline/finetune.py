"""Train a segmenter from labels, on a frozen student (linear probe) or through it, and measure it on others."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import CleverError
from ..student.augment import Augmentation
from ..student.backbone import Student
from ..student.checkpoint import WEIGHTS, load_student, read_meta
from ..student.mix3d import mix3d
from ..student.points import PointBatch
from ..student.registry import build_student
from ..student.segmentation import LinearProbe, segmentation_loss
from .datasets import IGNORE, LidarDataset, build_dataset
from .evaluate import SegmentationResult, measure_segmenter
from .labelled import (
    BadFrame,
    FrameSampler,
    LabelledBatch,
    LabelledFrames,
    choose_frames,
    collate_labelled,
    describe,
    labelled_indices,
    scenes_of,
    usable,
)
from .runs import RESULT_FILE, Run, RunResult, default_folder, newest_run, notice, now, versions
from .segmenter import Segmenter, Training
from .settings import DataRoot, DatasetName, Device, JobSettings, Names
from .targets import published
from .training import Losses, Recipe, TrainingStep, choose_device, default_lr, first_and_last, fit, seeded

FEATURE_BYTES = 4 * 2**30
"""Features of a frozen student that a probe keeps in memory; those beyond are computed anew in every epoch."""

Count = Annotated[int, Field(ge=1)]
Loss = Literal["ce+lovasz", "ce"]


class FinetuneSettings(JobSettings):
    """Settings of `clever finetune`."""

    checkpoint: Literal["none"] | Path | None = None
    """Pre-training run; none: random weights; default: the newest finished run under runs/."""
    student: str | None = None
    """For --checkpoint none: LiDAR network; default: minkunet34."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """For --checkpoint none: metres; default: 0.05."""
    dataset: DatasetName = "nuscenes"
    """Kind of dataset."""
    data_root: DataRoot
    """Dataset folder; default: the environment variable CLEVER_DATA_ROOT."""
    version: str | None = None
    """nuScenes only: folder of tables."""
    train_split: str = "train"
    """Split to train on."""
    train_sequences: Names | None = None
    """SemanticKITTI only: sequences to train on, with commas; they win over the split."""
    val_split: str = "val"
    """Split to evaluate on."""
    val_sequences: Names | None = None
    """SemanticKITTI only: sequences to evaluate on."""
    mode: Literal["probe", "full"] = "probe"
    """Train one linear layer on the frozen student, or everything."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the labelled training frames."""
    sampler: FrameSampler = "uniform"
    """How they are chosen: drawn uniformly (the paper), every n-th scene (SLidR, ALSO) or every n-th frame."""
    epochs: Count | None = None
    """Passes over the training frames; default: 50 for a probe, 100 for full fine-tuning (the paper, A3)."""
    batch_size: Count = 16
    """Frames a step."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; default: Table A1's, 1e-3 for a MinkUNet and 2e-3 for a PTv3."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-3
    """AdamW's."""
    loss: Loss = "ce+lovasz"
    """Cross-entropy plus Lovasz-softmax, 1 : 1, or cross-entropy alone."""
    batch_norm: bool | None = None
    """Batch norm before the linear layer (ScaLR); default: in a probe. Without it the scale of the features decides
    how fast a probe learns, and those of random weights are a hundred times smaller."""
    augment: bool | None = None
    """Augment and mix the clouds; default: in full fine-tuning. A probe without computes every feature once."""
    mix3d: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that two augmented frames of a batch are mixed."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes; default: none on a CPU, up to 8 beside a GPU."""
    device: Device = "auto"
    """Where to train."""
    seed: int = 0
    """Seed of weights, choice of frames, order and augmentation."""
    out: Path | None = None
    """Run folder; default: runs/finetune-MODE-STUDENT-TIME. A run that was stopped goes on there."""


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


class FeatureMemory:
    """Features of a frozen student, one frame at a time, kept up to `limit` bytes; kept or not, they are the same."""

    def __init__(self, student: Student, limit: int) -> None:
        self.student, self.left = student, limit
        self._kept: dict[str, Tensor] = {}

    def __call__(self, batch: LabelledBatch) -> Tensor:
        """Features (N, D) of a batch of unaugmented clouds."""
        counts = torch.bincount(batch.points.scene, minlength=batch.points.size).tolist()
        clouds = torch.cat([batch.points.xyz, batch.points.intensity[:, None]], 1).split(counts)
        return torch.cat([self._features(name, cloud) for name, cloud in zip(batch.ids, clouds, strict=True)])

    @torch.no_grad()
    def _features(self, name: str, cloud: Tensor) -> Tensor:
        if name in self._kept:
            return self._kept[name].to(cloud.device)
        features = self.student(PointBatch.from_clouds([cloud]))
        if features.nbytes <= self.left:
            self.left -= features.nbytes
            self._kept[name] = features.cpu()
        return features


class SegmentationStep(TrainingStep):
    """Classifier and student, the student frozen in evaluation mode for a probe."""

    def __init__(
        self, segmenter: Segmenter, *, frozen: bool, loss: Loss, augmentation: Augmentation | None, mix3d: float
    ) -> None:
        super().__init__()
        self.segmenter, self.frozen, self.loss = segmenter, frozen, loss
        self.augmentation, self.mix3d = augmentation, mix3d
        self._memory = FeatureMemory(segmenter.student, FEATURE_BYTES)
        segmenter.student.requires_grad_(not frozen)

    def changing(self) -> nn.Module:
        return self.segmenter.classifier if self.frozen else self.segmenter

    def train(self, mode: bool = True) -> "SegmentationStep":
        """A frozen student stays in evaluation mode: its batch norms keep their statistics."""
        super().train(mode)
        if self.frozen:
            self.segmenter.student.eval()
        return self

    def forward(self, batch: LabelledBatch, generator: torch.Generator) -> dict[str, Tensor]:
        logits = self.segmenter.classifier(self._features(batch, generator))
        if self.loss == "ce":
            return {"loss": F.cross_entropy(logits, batch.labels, ignore_index=IGNORE)}
        return {"loss": segmentation_loss(logits, batch.labels, IGNORE)}

    def _features(self, batch: LabelledBatch, generator: torch.Generator) -> Tensor:
        if self.frozen and self.augmentation is None:
            return self._memory(batch)
        points = batch.points
        if self.augmentation is not None:
            points, _ = self.augmentation(points, generator)
            points = mix3d(points, generator, self.mix3d)
        with torch.set_grad_enabled(not self.frozen):
            return self.segmenter.student(points, generator)


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Train and measure, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no checkpoint, no labelled frames, frames in both parts, another run at ``out``, losses that are
            not finite.
    """
    device = choose_device(settings.device)
    student, initialisation, settings = _starting_point(settings)
    assert settings.out is not None
    train, val = (
        build_dataset(settings.dataset, settings.data_root, version=settings.version, split=split, sequences=sequences)
        for split, sequences in (
            (settings.train_split, settings.train_sequences),
            (settings.val_split, settings.val_sequences),
        )
    )
    held_out = labelled_indices(val, settings.val_split)
    chosen = _training_frames(settings, train, {val.frame_ids[index] for index in held_out})
    run = Run.open(settings.out, settings)
    finished = run.result(FinetuneResult)
    if finished:
        notice(f"{run.folder} is finished already; nothing to do")
        return finished
    indices, bad = usable(train, chosen, "check labels")
    for frame in bad:
        notice(f"skipped frame {frame.id}: {frame.reason}")
    if not indices:
        raise CleverError(f"none of the {len(chosen)} training frames can be used; the first: {bad[0].reason}")
    training = _describe(settings, train, indices, student, initialisation)
    segmenter = Segmenter(student, _classifier(settings, student, len(train.class_names)))
    steps, seconds = _train(settings, segmenter, train, indices, training, run, device)
    result = FinetuneResult(
        job="finetune",
        finished=now(),
        seed=settings.seed,
        seconds=seconds,
        versions=versions(),
        student=student.name,
        training=training,
        losses=first_and_last(run.records()),
        steps=steps,
        bad=bad,
        evaluation=measure_segmenter(segmenter, training, val, held_out, settings.val_split, device),
        published=published(settings.dataset, settings.mode, settings.fraction),
        device=str(device),
        out=run.folder,
    )
    run.finish(result)
    return result


def _train(
    settings: FinetuneSettings,
    segmenter: Segmenter,
    dataset: LidarDataset,
    indices: list[int],
    training: Training,
    run: Run,
    device: torch.device,
) -> tuple[int, float]:
    """Train the segmenter; returns steps and seconds."""
    assert settings.epochs is not None
    assert settings.lr is not None
    frozen = settings.mode == "probe"
    augmentation = Augmentation() if settings.augment else None
    step = SegmentationStep(
        segmenter, frozen=frozen, loss=settings.loss, augmentation=augmentation, mix3d=settings.mix3d
    )
    recipe = Recipe(
        settings.epochs,
        settings.batch_size,
        settings.lr,
        settings.weight_decay,
        settings.seed,
        settings.workers,
        device,
    )
    frames = "\n".join(dataset.frame_ids[index] for index in indices)
    progress = fit(
        step,
        LabelledFrames(dataset, indices),
        len(indices),
        collate_labelled,
        recipe,
        run,
        "finetune",
        {"training frames": hashlib.sha256(frames.encode()).hexdigest(), "student weights": _weights_digest(settings)},
        lambda: segmenter.save(run.folder, training, not (frozen and (run.folder / WEIGHTS).exists())),
    )
    return progress.step, progress.seconds


def _starting_point(settings: FinetuneSettings) -> tuple[Student, str, FinetuneSettings]:
    """The student to start from, where its weights come from in words, and the settings with nothing left open.

    Raises:
        CleverError: no checkpoint, or one of another student or voxel size than asked for.
    """
    checkpoint = settings.checkpoint or newest_run("pretrain")
    if checkpoint == "none":
        with seeded(settings.seed, "student"):
            student = build_student(settings.student or "minkunet34", settings.voxel_size or 0.05)
        initialisation = "random initialisation"
    else:
        student = load_student(checkpoint)
        if settings.student not in (None, student.name) or settings.voxel_size not in (None, student.voxel_size):
            raise CleverError(
                f"{checkpoint} is a {student.name} with voxels of {student.voxel_size} m; leave --student and "
                "--voxel-size out"
            )
        initialisation = _origin(checkpoint)
    frozen = settings.mode == "probe"
    opened = {
        "checkpoint": checkpoint,
        "student": student.name,
        "voxel_size": student.voxel_size,
        "epochs": settings.epochs or (50 if frozen else 100),
        "lr": settings.lr or default_lr(student.name),
        "batch_norm": frozen if settings.batch_norm is None else settings.batch_norm,
        "augment": not frozen if settings.augment is None else settings.augment,
        "out": settings.out or default_folder(f"finetune-{settings.mode}-{student.name}"),
    }
    return student, initialisation, settings.model_copy(update=opened)


def _weights_digest(settings: FinetuneSettings) -> str:
    if not isinstance(settings.checkpoint, Path):
        return "random"
    return hashlib.sha256((settings.checkpoint / WEIGHTS).read_bytes()).hexdigest()


def _origin(checkpoint: Path) -> str:
    """What the student in `checkpoint` was trained on, in words."""
    if not (checkpoint / RESULT_FILE).exists():
        notice(f"{checkpoint} is not finished; its newest weights are used")
    origin = read_meta(checkpoint / WEIGHTS)["meta"].get("origin")
    return f"from {checkpoint} ({origin})" if origin else f"from {checkpoint}"


def _training_frames(settings: FinetuneSettings, dataset: LidarDataset, held_out: set[str]) -> list[int]:
    """Frames to train on.

    Raises:
        CleverError: none is labelled, or one is also measured on.
    """
    labelled = labelled_indices(dataset, settings.train_split)
    shared = [index for index in labelled if dataset.frame_ids[index] in held_out]
    if shared:
        raise CleverError(
            f"{len(shared)} frames are in the training and in the validation part, e.g. "
            f"{dataset.frame_ids[shared[0]]}; choose other --train-sequences or --val-sequences (or splits)"
        )
    return choose_frames(labelled, dataset.scenes, settings.fraction, settings.sampler, settings.seed)


def _classifier(settings: FinetuneSettings, student: Student, classes: int) -> LinearProbe:
    with seeded(settings.seed, "classifier"):
        return LinearProbe(student.out_channels, classes, bool(settings.batch_norm))


def _describe(
    settings: FinetuneSettings, dataset: LidarDataset, indices: list[int], student: Student, initialisation: str
) -> Training:
    """The run in words, for the protocol line."""
    augmentation = f"augmentation, Mix3D {settings.mix3d:g}" if settings.augment else "no augmentation"
    layer = "batch norm + linear" if settings.batch_norm else "linear"
    return Training(
        dataset=settings.dataset,
        version=settings.version,
        class_names=tuple(dataset.class_names),
        batch_norm=bool(settings.batch_norm),
        head="linear probe" if settings.mode == "probe" else "full fine-tuning",
        initialisation=initialisation,
        frames=describe(dataset, indices, settings.train_split),
        scenes=tuple(scenes_of(dataset, indices)),
        details=(
            f"{student.name} at {student.voxel_size:g} m, {100 * settings.fraction:g} % {settings.sampler}, "
            f"{settings.epochs} epochs, batch {settings.batch_size}, lr {settings.lr:g}, {layer}, "
            f"{settings.loss}, {augmentation}, seed {settings.seed}"
        ),
    )
