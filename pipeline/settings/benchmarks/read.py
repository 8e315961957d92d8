"""Settings of `clever benchmark read`."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from ..shared.base import JobSettings
from ..shared.fields import Codecs, ImageSize, StoreFolder

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
