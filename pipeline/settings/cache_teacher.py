"""Settings of `clever cache-teacher`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...cache.choices import Codec, Occlusion, TokenKind
from .shared.base import Groups
from .shared.dataset import DatasetSettings
from .shared.fields import Device, ImageSize, Names, StoreFolder


class CacheTeacherSettings(DatasetSettings):
    """Settings of `clever cache-teacher`."""

    groups: ClassVar[Groups] = {
        "What to cache": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
            "limit", "cache",
        ),
        "Teacher": (
            "model", "weights", "image_size", "layer", "class_token", "position_embedding",
            "precision",
        ),
        "Store": ("codec", "tokens", "occlusion", "sweeps", "sweep_pairs"),
        "Run": (
            "plan", "rate", "device", "workers", "scheduler", "batch_images", "decoders", "strict",
            "retry_failed",
        ),
    }  # fmt: skip

    model: str = "vitb14"
    """Image teacher: vits14, vitb14, vitl14, vitg14 (DINOv2, also with _reg), dinov3-vits16,
    siglip2-vitb16 and others (table of docs/teachers.md), efficientnet_lite0 or any timm model."""
    weights: str = "hub"
    """hub, a file (the teacher's official one or timm's safetensors) or random:SEED."""
    image_size: ImageSize = (224, 448)
    """Height x width that images are resized to."""
    layer: Names | None = None
    """ViT: pre-norm (last block before the final norm), post-norm or block:N, from the end
    block:-2; CNN: stride:N. Given several times, one pass fills a layer of the store for each;
    default: the teacher's own, pre-norm of DINOv2 and post-norm of DINOv3."""
    class_token: bool = False
    """ViT: keep the class token of every image beside its grid (for a class-token loss)."""
    position_embedding: Literal["official", "timm"] = "official"
    """Where tokens of another image size lie, as the official code does or as timm does: DINOv2's
    and Franca's resampled embedding, DINOv3's rotary periods."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Arithmetic of the teacher; its matrices are loaded in it too. Default: that of a layer which
    the store has already, else bf16 for a ViT on a GPU and fp32 for the rest."""
    codec: Codec = "int8"
    """How features are stored."""
    tokens: TokenKind = "grid"
    """Store every token; only those within reach of a point (hit: smaller for large grids, same
    sampled features); or the interpolated feature of every pair (points: smaller where a camera has
    fewer pairs than tokens; no other interpolation, pictures or pairs from it afterwards;
    points-centred: by --no-align-corners). --plan says what each takes."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N frames only, and in a store that knows more of them those of the same shards."""
    cache: StoreFolder | None = None
    """Folder of the store; default: caches/DATASET.zarr."""
    batch_images: Annotated[int, Field(ge=1)] | None = None
    """Images in one teacher call; default: 64 on a GPU, 12 on a CPU."""
    decoders: Annotated[int, Field(ge=1)] | None = None
    """Threads that read images and resize them on the CPU, ahead of the teacher; default: the
    number of cores, at most 16; 2 a task with workers."""
    device: Device = "auto"
    """Where the teacher runs."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Worker processes on this machine, each with a GPU or a share of the cores; default: one a GPU
    where there are several, else 0: this process alone."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers do the work, tcp://HOST:PORT; all must see the data
    and the store."""
    occlusion: Occlusion = "none"
    """parallax: a point behind nearer ones in a camera makes no pair there; belongs to the store,
    not to a teacher."""
    sweeps: Annotated[int, Field(ge=0, le=1000)] = 0
    """nuScenes: also store so many sweeps before each keyframe, in its LiDAR frame, with their
    times; all frames of the store get theirs, by threads of this process."""
    sweep_pairs: bool = False
    """Also store the pairs of these sweeps with the keyframe's images."""
    strict: bool = False
    """Stop at the first bad frame instead of recording and skipping it."""
    retry_failed: bool = False
    """Try the frames again that an earlier run skipped, as if they had never failed."""
    plan: bool = False
    """Measure a few frames and print images, bytes and hours; nothing is kept. Where the weights
    cannot be had, sizes alone."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """For --plan: images/s that the teacher reaches elsewhere (BENCHMARKS.md); hours follow from
    it, and nothing is measured."""

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.cache or Path("caches") / f"{self.dataset.replace(':', '.')}.zarr"
