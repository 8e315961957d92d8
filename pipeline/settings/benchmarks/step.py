"""Settings of `clever benchmark step`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..pretrain import PretrainSettings
from ..shared.base import JobSettings
from ..shared.fields import Count, Device, ImageSize, Names, StorePlace


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
    same rounds, with semicolons for commas (match=pre-norm=last;block:-2=last-1); none: leave them
    out."""
    recipe: Names | None = None
    """Recipes of `clever pretrain` (docs/rivals.md), each by itself, whose whole steps are timed in
    the same rounds, at this voxel and batch size, and their peak memory measured; a recipe that
    needs regions or sweeps needs a `cache` that holds them."""
    regions: str | None = None
    """With --cache: layer of regions, or the beginning of its name, for recipes that need one;
    default: as pretrain."""
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
        own = ("voxel_size", "precision", "workers", "seed", "regions")
        flags = {name: getattr(self, name) for name in own} | {
            "cache": store,
            "teacher": self.teacher,
        }
        if changes and "match" in changes:  # which says itself who teaches
            flags["teacher"] = None
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
