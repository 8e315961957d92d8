"""Settings of `clever benchmark teacher`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..cache_teacher import CacheTeacherSettings
from ..shared.dataset import WholeDatasetSettings
from ..shared.fields import Device, ImageSize, Names


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
