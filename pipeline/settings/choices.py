"""What can be chosen in several settings, by name."""

from typing import Literal

CameraChoice = Literal["all", "one-camera"]
"""The whole sweep and all cameras, or what one random camera sees of it (ScaLR)."""


PointChoice = Literal["voxel", "all"]
"""One point of each voxel, drawn anew each time, or all of them."""


ClassMean = Literal["present", "all"]
"""Mean IoU over the classes that occur in labels or predictions, or over all, where an absent class
counts 0."""


FrameSampler = Literal["frames", "scenes", "every-nth", "every-nth-scene"]
"""How a fraction of the labelled frames is taken: see `steps.samplers.SAMPLERS`."""


Schedule = Literal["onecycle", "cosine"]


InputFormat = Literal["auto", "kitti", "nuscenes", "pcd", "ply", "las"]
