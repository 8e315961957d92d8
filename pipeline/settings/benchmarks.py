"""Settings of `clever benchmark`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .base import JobSettings
from .cache_teacher import CacheTeacherSettings
from .corruptions import CorruptionSettings
from .dataset import WholeDatasetSettings
from .fields import Codecs, Count, Device, ImageSize, Names, StoreFolder, StorePlace
from .pretrain import PretrainSettings


class BenchmarkOcclusionSettings(WholeDatasetSettings):
    """Settings of `clever benchmark occlusion`."""

    scenes: Annotated[int, Field(ge=1, le=9999)] = 6
    """Generated scenes."""
    keyframes: Annotated[int, Field(ge=1, le=400)] = 2
    """Keyframes a scene, spread over ten seconds."""
    image_width: Annotated[int, Field(ge=64, le=3200)] = 800
    """Width of the images in pixels."""
    azimuths: Annotated[int, Field(ge=90, le=4320)] = 1080
    """LiDAR firings a turn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    picture: Path | None = None
    """PNG to draw of a frame of --data-root: kept and dropped pairs over its images."""
    data_root: Path | None = None
    """With --picture: dataset folder."""
    frame: Annotated[int, Field(ge=0)] = 0
    """With --picture: number of the frame in the dataset."""
    out: Path = Path("benchmark-occlusion.json")
    """JSON file with the counts."""


WorkerCounts = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
]


class BenchmarkReadSettings(JobSettings):
    """Settings of `clever benchmark read`."""

    cache: StoreFolder | None = None
    """Store to read; default: one of random ViT-like features in the temporary folder."""
    teacher: str | None = None
    """With --cache: id of the teacher layer, or its beginning."""
    frames: Annotated[int, Field(ge=1)] = 32
    """Frames to read, over and over in random order."""
    cameras: Annotated[int, Field(ge=1)] = 6
    """Random store: cameras of a frame."""
    grid: ImageSize = (16, 32)
    """Random store: tokens down x across."""
    channels: Annotated[int, Field(ge=1)] = 384
    """Random store: features of a token."""
    points: Annotated[int, Field(ge=1)] = 34688
    """Random store: points of a sweep; each camera sees a fifth of them."""
    codecs: Codecs = ("int8", "int8-zstd", "fp16")
    """Random store: codecs of our reader; the others read the first."""
    workers: WorkerCounts = (0, 1, 2)
    """Numbers of DataLoader worker processes; 0 is this process."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Interleaved rounds; medians and quartiles are over them."""
    seconds: Annotated[float, Field(gt=0)] = 0.12
    """Time of one measurement."""
    seed: int = 0
    """Seed of the random store and of the order of reading."""
    out: Path = Path("benchmark-read.json")
    """JSON file with every round."""


class BenchmarkStepSettings(JobSettings):
    """Settings of `clever benchmark step`; what is not here is as `clever pretrain` has it by
    default."""

    cache: StorePlace | None = None
    """Store to train from, a folder or a URL; default: one of random features over generated
    sweeps, as large as those of nuScenes."""
    teacher: str | None = None
    """With --cache: layer of the store, or the beginning of its name."""
    frames: Count = 16
    """Random store: frames."""
    cameras: Annotated[int, Field(ge=1, le=6)] = 6
    """Random store: cameras of a frame."""
    grid: ImageSize = (16, 32)
    """Random store: tokens down x across."""
    channels: Count = 768
    """Random store: features of a token."""
    points: Count = 34688
    """Random store: rays of a sweep; those that meet something become its points."""
    students: Names = ("minkunet34", "ptv3-256")
    """Students, each measured by itself."""
    batch_size: Count | None = None
    """Frames a step; default: 16 on a GPU, 2 on a CPU."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    """Metres."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the step and of the teachers in it."""
    recompute: bool = False
    """Activation checkpointing in what is timed; memory is measured with and without."""
    against: Names = ("points=all", "precision=bf16")
    """Other settings of `clever pretrain`, each by itself, with which whole steps are timed in the
    same rounds; none: leave them out."""
    teachers: Names = ("vits14", "vitb14", "vitl14")
    """Image networks, untrained, that are timed as if they ran in the loop; none: leave them
    out."""
    image_size: ImageSize = (224, 448)
    """Height x width of their images."""
    device: Device = "auto"
    """Where to train."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes; default: as pretrain."""
    rounds: Count = 5
    """Rounds, each over another batch, in which all sides alternate; medians and quartiles are over
    them."""
    warmup: Count = 1
    """Rounds before them that do not count."""
    steps: Count | None = None
    """Steps in one measurement; default: 5 on a GPU, 1 on a CPU."""
    loader_steps: Count = 10
    """Steps by the training loop and its loader, from which the share of waiting for data comes."""
    profiled: Annotated[int, Field(ge=0)] = 2
    """Steps under the profiler, from which the time by part comes; 0: none."""
    memory: bool = True
    """Also measure peak memory, each side in a process of its own."""
    seed: int = 0
    """Seed of store, weights, batches and all that a step draws."""
    out: Path = Path("benchmark-step.json")
    """JSON file with every round."""

    def job(
        self,
        store: str | Path,
        student: str,
        device: str,
        recompute: bool,
        changes: Mapping[str, str] | None = None,
    ) -> PretrainSettings:
        """The training run whose steps are measured, with `changes` of its settings."""
        own = ("voxel_size", "precision", "workers", "seed")
        flags = {name: getattr(self, name) for name in own} | {
            "cache": store,
            "teacher": self.teacher,
        }
        batch_size = self.batch_size or (16 if device == "cuda" else 2)
        flags |= {
            "student": student,
            "batch_size": batch_size,
            "device": device,
            "recompute": recompute,
        }
        return PretrainSettings.resolve(None, {**flags, **(changes or {})})

    def repeats(self, device: str) -> int:
        """Steps in one measurement."""
        return self.steps or (5 if device == "cuda" else 1)


