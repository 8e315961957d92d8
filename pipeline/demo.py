"""The whole way on generated drives: cache, pre-train, probe against random weights, pictures."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..cache import FeatureCache
from ..cache.images import load_image
from ..words import quantity
from .cache_teacher import cache_teacher
from .datasets import build_dataset
from .drives import make_drives
from .evaluate import class_difference
from .finetune import finetune
from .finetuning.result import FinetuneResult
from .pictures.features import FrameFeatures, cloud_panels, feature_panels
from .pretrain import pretrain
from .pretraining.networks import build_step
from .pretraining.result import PretrainResult
from .pretraining.weights import start_from
from .process.device import choose_device, native_bfloat16
from .report import report_page
from .report_page.images import file_picture
from .report_page.page import Gallery
from .results.run_folder import notice
from .settings.cache_teacher import CacheTeacherSettings
from .settings.demo import DemoSettings
from .settings.finetune import FinetuneSettings
from .settings.make_drives import MakeDrivesSettings
from .settings.pretrain import PretrainSettings
from .settings.report import ReportSettings

LEARNING_RATE, PROBE_LEARNING_RATE = 3e-3, 1e-2
"""Above Table A1's, because the demo takes a hundred steps where the paper takes a hundred
thousand."""

PICTURES_LEAD = (
    "A held-out keyframe, trained and untrained. Colours: three principal directions of the "
    "teacher's features, the same in all panels, each around the mean and over the spread of its "
    "own panel."
)
PICTURES: Mapping[str, tuple[str, str]] = {
    "features": (
        "features.png",
        "Camera image, the teacher's features, the same at the LiDAR points, and what the student "
        "predicts there from the points alone, trained and untrained.",
    ),
    "above": ("cloud.png", "The same sweep from above; grey: no camera sees it."),
}
"""Files of the demo's own pictures and what they show, by the kind of picture of `clever look` that
they take the place of."""


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

    def __str__(self) -> str:
        probes = {"distilled": self.distilled.evaluation, "random weights": self.random.evaluation}
        lines = [
            f"mIoU {100 * probe.miou:5.1f} %  {name}: {probe.protocol}"
            for name, probe in probes.items()
        ]
        lines += filter(None, [class_difference(probes)])
        lines.append(f"cosine to the teacher on a held-out keyframe: {self.cosine:.3f}")
        return "\n".join([*lines, f"pictures: {self.page}  ({self.seconds:.0f} s)"])


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
        notice(
            f"1/5 making {settings.scenes} drives of "
            f"{quantity(settings.keyframes, 'keyframe')}: {drives}"
        )
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
    frame, cosine = _pictures(settings, store, drives, pretraining)
    page = out / "index.html"
    result = DemoResult(page, pretraining, distilled, random, cosine, 0.0)
    _write_page(settings, result, frame)
    return replace(result, seconds=time.monotonic() - started)


def _precision(settings: DemoSettings) -> Literal["fp32", "bf16"]:
    if settings.precision != "auto":
        return settings.precision
    on_cpu = choose_device(settings.device).type == "cpu"
    return "bf16" if on_cpu and native_bfloat16() else "fp32"


def _write_page(settings: DemoSettings, result: DemoResult, frame: str) -> None:
    """The page of `clever report` of the three runs and one held-out keyframe."""
    pretraining = result.pretraining
    runs = (pretraining.out, result.distilled.out, result.random.out)
    page = report_page(
        ReportSettings(
            places=tuple(map(str, runs)),
            title="clever demo",
            frame_ids=(frame,),
            leave_out=tuple(PICTURES),
            split="val",
            data_root=settings.out / "drives",
            device=settings.device,
            seed=settings.seed,
        )
    )
    page.lead = [
        *page.lead,
        f"Here the drives are generated and the teacher is {pretraining.teachers[0]}: the figures "
        "show that everything works, not how good the method is. The student is "
        f"{settings.student} with voxels of {settings.voxel_size} m, pre-trained for "
        f"{quantity(pretraining.epochs, 'epoch')} on "
        f"{quantity(pretraining.frames, 'keyframe')}; on the held-out keyframe "
        f"{frame} the cosine of its prediction and the teacher is {result.cosine:.3f} in the mean.",
    ]
    drawn = [
        file_picture(settings.out / file, kind, f"Keyframe {frame}. {text}")
        for kind, (file, text) in PICTURES.items()
    ]
    page.galleries.insert(0, Gallery("features", "Teacher and student", PICTURES_LEAD, drawn))
    page.write(result.page)


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
) -> tuple[str, float]:
    """Draw a held-out keyframe, trained and untrained, below ``out``; returns its id and the cosine
    to the teacher."""
    out = settings.out
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
    return frame.id, features.cosines()["student"]
