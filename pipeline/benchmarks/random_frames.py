"""Generated frames with features like a ViT's, for measuring without a dataset or a teacher: clouds
at random, or sweeps of generated streets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...cache.frame import Camera, Frame
from ...cache.projection import Correspondences, visible_pairs
from ..drives import CAMERAS, LidarModel, draw_world, scan

IMAGE_SIZE = (1600, 900)
"""Width and height of a nuScenes image in pixels."""
VISIBLE_SHARE = 0.2
"""Share of the points that a camera sees."""
BEAMS = 32
_INTRINSICS = np.array([[1266.0, 0, 800], [0, 1266, 450], [0, 0, 1]])
RANGE_NOISE = 0.02
"""Metres."""


@dataclass(frozen=True, slots=True)
class RandomFrames:
    """Frames drawn from a seed: the same number always gives the same frame.

    Features are smooth over the grid plus noise; channels differ in mean and, log-normally, in
    scale.
    """

    cameras: int
    grid: tuple[int, int]
    channels: int
    points: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Camera names."""
        return tuple(f"camera{camera}" for camera in range(self.cameras))

    @staticmethod
    def id(number: int) -> str:
        """Frame id."""
        return f"random/{number:06}"

    def features(self, number: int) -> Tensor:
        """(M, h, w, C) float32."""
        shared, own = self._generator(0), self._generator(number + 1)
        centre, scale = (torch.randn(self.channels, generator=shared) for _ in range(2))
        coarse = torch.randn(self.cameras, self.channels, 4, 4, generator=own)
        smooth = interpolate(coarse, size=self.grid, mode="bilinear", align_corners=True).permute(
            0, 2, 3, 1
        )
        noise = torch.randn(self.cameras, *self.grid, self.channels, generator=own)
        return centre + scale.exp() * (smooth + noise)

    def frame(self, number: int) -> tuple[Frame, Correspondences]:
        """A sweep and its pairs, at random."""
        rng = np.random.default_rng([self.seed, number])
        cameras = tuple(
            Camera(name, Path(f"{name}.jpg"), *IMAGE_SIZE, _INTRINSICS, np.eye(4))
            for name in self.names
        )
        count = max(1, int(VISIBLE_SHARE * self.points))
        point = np.concatenate(
            [np.sort(rng.choice(self.points, count, replace=False)) for _ in cameras]
        )
        uv = rng.uniform(1, np.array(IMAGE_SIZE) - 1, (len(point), 2))
        cloud = rng.normal(size=(self.points, 4)).astype(np.float32)
        frame = Frame(self.id(number), "random", number, cloud, np.eye(4), cameras)
        return frame, Correspondences(
            point.astype(np.uint32), uv, np.arange(self.cameras + 1) * count
        )

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + stream)


class RandomSweeps(RandomFrames):
    """Frames whose clouds are what a spinning LiDAR of 32 beams meets on a street, another street
    each: as many points, voxels and pairs as a keyframe of nuScenes.

    How many voxels a network sees, and how many neighbours each has, decides how long a step takes:
    clouds without surfaces would not do. Rays are `points` in all; those that meet nothing within
    100 m return no point. The cameras are the first of nuScenes' rig, at the instant of the sweep.
    """

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.channel for model in CAMERAS[: self.cameras])

    def frame(self, number: int) -> tuple[Frame, Correspondences]:
        world = draw_world(self.seed, number + 1, duration=1.0)
        lidar = LidarModel(max(1, self.points // BEAMS))
        rng = np.random.default_rng([self.seed, number])
        sweep = scan(world, lidar, world.ego.at(0.0), 0.0, RANGE_NOISE, rng)
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
