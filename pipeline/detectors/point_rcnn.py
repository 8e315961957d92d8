"""PointRCNN (Shi et al. 2019) on any student, as OpenPCDet trains it: `PointHead` proposes regions,
`RegionHead` refines them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...student.points import PointBatch
from ..detection.boxes import Boxes
from ..detection.coders import PointCoder, RegionCoder
from ..detection.detections import Detections
from ..detection.suppression import suppressed
from .box_batch import BoxBatch
from .box_heads import PointBoxHead
from .point_head import PointMaps, point_detections
from .region_head import RegionHead, RegionSizes, refinement_losses, score_loss
from .regions import RegionTargets, region_targets

_CANDIDATES = 9000
_LEAST_SCORE, _OVERLAP, _SURVIVORS = 0.1, 0.1, 500
"""Of detections: lowest score, overlap of suppression, most boxes."""


class PointRCNNHead(PointBoxHead):
    """Both stages. What stage two learns does not reach the student, nor stage one: its points are
    pooled without gradients.

    Args:
        coder, in_channels: as for `PointBoxHead`.
        sizes: of stage two.
        regions: drawn of a frame in training.
        training_proposals, proposals: survivors of suppression in training and in evaluation, at
            overlaps of 0.8 and 0.85.
    """

    def __init__(
        self,
        coder: PointCoder,
        in_channels: int,
        sizes: RegionSizes | None = None,
        regions: int = 128,
        training_proposals: int = 512,
        proposals: int = 100,
    ) -> None:
        super().__init__(coder, in_channels)
        self.regions = regions
        self.training_proposals, self.proposals = training_proposals, proposals
        self.refinement = RegionHead(in_channels, sizes)

    def losses(self, features: Tensor, points: PointBatch, batch: BoxBatch) -> dict[str, Tensor]:
        maps = self.head(features)
        losses = self.point_losses(maps, points, batch)
        targets, pooled = [], []
        split = self._split(maps, features, points)
        drawn = zip(split, batch.frames, batch.keys, strict=True)
        for (own, own_features, xyz), frame, key in drawn:
            with torch.no_grad():
                proposals = self._propose(own, xyz, 0.8, self.training_proposals)
                target = region_targets(proposals, frame, self.regions, key)
            targets.append(target)
            pooled.append(self._pool(target.regions, own, own_features, xyz))
        joined = _joined(targets)
        said = self.refinement(torch.cat(pooled))
        by_code, by_corner = refinement_losses(said.codes, joined)
        scores = score_loss(said.logits, joined.overlaps)
        return {**losses, "scores": scores, "refinement": by_code, "corners": by_corner}

    @torch.no_grad()
    def detections(self, features: Tensor, points: PointBatch) -> list[Detections]:
        maps = self.head(features)
        return [
            self._refined(own, own_features, xyz)
            for own, own_features, xyz in self._split(maps, features, points)
        ]

    def _refined(self, maps: PointMaps, features: Tensor, xyz: Tensor) -> Detections:
        """Detections of one frame: refined proposals with the scores of stage two."""
        proposals = self._propose(maps, xyz, 0.85, self.proposals)
        said = self.refinement(self._pool(proposals.boxes, maps, features, xyz))
        boxes = RegionCoder().decode(said.codes.float(), proposals.boxes)
        scores = said.logits.float().sigmoid()
        likely = torch.nonzero(scores >= _LEAST_SCORE).flatten()
        index = likely[suppressed(boxes[likely], scores[likely], _OVERLAP, None, _SURVIVORS)]
        return Detections(boxes[index], scores[index], proposals.classes[index])

    def _split(
        self, maps: PointMaps, features: Tensor, points: PointBatch
    ) -> list[tuple[PointMaps, Tensor, Tensor]]:
        """What the head says, features and places, frame by frame."""
        parts = (
            part.split(points.counts) for part in (maps.logits, maps.codes, features, points.xyz)
        )
        return [
            (PointMaps(logits, codes), own, xyz)
            for logits, codes, own, xyz in zip(*parts, strict=True)
        ]

    def _propose(self, maps: PointMaps, xyz: Tensor, overlap: float, count: int) -> Detections:
        """Proposals of one frame."""
        return point_detections(
            maps,
            xyz,
            self.coder,
            least_score=0,
            overlap=overlap,
            candidates=_CANDIDATES,
            survivors=count,
        )

    def _pool(self, regions: Boxes, maps: PointMaps, features: Tensor, xyz: Tensor) -> Tensor:
        scores = maps.logits.detach().float().sigmoid().amax(1)
        return self.refinement.pooled(regions, xyz, scores, features.detach())


def _joined(targets: Sequence[RegionTargets]) -> RegionTargets:
    return RegionTargets(
        Boxes(torch.cat([one.regions.rows for one in targets])),
        torch.cat([one.overlaps for one in targets]),
        Boxes(torch.cat([one.boxes.rows for one in targets])),
    )
