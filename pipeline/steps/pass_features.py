"""What a loss term sees of one pass of the student: its features, its pairs, their regions."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...cache.codec import decode
from ...student.losses.regions import NO_REGION, global_ids
from .cached_frames import DistillationBatch, TokenGrid
from .distillation import Prepared


@dataclass(frozen=True)
class PassFeatures:
    """One pass over a batch of F frames, V views and K pairs; S voxels are seen by cameras.

    Attributes:
        batch: on the student's device.
        prepared: what the student was given.
        features: (N', C) float32 of all voxels.
        visible: (S, C) float32 of the voxels that cameras see.
        classes: whether regions are classes, which the views of a frame share.
        regions: numbers of regions that an image, or a frame with classes, may have.
    """

    batch: DistillationBatch
    prepared: Prepared
    features: Tensor
    visible: Tensor
    classes: bool = False
    regions: int = 0

    @cached_property
    def frame_of_view(self) -> Tensor:
        """(V,) int64."""
        views = torch.tensor(self.batch.frame_views)
        frames = torch.arange(len(self.batch.frame_views))
        total = sum(self.batch.frame_views)
        return torch.repeat_interleave(frames, views, output_size=total).to(
            self.features.device, non_blocking=True
        )

    @property
    def region_count(self) -> int:
        """Regions of the whole batch."""
        views = self.batch.frame_views
        return self.regions * (len(views) if self.classes else sum(views))

    @cached_property
    def region_maps(self) -> Tensor:
        """(V, H, W) int64, numbered over the batch, see `global_ids`."""
        assert self.batch.maps is not None
        return global_ids(self.batch.maps.long(), self.regions, self.frame_of_view, self.classes)

    @cached_property
    def pair_region(self) -> Tensor:
        """(K,) int64: region of every pair, numbered over the batch, or `NO_REGION`."""
        return self._at_pairs(self.region_maps)

    @cached_property
    def pair_class(self) -> Tensor:
        """(K,) int64: class of every pair, or `NO_REGION`."""
        assert self.batch.maps is not None
        return self._at_pairs(self.batch.maps).long()

    @cached_property
    def pairs_with_region(self) -> Tensor:
        """(K',) int64: the pairs that have a region."""
        return (self.pair_class != NO_REGION).nonzero().squeeze(1)

    def draw(self, purpose: str) -> Tensor:
        """(K,) uniform numbers in [0, 1), one a pair, that depend on its frame, point and camera
        alone."""
        views = self.batch.frame_views
        first = torch.tensor([0, *views]).cumsum(0)[:-1].to(self.features.device)
        camera = torch.arange(sum(views), device=self.features.device)
        camera = camera - first.index_select(0, self.frame_of_view)
        numbers = self.prepared.draws.for_points(
            purpose, max(views, default=1), self.batch.pair_point
        )
        column = camera.index_select(0, self.batch.pair_view)
        return numbers.gather(1, column[:, None]).squeeze(1)

    def point_features(self, pairs: Tensor) -> Tensor:
        """(n, C) of the points of some pairs (n,)."""
        return self.visible.index_select(0, self.prepared.slot.index_select(0, pairs))

    def pixel_features(self, pairs: Tensor) -> Tensor:
        """(n, D) of the first teacher at the pixels of some pairs (n,)."""
        return self.prepared.targets[0].index_select(0, pairs)

    def grid(self) -> Tensor:
        """(V, h, w, D) float32 of the first teacher; frames of a contrast are of one store."""
        (run,) = self.batch.teachers[0]
        assert isinstance(run.tokens, TokenGrid)
        return decode(run.tokens.tokens, run.tokens.calibration)

    def _at_pairs(self, maps: Tensor) -> Tensor:
        """Value of maps (V, H, W) at the pixel of every pair."""
        _, height, width = maps.shape
        batch = self.batch
        row = (batch.pair_uv[:, 1] * height).long().clamp(0, height - 1)
        column = (batch.pair_uv[:, 0] * width).long().clamp(0, width - 1)
        place = (batch.pair_view * height + row) * width + column
        return maps.flatten().index_select(0, place)