class BenchmarkStartSettings(JobSettings):
    """Settings of `clever benchmark start`."""

    rounds: Count = 7
    """Rounds in which all commands alternate; medians and quartiles are over them."""
    out: Path = Path("benchmark-start.json")
    """JSON file with every round."""


class BenchmarkCorruptionsSettings(CorruptionSettings, WholeDatasetSettings):
    """Settings of `clever benchmark corruptions`."""

    frame: Annotated[int, Field(ge=0)] = 0
    """Number of the frame."""
    rounds: Count = 5
    """Rounds in which all corruptions alternate; medians and quartiles are over them."""
    out: Path = Path("benchmark-corruptions.json")
    """JSON file with every round."""


class BenchmarkConvSettings(WholeDatasetSettings):
    """Settings of `clever benchmark conv`."""

    data_root: Path | None = None
    """Dataset whose frame is used; default: a generated sweep as large as nuScenes'."""
    frame: Annotated[int, Field(ge=0)] = 0
    """Number of the frame."""
    students: Names = ("minkunet34", "minkunet-tiny")
    """Students whose backbones are timed."""
    voxel_size: Annotated[float, Field(gt=0)] | None = None
    """Metres; default: 0.05, and 0.2 for the tiny ones."""
    rounds: Count = 7
    """Rounds in which all sides alternate; medians and quartiles are over them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the weights and of the generated sweep."""
    out: Path = Path("benchmark-conv.json")
    """JSON file with every round."""


class BenchmarkTeacherSettings(WholeDatasetSettings):
    """Settings of `clever benchmark teacher`."""

    data_root: Path | None = None
    """Dataset whose frames are used; default: generated 1600x900 JPEGs."""
    generated_cameras: Annotated[int, Field(ge=1)] = 6
    """Generated: images of a frame."""
    model: str = "vits14"
    """Image teacher."""
    weights: str = "random:0"
    """hub, a file or random:SEED; the speed does not depend on it."""
    image_size: ImageSize = (224, 448)
    """Height x width that images are resized to."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the teacher."""
    against: Literal["fp32", "bf16", "fp16", "none"] = "bf16"
    """Another arithmetic with which runs from files to store are timed in the same rounds; none:
    leave it out."""
    beside_layer: Names | None = None
    """Further layers, such as block:-2: runs that fill them too, in one pass, are timed in the same
    rounds."""
    codec: Literal["int8", "int8-zstd", "fp16"] = "int8"
    """How features are stored."""
    batch_images: Annotated[int, Field(ge=1)] | None = None
    """Images in one teacher call; default: 64 on a GPU, 12 on a CPU."""
    decoders: Annotated[int, Field(ge=1)] | None = None
    """Threads that read images and resize them on the CPU; default: as cache-teacher."""
    device: Device = "auto"
    """Where the teacher runs."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames of an end-to-end run; default: 8 on a CPU, 400 on a GPU. The dataset is repeated as
    often as needed."""
    rounds: Annotated[int, Field(ge=1)] = 3
    """Rounds in which network and whole alternate; medians and quartiles are over them."""
    memory: bool = True
    """Also compare the peak memory of runs over 39 and 390 frames, with a small teacher so that the
    rest shows."""
    out: Path = Path("benchmark-teacher.json")
    """JSON file with every round."""

    def job(self, store: Path) -> CacheTeacherSettings:
        """The settings of `clever cache-teacher` that are measured."""
        own = CacheTeacherSettings.model_fields.keys() & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in own}
        return CacheTeacherSettings(**{**values, "cache": store, "workers": 0})
