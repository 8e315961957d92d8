"""Earlier sweeps of a store's frames, shard by shard."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.projection import Correspondences, visible_pairs
from ...cache.store.records.models import FrameRecord, SweepInfo
from ...cache.store.store import Store
from ...cache.store.writer import SweepShard
from ...errors import CleverError, FrameError
from ..datasets import LidarDataset, positions
from ..datasets.earlier_sweeps import EarlierSweep, earlier_sweeps
from .shard_stage import ShardStage


class SweepValues(NamedTuple):
    """What is stored of a frame.

    Attributes:
        sweeps: latest first.
        pairs: of all their points with the frame's images; None where they are not stored.
        image_size: (M, 2) width and height, likewise.
    """

    sweeps: Sequence[EarlierSweep]
    pairs: Correspondences | None = None
    image_size: NDArray[np.int64] | None = None


class SweepStage(ShardStage[SweepShard]):
    """Fills shards of a layer of earlier sweeps; see `ShardStage`.

    Args:
        dataset: which the store was made from.
        info: the layer.
    """

    def __init__(
        self, store: Store, dataset: LidarDataset, info: SweepInfo, threads: int, strict: bool
    ) -> None:
        super().__init__(store, threads, strict)
        self.dataset, self.info = dataset, info
        self._positions = positions(dataset)

    def writer(self, shard: int) -> SweepShard:
        return SweepShard(self.store, self.info, shard)

    def work(self, row: int, record: FrameRecord) -> SweepValues:
        """Raises CleverError where the dataset lacks the frame, or has no sweeps."""
        if record.id not in self._positions:
            raise CleverError(
                f"{self.dataset.name} has no frame {record.id}, which the store holds; give the "
                "`split` or `sequences` that it was made from"
            )
        index, base = self._positions[record.id], self.store.base
        sweeps = earlier_sweeps(self.dataset, index, self.info.count)
        if not self.info.pairs:
            return SweepValues(sweeps)
        frame = self.dataset.frame(index)
        if any(camera.projected for camera in frame.cameras):
            raise FrameError(record.id, "its cameras project points themselves, none of sweeps")
        points = np.concatenate([frame.points[:0], *(sweep.points for sweep in sweeps)])
        frame = replace(frame, points=points)
        pairs = visible_pairs(frame, base.min_depth_m, base.margin_px, base.occlusion)
        return SweepValues(sweeps, pairs, frame.image_size)

    def add(self, writer: SweepShard, row: int, value: SweepValues) -> None:
        writer.add(
            row,
            [sweep.points for sweep in value.sweeps],
            [sweep.seconds for sweep in value.sweeps],
            value.pairs,
            value.image_size,
        )
