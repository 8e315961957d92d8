"""What can be chosen of a student's training, by name; imports nothing heavy."""

from typing import Literal

StudentName = Literal[
    "minkunet34", "minkunet18", "minkunet-tiny",
    "ptv3", "ptv3-256", "ptv3-tiny",
    "waffleiron-48-768", "waffleiron-48-768-plus", "waffleiron-48-256", "waffleiron-tiny",
]  # fmt: skip
"""The students; each has its line in the table of `registry`."""

LossTerm = Literal[
    "distance", "pairs", "regions", "class-pairs", "prototypes", "flow", "d2s", "d2s-cosine",
    "temporal",
]  # fmt: skip
"""Losses of pre-training beside occupancy; each has its line in `pipeline.steps.terms`."""

DistillationLoss = Literal["l2", "mse", "cosine"]
SegmentationLoss = Literal["ce+lovasz", "ce"]
"""Cross-entropy plus Lovasz-softmax, 1 : 1, or cross-entropy alone."""

Centring = Literal["none", "frames", "patches"]
"""What a distillation leaves out of both sides, see `losses.centring`."""
Weighting = Literal["view", "pair"]

PTv3Form = Literal["v3m1", "refreshed"]
"""Forms of PointTransformer V3 with the same weights: see `PointTransformerV3`."""

Aggregation = Literal["source", "radius"]
QueryPattern = Literal["triple", "thirds"]
Distance = Literal["uniform", "fixed"]
NeighbourRule = Literal["nearest", "first"]
"""Which supports within a radius answer where there are more than enough: see `neighbours`."""
IntensityError = Literal["mse", "l1"]
ScalrIntensity = Literal["nuscenes", "semantickitti", "pandar64", "pandargt"]
"""Datasets by whose intensities ScaLR's networks were trained."""
