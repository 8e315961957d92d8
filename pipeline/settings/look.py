"""Settings of `clever look`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from .shared.base import Groups
from .shared.dataset import DatasetName, HeldOutPart
from .shared.fields import Count, Device, Names, StorePlace


def _point(value: object) -> list[float] | None:
    """Accept ``"1,2,3"``; refuse what is not three numbers."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in parts] if isinstance(parts, list | tuple) else []
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3:
        raise ValueError("should be three numbers X,Y,Z in metres, as in 10,2,-1")
    return numbers


def _pixel(value: object) -> tuple[str, float, float] | None:
    """Accept ``"CAM_FRONT,800,450"``; refuse what is no camera and two numbers."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    try:
        if isinstance(parts, list | tuple) and len(parts) == 3:
            return str(parts[0]), float(parts[1]), float(parts[2])
    except (TypeError, ValueError):
        pass
    raise ValueError("should be CAMERA,U,V with U, V in pixels, as in CAM_FRONT,800,450")


LABEL_KINDS = ("labels", "labels-cameras")
"""Kinds of pictures of a fine-tuning run."""
FEATURE_KINDS = ("features", "above", "similarity", "occupancy", "regions")
"""Kinds of pictures of a pre-training run."""
PICTURE_KINDS = LABEL_KINDS + FEATURE_KINDS


class LookSettings(HeldOutPart):
    """Settings of `clever look`."""

    groups: ClassVar[Groups] = {
        "What to draw": ("checkpoint", "kinds", "frame_ids", "frames", "seed", "point", "pixel"),
        "Teacher": ("cache", "teacher"),
        "Dataset": (
            "dataset", "data_root", "version", "split", "sequences", "cameras", "dataset_option",
        ),
        "Output": ("out", "rerun", "device"),
    }  # fmt: skip

    checkpoint: Annotated[Path, Field(description="Folder of a pre-training or fine-tuning run.")]
    kinds: Annotated[
        Names | None,
        Field(
            description="Kinds of pictures to draw, with commas: of fine-tuning runs "
            f"{', '.join(LABEL_KINDS)}, of pre-training runs {', '.join(FEATURE_KINDS)}; "
            "default: all."
        ),
    ] = None
    frame_ids: Annotated[
        Names | None,
        Field(description="Ids of frames to draw, with commas, instead of --frames."),
    ] = None
    frames: Annotated[Count, Field(description="Frames to draw, spread over all of the split.")] = 2
    seed: Annotated[
        int, Field(ge=0, description="Seed of the choice of frames, points and queries.")
    ] = 0
    point: Annotated[
        tuple[float, float, float] | None,
        BeforeValidator(_point),
        Field(
            description="X,Y,Z: pre-training runs: a place in metres around the sensor; the point "
            "next to it is compared with all others; default: one drawn by the seed among those "
            "that a camera sees."
        ),
    ] = None
    pixel: Annotated[
        tuple[str, float, float] | None,
        BeforeValidator(_pixel),
        Field(description="CAMERA,U,V: pre-training runs: the same for the point next to a pixel."),
    ] = None
    cameras: Annotated[
        Names | None,
        Field(
            description="Names of cameras, with commas: pre-training runs: whose features are "
            "drawn; default: the three that see most points; fine-tuning runs: those to read; "
            "default: the dataset's own."
        ),
    ] = None
    cache: Annotated[
        StorePlace | None,
        Field(
            description="Pre-training runs: feature cache with frames and teacher; default: the "
            "run's."
        ),
    ] = None
    teacher: Annotated[
        str | None,
        Field(
            description="Pre-training runs with several teachers: which one to compare with, or "
            "the beginning of its name; default: the run's first."
        ),
    ] = None
    dataset: Annotated[
        DatasetName | None,
        Field(
            description="Kind of dataset; default: the run's. Pre-training runs need it for "
            "images alone, and only with --data-root."
        ),
    ] = None
    out: Annotated[
        Path | None, Field(description="Folder for the pictures; default: look in the checkpoint.")
    ] = None
    rerun: Annotated[
        Path | None,
        Field(
            description="FILE.rrd: also write an interactive recording; needs pip install "
            "'clever-distiller[rerun]'."
        ),
    ] = None
    device: Annotated[Device, Field(description="Where fine-tuned networks run.")] = "auto"
