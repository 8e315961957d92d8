"""The whole way on generated drives: cache, pre-train, probe against random weights, pictures."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..cache import FeatureCache
from ..cache.images import load_image
from ..files import atomic_write
from .cache_teacher import cache_teacher
from .datasets import build_dataset
from .drives import make_drives
from .finetune import FinetuneResult, finetune
from .pictures.features import FrameFeatures, cloud_panels, feature_panels
from .pictures.page import demo_page
from .pictures.panels import iou_bars, loss_curve
from .pretrain import PretrainResult, build_step, pretrain, start_from
from .process.device import choose_device, native_bfloat16
from .results.run_folder import notice
from .settings.cache_teacher import CacheTeacherSettings
from .settings.demo import DemoSettings
from .settings.finetune import FinetuneSettings
from .settings.make_drives import MakeDrivesSettings
from .settings.pretrain import PretrainSettings

LEARNING_RATE, PROBE_LEARNING_RATE = 3e-3, 1e-2
"""Above Table A1's, because the demo takes a hundred steps where the paper takes a hundred
thousand."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Attributes:
        page: the page of pictures.
        pretraining: the distillation run.
        distilled, random: the probes on the distilled student and on one with random weights.
        cosine: mean cosine between the student's prediction and the teacher on a held-out frame.
        seconds: wall time of this call.
    """

    page: Path
    pretraining: PretrainResult
    distilled: FinetuneResult
    random: FinetuneResult
    cosine: float
    seconds: float


def demo(settings: DemoSettings) -> DemoResult:
    """Run every stage below ``settings.out``; stages that are finished there already are not run
    again.

    Raises:
        CleverError: what a stage raises, among others an ``out`` of other settings.
    """
    started = time.monotonic()
    out = settings.out
    drives = out / "drives"
    if not drives.exists():
        notice(f"1/5 making {settings.scenes} drives of {settings.keyframes} keyframes: {drives}")
        make_drives(
            MakeDrivesSettings(
                out=drives, scenes=settings.scenes, keyframes=settings.keyframes, seed=settings.seed
            )
        )
    notice("2/5 caching EfficientNet-Lite0 features of every camera image")
    store = out / "cache.zarr"
    common = {"dataset": "nuscenes", "data_root": drives, "version": "v1.0-mini"}
    cache_teacher(
        CacheTeacherSettings(
            **common,
            model="efficientnet_lite0",
            split="all",
            cache=store,
            device=settings.device,
        )
    )
    notice("3/5 distilling them into a LiDAR student")
    pretraining = pretrain(
        PretrainSettings(
            cache=store,
            student=settings.student,
            voxel_size=settings.voxel_size,
            head_hidden=settings.head_hidden,
            epochs=settings.epochs,
            batch_size=2,
            lr=LEARNING_RATE,
            split="train",
            precision=_precision(settings),
            device=settings.device,
            seed=settings.seed,
            out=out / "pretrain",
        )
    )
    notice("4/5 linear probes on the distilled student and on random weights")
    distilled = _probe(settings, drives, out / "probe-distilled", pretraining.out)
    random = _probe(settings, drives, out / "probe-random", None)
    notice("5/5 pictures")
    cosine = _pictures(
        settings, store, drives, pretraining, {"distilled": distilled, "random weights": random}
    )
    page = out / "index.html"
    seconds = time.monotonic() - started
    result = DemoResult(page, pretraining, distilled, random, cosine, seconds)
    _write_page(settings, result)
    return result


def _precision(settings: DemoSettings) -> Literal["fp32", "bf16"]:
    if settings.precision != "auto":
        return settings.precision
    on_cpu = choose_device(settings.device).type == "cpu"
    return "bf16" if on_cpu and native_bfloat16() else "fp32"


def _write_page(settings: DemoSettings, result: DemoResult) -> None:
    pretraining = result.pretraining
    text = demo_page(
        teacher=pretraining.teachers[0],
        student=f"{settings.student}, {settings.voxel_size} m voxels",
        training=f"{pretraining.epochs} epochs on {pretraining.frames} keyframes",
        scores={
            "distilled": result.distilled.evaluation.miou,
            "random weights": result.random.evaluation.miou,
        },
        protocol=result.distilled.evaluation.protocol,
    )
    atomic_write(result.page, text)


def _probe(
    settings: DemoSettings, drives: Path, out: Path, checkpoint: Path | None
) -> FinetuneResult:
    start = (
        {"checkpoint": checkpoint}
        if checkpoint
        else {"checkpoint": "none", "student": settings.student}
    )
    return finetune(
        FinetuneSettings.model_validate(
            {
                **start,
                "voxel_size": None if checkpoint else settings.voxel_size,
                "dataset": "nuscenes",
                "data_root": drives,
                "version": "v1.0-mini",
                "mode": "probe",
                "recipe": "scalr",
                "epochs": settings.probe_epochs,
                "batch_size": 4,
                "lr": PROBE_LEARNING_RATE,
                "device": settings.device,
                "seed": settings.seed,
                "out": out,
            }
        )
    )


def _pictures(
    settings: DemoSettings,
    store: Path,
    drives: Path,
    pretraining: PretrainResult,
    probes: dict[str, FinetuneResult],
) -> float:
    """Write every picture below ``out``; returns the cosine to the teacher on a held-out frame."""
    out = settings.out
    records = [
        json.loads(line) for line in (pretraining.out / "log.jsonl").read_text().splitlines()
    ]
    loss_curve(
        records,
        f"distillation, {pretraining.frames} frames, seed {pretraining.seed}",
        out / "loss.png",
    )
    protocol = probes["distilled"].evaluation.protocol
    iou_bars(
        {name: probe.evaluation.iou for name, probe in probes.items()}, protocol, out / "iou.png"
    )
    cache = FeatureCache(store)
    dataset = build_dataset("nuscenes", drives, version="v1.0-mini", split="val")
    number = len(dataset) // 2
    frame = dataset.frame(number)
    run_settings = PretrainSettings.resolve(pretraining.out / "settings.yaml", {})
    untrained, trained = (build_step(run_settings, [cache]) for _ in range(2))
    start_from(pretraining.out, trained)
    features = FrameFeatures.of(
        cache[cache.position(frame.id)],
        cache.cameras,
        [load_image(camera.image) for camera in frame.cameras],
        {
            "student": (trained.student, trained.heads[0]),
            "random weights": (untrained.student, untrained.heads[0]),
        },
        run_settings.align_corners,
    )
    title = f"held-out keyframe {frame.id}; {pretraining.student}, seed {pretraining.seed}"
    feature_panels(features, features.best_cameras(3), title, out / "features.png")
    cloud_panels(features, title, out / "cloud.png")
    return features.cosines()["student"]
