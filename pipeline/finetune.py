"""Train a segmenter from labels, on a frozen student (linear probe) or through it, and measure it on others."""

import hashlib
from collections.abc import Mapping
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
from ..student.draws import Draws
from ..student.mix3d import mix3d
from ..student.points import PointBatch
from ..student.registry import build_student
from ..student.segmentation import LinearProbe, segmentation_loss
from .datasets import IGNORE, LidarDataset, build_dataset
from .distributed import Team
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
from .settings import Count, DataRoot, DatasetName, Names
from .targets import published
from .training import (
    Job,
    Losses,
    Progress,
    TrainingSettings,
    TrainingStep,
    check_step,
    choose_device,
    first_and_last,
    fit,
    seeded,
)
from .training_log import read_log

FEATURE_BYTES = 4 * 2**30
"""Features of a frozen student that a probe keeps in memory; those beyond are computed anew in every epoch."""

Loss = Literal["ce+lovasz", "ce"]


class FinetuneSettings(TrainingSettings):
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
    loss: Loss = "ce+lovasz"
    """Cross-entropy plus Lovasz-softmax, 1 : 1, or cross-entropy alone."""
    batch_norm: bool | None = None
    """Batch norm before the linear layer (ScaLR); default: in a probe. Without it the scale of the features decides
    how fast a probe learns, and those of random weights are a hundred times smaller."""
    augment: bool | None = None
    """Augment and mix the clouds; default: in full fine-tuning. A probe without computes every feature once."""
    mix3d: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that two augmented frames of a batch are mixed."""


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
        clouds = torch.cat([batch.points.xyz, batch.points.intensity[:, None]], 1).split(batch.points.counts)
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

    def block_parameters(self) -> list[nn.Parameter]:
        return [] if self.frozen else self.segmenter.student.backbone.block_parameters()

    def counts(self, batch: LabelledBatch) -> dict[str, float]:
        """Frames: Lovasz-softmax is no sum over points, so every part of a step weighs as many frames as it has."""
        return {"frames": len(batch.ids)}

    def forward(self, batch: LabelledBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = self.segmenter.classifier(self._features(batch))
        if self.loss == "ce":
            loss = F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORE)
        else:
            loss = segmentation_loss(logits, batch.labels, IGNORE)
        return {"loss": loss * len(batch.ids) / totals["frames"]}

    def _features(self, batch: LabelledBatch) -> Tensor:
        if self.frozen and self.augmentation is None:
            return self._memory(batch)
        points, draws = batch.points, None
        if self.augmentation is not None:
            draws = Draws(points, batch.keys)
            points, _ = self.augmentation(points, draws)
            points = mix3d(points, draws, self.mix3d)
        with torch.set_grad_enabled(not self.frozen):
            return self.segmenter.student(points, draws)


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Train and measure, or go on with the run in ``settings.out``, or report that it is finished.

    Raises:
        CleverError: no checkpoint, no labelled frames, frames in both parts, another run at ``out``, losses that are
            not finite.
    """
    team = Team.join(choose_device(settings.device))
    student, initialisation, settings = _starting_point(settings, team)
    check_step(settings, team, settings.mix3d if settings.augment else 0)
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
    run = Run.open(settings.out, settings, team)
    finished = run.result(FinetuneResult)
    if finished:
        team.others_leave()
        notice(f"{run.folder} is finished already; nothing to do")
        return finished
    indices, bad = usable(train, chosen, "check labels")
    for frame in bad:
        notice(f"skipped frame {frame.id}: {frame.reason}")
    if not indices:
        raise CleverError(f"none of the {len(chosen)} training frames can be used; the first: {bad[0].reason}")
    training = _describe(settings, train, indices, student, initialisation)
    segmenter = Segmenter(student, _classifier(settings, student, len(train.class_names)))
    progress = _train(settings, segmenter, train, indices, training, run, team)
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
        evaluation=measure_segmenter(segmenter, training, val, held_out, settings.val_split, team.device),
        published=published(settings.dataset, settings.mode, settings.fraction),
        device=team.device.type,
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
    team: Team,
) -> Progress:
    """Train the segmenter."""
    assert settings.epochs is not None
    frozen = settings.mode == "probe"
    augmentation = Augmentation() if settings.augment else None
    step = SegmentationStep(
        segmenter, frozen=frozen, loss=settings.loss, augmentation=augmentation, mix3d=settings.mix3d
    )
    segmenter.student.recompute = settings.recompute
    ids = [dataset.frame_ids[index] for index in indices]
    job = Job(
        label="finetune",
        epochs=settings.epochs,
        step=step,
        frames=LabelledFrames(dataset, indices),
        ids=ids,
        collate=collate_labelled,
        inputs={
            "training frames": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            "student weights": _weights_digest(settings),
        },
        export=lambda folder: segmenter.save(folder, training, not (frozen and (folder / WEIGHTS).exists())),
    )
    return fit(job, settings, run, team)


def _starting_point(settings: FinetuneSettings, team: Team) -> tuple[Student, str, FinetuneSettings]:
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
        "lr": settings.lr or student.backbone.peak_lr,
        "batch_norm": frozen if settings.batch_norm is None else settings.batch_norm,
        "augment": not frozen if settings.augment is None else settings.augment,
        "out": team.agree(settings.out or default_folder(f"finetune-{settings.mode}-{student.name}")),
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
