"""A store of random frames with features like a ViT's, for measuring without a dataset or a
teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...cache.choices import Codec
from ...cache.codec import Statistics, calibrate, encode
from ...cache.frame import Camera, Frame
from ...cache.projection import Correspondences
from ...cache.store.models import PointSettings
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard

SAMPLE = 4
"""Frames that the codecs are calibrated on."""
IMAGE_SIZE = (1600, 900)
SEEN = 0.2
"""Share of the points that a camera sees."""


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
            Camera(name, Path(f"{name}.jpg"), *IMAGE_SIZE, np.eye(3), np.eye(4))
            for name in self.names
        )
        seen = max(1, int(SEEN * self.points))
        point = np.concatenate(
            [np.sort(rng.choice(self.points, seen, replace=False)) for _ in cameras]
        )
        uv = rng.uniform(1, np.array(IMAGE_SIZE) - 1, (len(point), 2))
        cloud = rng.normal(size=(self.points, 4)).astype(np.float32)
        frame = Frame(self.id(number), "random", number, cloud, np.eye(4), cameras)
        return frame, Correspondences(
            point.astype(np.uint32), uv, np.arange(self.cameras + 1) * seen
        )

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + stream)


def write_random_store(
    path: Path, frames: RandomFrames, count: int, codecs: Sequence[Codec]
) -> dict[str, str]:
    """Write `count` frames with one teacher layer a codec; returns the layers' ids by codec."""
    store = Store.open_or_create(path, PointSettings("random", frames.names))
    ids = [frames.id(number) for number in range(count)]
    store.extend(ids, ["random"] * count)
    sample = [Statistics.of(frames.features(number)) for number in range(min(SAMPLE, count))]
    layers = {}
    for codec in codecs:
        info = store.add_teacher(
            "random",
            "random numbers",
            frames.grid,
            frames.channels,
            codec,
            "grid",
            {"model": "random"},
        )
        calibration = calibrate(sample, codec)
        if calibration:
            store.set_calibration(info, calibration)
        layers[codec] = info, calibration
    for shard in store.pending(store.points.id, store.rows_of(ids)):
        points = PointShard(store, shard)
        grids = {codec: GridShard(store, info, shard) for codec, (info, _) in layers.items()}
        for row in store.shard_rows(shard):
            points.add(row, *frames.frame(row))
            features = frames.features(row)
            for codec, (_, calibration) in layers.items():
                grids[codec].add(row, encode(features, codec, calibration)[0].numpy())
        for layer in (points, *grids.values()):
            layer.commit()
    store.finalise()
    return {codec: info.id for codec, (info, _) in layers.items()}
