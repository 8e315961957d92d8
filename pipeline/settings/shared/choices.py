"""What can be chosen in several settings, by name."""

from typing import Literal

CameraChoice = Literal["all", "one-camera"]
"""The whole sweep and all cameras, or what one random camera sees of it (ScaLR)."""


Mixing = Literal["concat", "balanced", "ratio"]
"""How often frames of several caches are drawn: each as often as any other, as many of each cache,
or by weights."""


BatchChoice = Literal["mixed", "one-cache"]
"""Batches of frames of all caches, or of a single one each."""


IntensityChoice = Literal["raw", "standardised"]
"""Intensities as stored, or less the mean of their cache's, over their deviation."""


PointChoice = Literal["voxel", "all"]
"""One point of each voxel, drawn anew each time, or all of them."""


ClassMean = Literal["present", "all"]
"""Mean IoU over the classes that occur in labels or predictions, or over all, where an absent class
counts 0."""


FrameSampler = Literal["frames", "scenes", "every-nth", "every-nth-scene"]
"""How a fraction of the labelled frames is taken: see `steps.samplers.SAMPLERS`."""


TargetChoice = Literal["raw", "standardised"]
"""How teacher features are given to a distillation, see `cache.standardise`."""


Schedule = Literal["onecycle", "cosine", "rsqrt"]


InputFormat = Literal["auto", "kitti", "nuscenes", "pcd", "ply", "las"]


CorruptionName = Literal[
    "fog",
    "wet_ground",
    "snow",
    "motion_blur",
    "beam_missing",
    "crosstalk",
    "incomplete_echo",
    "cross_sensor",
]
"""Corruptions of Robo3D, named as the folders of the published sets are, in the order of its
tables."""


Severity = Literal["light", "moderate", "heavy"]


SensorName = Literal["nuscenes", "semantickitti"]
"""For whose sweeps the strengths of corruptions are published."""


DetectorName = Literal["point-head", "point-rcnn", "centre"]
"""Networks that find boxes: see `detectors.registry.DETECTORS`."""
