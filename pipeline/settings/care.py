"""Settings of `clever cache verify` and `clever cache repair`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ...cache.choices import Codec
from .shared.base import JobSettings
from .shared.dataset import DatasetName, WholePart
from .shared.fields import Device, Names, StoreFolder, StorePlace


class SourceSettings(WholePart):
    """The dataset that a store was made from."""

    dataset: DatasetName | None = None
    """Kind of dataset; default: the one that the store names."""


class VerifySettings(SourceSettings):
    """Settings of `clever cache verify`."""

    path: StorePlace
    """Folder or URL of the store."""
    dataset_free: bool = False
    """Check the store alone, even where CLEVER_DATA_ROOT names a dataset."""
    sample: Annotated[int, Field(ge=0)] = 16
    """Frames whose points and pairs are derived from the dataset again."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sample."""


class RepairSettings(SourceSettings):
    """Settings of `clever cache repair`."""

    path: StoreFolder
    """Folder of the store."""
    weights: str | None = None
    """Where the weights of the damaged layer's teacher lie now: hub or a file; default: where they
    were."""
    masks: Path | None = None
    """Where the files of the damaged layer's masks lie now; default: where they were."""
    batch_images: Annotated[int, Field(ge=1)] | None = None
    """Images in one teacher call; the same as when the cache was made gives the same bytes."""
    decoders: Annotated[int, Field(ge=1)] | None = None
    """Threads that read images and resize them on the CPU, ahead of the teacher; default: the
    number of cores, at most 16."""
    device: Device = "auto"
    """Where the teacher runs."""


class InfoSettings(JobSettings):
    """Settings of `clever cache info`."""

    path: StorePlace
    """Folder or URL of the store."""


class DropSettings(JobSettings):
    """Settings of `clever cache drop-teacher`."""

    path: StoreFolder
    """Folder of the store."""
    teacher: str
    """Whole id of the layer."""


class DropRegionsSettings(JobSettings):
    """Settings of `clever cache drop-regions`."""

    path: StoreFolder
    """Folder of the store."""
    regions: str
    """Id of the layer, or the beginning of one; regions/ may be left out."""


class DropSweepsSettings(JobSettings):
    """Settings of `clever cache drop-sweeps`."""

    path: StoreFolder
    """Folder of the store."""


class CopySettings(JobSettings):
    """Settings of `clever cache copy`."""

    source: StorePlace
    """Folder or URL of the store."""
    target: StoreFolder
    """Folder of the copy."""
    teacher: Names | None = None
    """Layer, or the beginning of its id; may repeat."""
    regions: Names | None = None
    """Layer of regions, or the beginning of its id; may repeat; default: all."""
    scene: Names | None = None
    """Scene to copy; may repeat."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First N of these frames only."""
    codec: Codec | None = None
    """Encode the copied features anew."""


class ManifestSettings(JobSettings):
    """Settings of `clever cache export-manifest`."""

    path: StorePlace
    """Folder or URL of the store."""
    out: Path | None = None
    """File to write; default: print."""
