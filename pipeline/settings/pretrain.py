"""Settings of `clever pretrain`, and its recipes."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ...student.choices import (
    Centring,
    Distance,
    DistillationLoss,
    NeighbourRule,
    PTv3Form,
    StudentName,
    Weighting,
)
from .shared.base import Groups
from .shared.choices import (
    BatchChoice,
    CameraChoice,
    IntensityChoice,
    Mixing,
    PointChoice,
    TargetChoice,
)
from .shared.fields import Count, Names, StorePlace, StorePlaces, Weights
from .shared.matches import Matches
from .shared.recipes import PretrainRecipe, read_recipe
from .shared.terms import Terms
from .shared.training import TrainingSettings

NEAR = ("file://", "local://", "memory://")
"""URLs of this machine, or of this process alone."""


def refuse_image_changes(value: object) -> object:
    """Refuse flips and crops of images, which a store of features cannot give."""
    words = str(value).lower().replace("_", "-").split("-")
    if not {"image", "images", "hflip", "vflip", "flip", "mirror", "crop"}.isdisjoint(words):
        raise ValueError(
            "should be pointcept, scalr or none: images are stored as features, and a mirrored or "
            "cut feature map is not that of the mirrored or cut image (docs/teachers.md); clouds "
            "are flipped by pointcept and scalr"
        )
    return value


class PretrainSettings(TrainingSettings):
    """Settings of `clever pretrain`; the defaults are the paper's (Table A1, section 3)."""

    groups: ClassVar[Groups] = {
        "What to train on": (
            "cache", "teacher", "split", "scenes", "sequences", "init", "limit", "intensity",
            "intensity_dropout",
        ),
        "Several caches": ("mixing", "cache_weight", "batches", "mix3d_across"),
        "Network": (
            "recipe", "student", "voxel_size", "ptv3_form", "patch", "head", "head_layers",
            "head_hidden",
        ),
        "Distillation": (
            "match", "class_token_weight", "targets", "centre", "loss", "weighting", "view",
            "input_sweeps", "points", "pairs", "align_corners", "augmentation", "mix3d",
        ),
        "Contrast": (
            "terms", "regions", "temperature", "contrast_channels", "drawn_pairs", "pixel_stride",
            "drawn_cameras", "prototype_steps", "overlap_radius", "dense_sweeps",
        ),
        "Occupancy": (
            "occupancy_weight", "occupancy", "occupancy_points", "occupancy_delta",
            "occupancy_distance", "occupancy_radius", "occupancy_neighbours",
        ),
        "Optimiser": ("epochs",),
        "Run": ("rankme_every",),
    }  # fmt: skip

    cache: StorePlaces
    """Feature cache, a folder or a URL (s3://...); the only thing that is read. Given several
    times, the student learns from all of them, which must hold features of the same teacher, layer
    and resizing; image sizes may differ."""
    mixing: Mixing = "concat"
    """concat: every frame of every cache once a pass (ScaLR); balanced: as many frames of each
    cache; ratio: by cache_weight. A pass is as long in all three."""
    cache_weight: Weights | None = None
    """For the mixing by ratio: a weight for each cache, in their order."""
    batches: BatchChoice = "mixed"
    """Batches of frames of all caches, or of one cache each (Pointcept)."""
    mix3d_across: bool = False
    """Let Mix3D mix frames of different caches too; else those of a batch come in pairs of one."""
    intensity: IntensityChoice = "raw"
    """Intensities as they are, in [0, 1], or standardised (ScaLR): less the mean over the frames of
    their cache that are used, over their deviation. The student keeps these figures and
    standardises by itself from then on."""
    intensity_dropout: Annotated[float, Field(ge=0, le=1)] = 0
    """Probability that a frame's intensities are all 0 to the student, as an augmentation."""
    recipe: PretrainRecipe = "clever"
    """Where all other defaults come from: the paper's recipe, whose values stand in brackets here,
    ScaLR's, ScaLR+'s (several caches), HilDA's two layers and class token, or a rival's
    (docs/rivals.md). YAML files in the package."""
    teacher: Names | None = None
    """Layer of the cache, or the beginning of its name; default: the only one. Given several times,
    the student learns from all of them at once, through a head for each."""
    split: str | None = None
    """Frames of a split of the dataset, or all; default: train where the cache knows splits, else
    all."""
    scenes: Names | None = None
    """Frames of these scenes, with commas; they win over the split."""
    sequences: Names | None = None
    """Frames of these drives, as of SemanticKITTI; they win over the split."""
    init: Path | None = None
    """Run to start from: its student, and its heads where they fit. Optimiser and schedule
    begin anew."""
    student: StudentName = "minkunet34"
    """LiDAR network."""
    ptv3_form: PTv3Form | None = None
    """PTv3 only: v3m1 is Pointcept's PT-v3m1, the paper's network; in the refreshed form the
    decoder's position convolutions see the features from below and a scene's features depend on no
    other scene; default: v3m1."""
    patch: Count | None = None
    """PTv3 only: voxels that attend to each other; default: 1024."""
    head: Literal["mlp", "linear"] = "mlp"
    """Projection head; linear is one layer."""
    head_layers: Count = 3
    """Layers of the MLP head."""
    head_hidden: Count = 2048
    """Width of the MLP head."""
    match: Matches | None = None
    """LAYER=STAGE or LAYER=STAGE:WEIGHT, repeated: which layer of the cache (block:-2, or its id)
    teaches which decoder stage of the student (last, last-1, ...), each through a head of its own;
    default: every teacher the last stage."""
    class_token_weight: Annotated[float, Field(ge=0)] = 0
    """Weight of the class-token loss: the maximum over points of an MLP learns the maximum over
    cameras of the images' class tokens, by squared error. 0 leaves it out."""
    targets: TargetChoice = "raw"
    """Teacher features as they are, or standardised: every channel less its mean over the cache,
    over its deviation, so that no channel dominates (for a layer without its final norm)."""
    centre: Centring = "none"
    """frames: predictions and targets less their mean over the pairs of each frame; patches: the
    same after both are averaged over the points of each patch, which counts once (Concerto)."""
    loss: DistillationLoss = "l2"
    """Distance between unit features: l2, its square (mse), or one minus the cosine."""
    terms: Terms | None = None
    """NAME or NAME=WEIGHT, repeated: the losses beside occupancy that are added up
    (docs/rivals.md); default: distance alone, the distance to the teacher's features."""
    regions: str | None = None
    """Layer of regions of the cache, or the beginning of its name, for terms that need one;
    default: the only one of segments, or of classes where a term needs them, else the only one."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Of every contrast."""
    contrast_channels: Count = 64
    """Width of the space in which points and pixels are contrasted; both sides have a linear layer
    to it."""
    drawn_pairs: Annotated[int, Field(ge=2)] = 4096
    """Pairs that a contrast of pairs draws over the whole batch; one alone has no other to be told
    from."""
    pixel_stride: Count = 1
    """Every how many rows and columns of the maps pixels are pooled; 4 costs 16 times less than
    1."""
    drawn_cameras: Count | None = None
    """Cameras drawn of each frame whose pairs and regions count, shared by all of its passes;
    default: all."""
    prototype_steps: Count = 10000
    """Steps that only gather the statistics of the prototypes."""
    overlap_radius: Annotated[float, Field(gt=0)] = 0.15
    """Metres within which points of two frames are at one place, for the term temporal."""
    dense_sweeps: Count = 2
    """Earlier sweeps of the dense cloud, for the terms d2s; the cache must hold them with pairs."""
    weighting: Weighting = "view"
    """Mean over each camera view and then the views (equation 1), or over all pairs at once
    (ScaLR)."""
    view: CameraChoice = "all"
    """The whole sweep and all cameras, or one random camera and the points that it sees (ScaLR)."""
    input_sweeps: Annotated[int, Field(ge=0)] = 0
    """Earlier sweeps of the cache that are part of every frame's cloud, without pairs: a denser
    input."""
    points: PointChoice | None = None
    """Which points have pairs and occupancy queries: one of each voxel, drawn anew each time
    (Pointcept, the paper's framework, ScaLR and ALSO), or all, so that near surfaces, with most
    points a voxel, weigh more; default: that of the run that goes on in `out`, else voxel."""
    pairs: Count | None = None
    """At most so many pairs a camera view, drawn anew each time; default: all."""
    occupancy: Literal["paper", "also"] = "paper"
    """The extra task that needs no images: say of a place (a query) beside a LiDAR point whether it
    is empty or inside something. paper: the feature of that point answers, three queries a point,
    squared error of the intensity; also: the features of voxels around it answer, through a latent
    layer of 128, one query a point, absolute error, as ALSO does."""
    occupancy_weight: Annotated[float, Field(ge=0)] = 0.05
    """How much the task counts beside the distillation loss; 0 leaves it out."""
    occupancy_points: Count | None = None
    """LiDAR points of a frame beside which queries are placed; default: an eighth of its points
    (paper), 2048 (also)."""
    occupancy_delta: Annotated[float, Field(gt=0)] = 0.1
    """Metres by which a query lies in front of its point (empty) or behind it (inside), at most."""
    occupancy_distance: Distance = "uniform"
    """uniform: queries lie anywhere up to that distance, as ALSO's; fixed: exactly there."""
    occupancy_radius: Annotated[float, Field(gt=0)] = 1.0
    """also: metres around a query within which voxels answer."""
    occupancy_neighbours: NeighbourRule | None = None
    """also: which 32 voxels answer where there are more: the nearest, or the first in the order of
    x, y, z, as in ALSO's code; default: first."""
    voxel_size: Annotated[float, Field(gt=0)] = 0.05
    """Metres."""
    epochs: Count = 50
    """Passes over the cache; the paper trains 50 or 100. More than the finished run in --out has
    prolong it: from its last weights the added passes are one more cycle of the schedule, with
    warm-up, the same peak and a new optimiser."""
    augmentation: Annotated[
        Literal["pointcept", "scalr", "none"], BeforeValidator(refuse_image_changes)
    ] = "pointcept"
    """Rotate, scale, flip and jitter the clouds, as Pointcept (the paper) or ScaLR does. Images are
    not changed: their features are stored."""
    mix3d: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that two frames of a batch are mixed."""
    align_corners: bool = True
    """Corner tokens lie on corner pixels (ScaLR); otherwise on the centres of their patches."""
    rankme_every: Annotated[int, Field(ge=0)] = 10
    """Passes between measurements of RankMe and matrix rank; there is one in the end. 0: none."""
    limit: Count | None = None
    """First N frames only."""

    older: ClassVar[dict[str, Any]] = {"points": "all"}

    @property
    def reads_elsewhere(self) -> bool:
        """Whether a cache lies behind a URL that other processes can read too, over a network."""
        urls = [place for place in self.caches if isinstance(place, str)]
        return any(not url.startswith(NEAR) for url in urls)

    @property
    def caches(self) -> tuple[StorePlace, ...]:
        """Where the caches lie."""
        return self.cache if isinstance(self.cache, tuple) else (self.cache,)

    @classmethod
    def defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The recipe's values."""
        return read_recipe(str(values.get("recipe", "clever")))
