"""Which points of a cached frame take part in a step: one a voxel, as in the paper's framework
(`GridSample` of Pointcept, in training)."""

from dataclasses import dataclass, replace

import torch

from ...errors import CleverError
from ...student.clouds.augment import Augmentation
from ...student.draws import Draws
from ...student.points import PointBatch
from ...student.voxelize import voxelize
from .cached_frames import PairedFrame


@dataclass(frozen=True, slots=True)
class VoxelPoints:
    """Keeps one point of each voxel of a frame, drawn uniformly among its own, and their pairs.

    Voxels are those of the augmented cloud, before Mix3D: where another cloud is mixed in, a voxel
    may hold a point of each. A point is the one that would stand for its voxel before the network
    anyway, so that what the network sees is the same with all points and with these; what differs
    is which pairs are learned from and where occupancy is asked: near surfaces, which hold most
    points of a sweep, weigh less.

    Attributes:
        size: edge of a voxel in metres.
        augmentation: of the step to come, which draws the same once more; None: there is none.
    """

    size: float
    augmentation: Augmentation | None

    def __call__(self, frame: PairedFrame) -> PairedFrame:
        """A frame of M points in the order of its N; pairs of the others are gone.

        Raises:
            CleverError: see `voxelize`.
        """
        points = PointBatch.from_clouds([frame.points])
        draws = Draws(points, [frame.key])
        if self.augmentation is not None:
            points, _ = self.augmentation(points, draws)
        try:
            voxels = voxelize(points, self.size, draws)
        except CleverError as error:
            raise CleverError(f"frame {frame.id}: {error}") from error
        index = voxels.representative.sort().values
        # Where each of the N points lies among the M; -1 for those that are left out.
        place = torch.full((len(points),), -1).index_copy_(0, index, torch.arange(len(index)))
        pair_point = place[frame.pair_point]
        pairs = pair_point >= 0
        return replace(
            frame.with_pairs(pairs),
            points=frame.points[index],
            number=index,
            pair_point=pair_point[pairs],
        )
