"""Settings of `clever cache-regions`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...cache.choices import RegionKind
from .shared.base import Groups
from .shared.dataset import DatasetName, WholePart
from .shared.fields import Count, ImageSize, Names, StoreFolder


class CacheRegionsSettings(WholePart):
    """Settings of `clever cache-regions`."""

    groups: ClassVar[Groups] = {
        "Store": ("cache", "size"),
        "Images": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
        ),
        "Superpixels": ("method", "segments", "compactness", "sigma"),
        "Masks in files": ("from_", "pattern", "name", "kind", "classes", "empty"),
        "Run": ("workers", "scheduler", "strict", "retry_failed"),
    }  # fmt: skip

    cache: StoreFolder
    """Folder of the store, with points and pairs; all of its frames get regions."""
    size: ImageSize = (224, 448)
    """Height x width of the stored maps."""
    dataset: DatasetName | None = None
    """Kind of dataset; default: the one that the store names."""
    method: Literal["slic"] | None = None
    """SLIC superpixels of the images in their own size; default, where no files are given."""
    segments: Count = 150
    """Segments asked for; SLIC merges small ones."""
    compactness: Annotated[float, Field(gt=0)] = 6.0
    """Weight of distance in the image beside distance in colour."""
    sigma: Annotated[float, Field(ge=0)] = 3.0
    """Pixels by which the image is smoothed before."""
    from_: Path | None = None
    """Folder of masks, one a camera image: PNG (a number a pixel) or NPZ (numbers, or one bool mask
    a region)."""
    pattern: str = "{image}.png"
    """Where the mask of an image lies in that folder: {image} is the name of the image's file,
    {token} nuScenes' token of its sample_data, {id} and {scene} those of the frame, {camera} the
    channel. Without {image} and {token} no dataset is needed."""
    name: str | None = None
    """What the masks are, for the layer's name (sam); default: the folder's name."""
    kind: RegionKind = "segment"
    """segment: numbers mean something in their image alone; class: the same in all images."""
    classes: Names | None = None
    """Names of the classes 0, 1, ... with commas; needed for kind class."""
    empty: Annotated[int, Field(ge=0)] | None = None
    """Number in the files that stands for no region."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Worker processes on this machine; default: 0, this process with a thread a core."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers do the work, tcp://HOST:PORT; all must see the data
    and the store."""
    strict: bool = False
    """Stop at the first bad frame instead of recording and skipping it."""
    retry_failed: bool = False
    """Try the frames again that an earlier run skipped, as if they had never failed."""
