"""Settings of `clever report`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from .look import PICTURE_KINDS
from .shared.base import Groups, JobSettings
from .shared.fields import Count, Device, Names, StorePlace

PARTS = ("curves", "scores", "pictures", "view", "settings")
"""Parts of the page that can be left out."""


class ReportSettings(JobSettings):
    """Settings of `clever report`."""

    groups: ClassVar[Groups] = {
        "What to show": ("places", "title", "leave_out"),
        "Frames": (
            "frames", "frame_ids", "split", "seed", "data_root", "cache", "points", "dimensions",
            "corruptions",
        ),
        "Output": ("out", "device"),
    }  # fmt: skip

    places: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Run folders, folders that hold some at any depth, or tables of clever "
            "ablate (the folder or its table.json) or of clever robustness (the folder).",
        ),
    ]
    title: Annotated[str | None, Field(description="Title; default: names of the runs.")] = None
    leave_out: Annotated[
        Names | None,
        Field(
            description=f"Parts to leave out, with commas: {', '.join(PARTS)}; or kinds of "
            f"pictures: {', '.join(PICTURE_KINDS)}."
        ),
    ] = None
    frames: Annotated[
        Count, Field(description="Frames of each run to draw, spread over the held-out part.")
    ] = 1
    frame_ids: Annotated[
        Names | None, Field(description="Ids of frames to draw instead, with commas.")
    ] = None
    split: Annotated[
        str | None,
        Field(description="Frames of a split instead; default: what the run was measured on."),
    ] = None
    seed: Annotated[int, Field(ge=0, description="Seed of the choice of frames and points.")] = 0
    data_root: Annotated[
        Path | None,
        Field(
            description="Dataset folder; default: the run's, else the environment variable "
            "CLEVER_DATA_ROOT. Pre-training runs need it for camera images alone."
        ),
    ] = None
    cache: Annotated[
        StorePlace | None,
        Field(description="Feature cache of pre-training runs; default: the run's."),
    ] = None
    points: Annotated[
        Count, Field(description="Points of a sweep in the 3D view, at most; drawn by the seed.")
    ] = 60_000
    dimensions: Annotated[
        int,
        Field(
            ge=3,
            le=128,
            description="Principal dimensions of the features in the 3D view, at most; fewer "
            "where they keep 99.5 % of the similarity.",
        ),
    ] = 32
    corruptions: Annotated[
        bool,
        Field(
            description="Also draw a frame of nuScenes or SemanticKITTI under the eight "
            "corruptions that clever robustness measures."
        ),
    ] = False
    out: Annotated[
        Path | None, Field(description="The page; default: report.html in the first place.")
    ] = None
    device: Annotated[Device, Field(description="Where fine-tuned networks run.")] = "auto"
