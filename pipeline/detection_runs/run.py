"""One run: a detector trained on its share of the frames, and measured."""

import hashlib
from collections.abc import Sequence

import torch

from ...errors import CleverError, FrameError
from ...files import atomic_write
from ...student.checkpoint import weights_digest
from ...student.draws import key
from ...words import quantity
from ..detection.area import drawn_points
from ..detection.box_augmentation import BoxAugmentation
from ..detection.detections import Detections
from ..detectors.box_batch import collate_boxes
from ..detectors.box_step import BoxFrames, BoxStep, Sampling
from ..detectors.checkpoint import DetectorMeta, save_detector
from ..detectors.registry import DETECTORS
from ..process.device import choose_device
from ..process.progress import Track
from ..process.team import Team
from ..results.cycles import cycle_words
from ..results.protocols import Facts
from ..results.run_folder import Run, notice, now, versions
from ..settings.detect import DetectorRunSettings
from ..steps.labelled import BadFrame
from ..steps.samplers import TRAIN_FRAMES, FrameSample
from ..training.batches import FrameOrder
from ..training.job import Job
from ..training.log import first_and_last, read_log
from ..training.loop import fit
from ..training.seeds import seeded
from ..training.starting_student import StartingStudent, choose_intensity, starting_student
from ..training.stepping import check_step
from .data import DetectionData, TrainingFrames, gather
from .results import DetectorResult

PLACES = frozenset({"data_root", "checkpoint"})
"""Settings that say where a run reads, not what."""


def train_detector(settings: DetectorRunSettings, data: DetectionData) -> DetectorResult:
    """Train and measure, or go on with the run in ``settings.out``, or read what is finished there.

    Raises:
        CleverError: no checkpoint, no frame that can be used, another run at ``out``, losses that
            are not finite.
        KeyboardInterrupt: the user stopped it.
    """
    out = settings.out
    assert out
    team = Team(0, 1, choose_device(settings.device))
    check_step(settings, team, 0)
    start = _start(settings)
    student = start.student
    choose_intensity(student, settings.dataset)
    settings = settings.decided(
        student=student.name,
        voxel_size=student.voxel_size,
        ptv3_form=student.ptv3_form,
        lr=settings.lr or student.backbone.peak_lr,
        cell=settings.cell or data.benchmark.cell,
    )
    sample = data.sample(settings)
    ids = [data.train.frame_ids[index] for index in sample.indices]
    inputs = _inputs(settings, ids)
    with Run.training(out, settings, team, inputs, PLACES) as run:
        if result := run.result(DetectorResult):
            return result
        atomic_write(run.folder / TRAIN_FRAMES, "".join(f"{name}\n" for name in ids))
        frames = gather(data, sample.indices, settings.bank)
        meta = _meta(settings, data, start, sample, frames)
        with seeded(settings.seed, "detector"):
            head = DETECTORS[settings.detector](meta.plan(student.out_channels))
        step = BoxStep(student, head, frozen=settings.mode == "probe")
        student.recompute = settings.recompute
        progress = fit(_job(settings, data, frames, step, meta, inputs), settings, run, team)
        results, bad = detect_frames(step, data, settings, team.device)
        tables = data.benchmark.measure(data.val, results, run.folder)
        result = DetectorResult(
            job="detect",
            finished=now(),
            seed=settings.seed,
            seconds=progress.seconds,
            versions=versions(),
            start=start.origin,
            fraction=settings.fraction,
            draw=settings.draw,
            steps=progress.step,
            losses=first_and_last(read_log(run.folder)),
            tables=tables,
            facts=_facts(settings, data, sample, frames, len(results), run),
            bad=[*frames.bad, *bad],
            device=team.device.type,
        )
        run.finish(result)
        return result


