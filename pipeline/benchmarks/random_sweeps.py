"""Random features over sweeps of generated streets: as many points, voxels and pairs as a keyframe
of nuScenes."""

from pathlib import Path

import numpy as np

from ...cache.frame import Camera, Frame
from ...cache.projection import Correspondences, visible_pairs
from ..drives import CAMERAS, LidarModel, draw_world, scan
from .random_store import IMAGE_SIZE, RandomFrames

BEAMS = 32
RANGE_NOISE = 0.02
"""Metres."""


class RandomSweeps(RandomFrames):
    """Frames whose clouds are what a spinning LiDAR of 32 beams meets on a street, another street
    each.

    How many voxels a network sees, and how many neighbours each has, decides how long a step takes:
    clouds without surfaces would not do. Rays are `points` in all; those that meet nothing within
    100 m return no point. The cameras are the first of nuScenes' rig, at the instant of the sweep.
    """

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.channel for model in CAMERAS[: self.cameras])

    def frame(self, number: int) -> tuple[Frame, Correspondences]:
        world, lidar = (
            draw_world(self.seed, number + 1, duration=1.0),
            LidarModel(max(1, self.points // BEAMS)),
        )
        sweep = scan(
            world,
            lidar,
            world.ego.at(0.0),
            0.0,
            RANGE_NOISE,
            np.random.default_rng([self.seed, number]),
        )
        cloud = sweep.points[:, :4] / np.array([1, 1, 1, 255], np.float32)
        cameras = [
            Camera(
                model.channel,
                Path(f"{model.channel}.jpg"),
                *IMAGE_SIZE,
                model.intrinsics(IMAGE_SIZE[0]),
                model.from_lidar(lidar),
            )
            for model in CAMERAS[: self.cameras]
        ]
        frame = Frame(self.id(number), "random", number, cloud, np.eye(4), tuple(cameras))
        return frame, visible_pairs(frame)