def detect_frames(
    step: BoxStep, data: DetectionData, settings: DetectorRunSettings, device: torch.device
) -> tuple[dict[int, Detections], list[BadFrame]]:
    """Detections of the frames to measure on, by position, and the frames that cannot be read.

    Raises:
        CleverError: none can be read.
    """
    results: dict[int, Detections] = {}
    bad: list[BadFrame] = []
    step = step.to(device).eval()
    with Track("measure", len(data.held_out)) as track:
        for index in data.held_out:
            try:
                cloud = data.benchmark.area.points(torch.from_numpy(data.val.points(index)))
                data.val.boxes(index)  # what cannot be compared is not measured
            except FrameError as error:
                bad.append(BadFrame(id=data.val.frame_ids[index], reason=error.reason))
                notice(f"skipped frame {bad[-1].id}: {error.reason}")
            else:
                draw = key(settings.seed, "measured frame", index)
                cloud = drawn_points(cloud, settings.points, draw)
                (result,) = step.detections([cloud.to(device)])
                results[index] = result.cpu()
            track.advance()
    if not results:
        raise CleverError(
            f"none of {len(data.held_out)} frames could be measured; the first: {bad[0].id}: "
            f"{bad[0].reason}"
        )
    return results, bad


def _start(settings: DetectorRunSettings) -> StartingStudent:
    """The student; a checkpoint knows its own name, voxel size and form."""
    if settings.checkpoint == "none":
        return starting_student(
            "none", settings.student, settings.voxel_size, settings.seed, settings.ptv3_form
        )
    return starting_student(settings.checkpoint, None, None, settings.seed)


def _inputs(settings: DetectorRunSettings, ids: Sequence[str]) -> dict[str, str]:
    """Digests of what a run reads."""
    checkpoint = settings.checkpoint
    return {
        "training frames": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "student weights": "random" if checkpoint == "none" else weights_digest(checkpoint),
    }


def _job(
    settings: DetectorRunSettings,
    data: DetectionData,
    frames: TrainingFrames,
    step: BoxStep,
    meta: DetectorMeta,
    inputs: dict[str, str],
) -> Job:
    assert settings.lr
    benchmark = data.benchmark
    ids = [data.train.frame_ids[index] for index in frames.indices]
    return Job(
        label="detect",
        epochs=settings.epochs,
        lr=settings.lr,
        step=step,
        frames=BoxFrames(
            data.train,
            frames.indices,
            benchmark.class_names,
            Sampling(frames.bank, benchmark.bank) if settings.bank else None,
            BoxAugmentation() if settings.augment else None,
            benchmark.area,
            settings.points,
        ),
        ids=ids,
        collate=collate_boxes,
        inputs={**inputs, "usable frames": hashlib.sha256("\n".join(ids).encode()).hexdigest()},
        export=lambda folder: save_detector(folder, step, meta),
    )


def _meta(
    settings: DetectorRunSettings,
    data: DetectionData,
    start: StartingStudent,
    sample: FrameSample,
    frames: TrainingFrames,
) -> DetectorMeta:
    assert settings.cell
    area = data.benchmark.area
    return DetectorMeta(
        detector=settings.detector,
        dataset=settings.dataset,
        class_names=data.benchmark.class_names,
        sizes=frames.sizes,
        area=(area.low, area.high),
        cell=settings.cell,
        points=settings.points,
        details=f"{settings.detector}, {settings.dataset} {settings.train_split}, {sample.rule}, "
        f"draw {settings.draw}, seed {settings.seed}, {start.origin}",
    )


def _facts(
    settings: DetectorRunSettings,
    data: DetectionData,
    sample: FrameSample,
    frames: TrainingFrames,
    measured: int,
    run: Run,
) -> Facts:
    """The protocol in parts."""
    order = FrameOrder(len(frames.indices), settings.epochs, settings.batch_size, settings.seed)
    lengths = run.cycle.lengths(settings.epochs)
    passes = cycle_words(settings.epochs, lengths, order.draws)
    whole = settings.mode == "full"
    changes = ["ground-truth sampling"] * settings.bank
    changes += ["flip, rotation, scale"] * settings.augment
    cell = f" with cells of {settings.cell:g} m" if settings.detector == "centre" else ""
    return {
        "detector": f"{settings.detector}{cell} {'and' if whole else 'on the frozen'} student",
        "student": f"{settings.student} at {settings.voxel_size:g} m",
        "training frames": f"{settings.dataset} {settings.train_split}, {sample.rule}",
        "measured frames": f"measured on {settings.val_split} ({quantity(measured, 'frame')})",
        "training": f"{passes}, batch {settings.batch_size}, lr {settings.lr:g}, weight decay "
        f"{settings.weight_decay:g}",
        "augmentation": ", ".join(changes) or "no augmentation",
        "points": f"{settings.points} points a frame" if settings.points else "all points",
        "rule": data.benchmark.rule,
    }
