"""Mean features of image regions on both sides: of the points that fall into a region and of its
pixels (SLidR, Sautier et al. 2022).

The mean of unit vectors is not scaled to length one again: a region whose members disagree has a
short mean, and so soft logits.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..groups import Groups
from .info_nce import TEMPERATURE, info_nce
from .pairs import unit

NO_REGION = 65535
"""What a map of regions (uint16) has where there is none."""


@dataclass(frozen=True, slots=True)
class RegionMeans:
    """Features of regions.

    Attributes:
        means: (R, C) float32; zero for a region without members.
        present: (R,) bool, regions that have some.
    """

    means: Tensor
    present: Tensor


def pool_points(features: Tensor, region: Tensor, regions: int) -> RegionMeans:
    """Means of the unit vectors of (K, C) point features, one row a point-pixel pair, over
    `region` (K,) int64 in 0..regions-1; a point that two cameras see counts in each."""
    present = torch.bincount(region, minlength=regions) > 0
    return RegionMeans(Groups.of(region, regions).means(unit(features)), present)


def pool_pixels(
    grid: Tensor, maps: Tensor, regions: int, stride: int = 1, align_corners: bool = True
) -> RegionMeans:
    """Means of the unit vectors of all pixels of each region, hit by a point or not.

    Features are interpolated bilinearly to the size of the maps, then scaled to length one at every
    pixel: this is not the mean of the region's tokens.

    Args:
        grid: (M, C, h, w) features of M images, behind the teacher's head.
        maps: (M, H, W) int64, the region of every pixel in 0..regions-1, or `NO_REGION`.
        stride: 1 for all pixels; s for those of every s-th row and column from the s // 2-th on,
            which are unbiased and cost s^2 times less.
        align_corners: where tokens lie, see `cache.sampling.sample_tokens`.
    """
    height, width = maps.shape[1:]
    rows = torch.arange(stride // 2, height, stride, device=maps.device)
    columns = torch.arange(stride // 2, width, stride, device=maps.device)
    place = torch.stack(
        [
            _normalised(columns, width, align_corners).expand(len(rows), -1),
            _normalised(rows, height, align_corners)[:, None].expand(-1, len(columns)),
        ],
        -1,
    )
    pixels = F.grid_sample(
        grid.float(),
        place.expand(len(grid), -1, -1, -1),
        padding_mode="border",
        align_corners=align_corners,
    )
    features = pixels.permute(0, 2, 3, 1).flatten(0, 2)
    region = maps[:, rows][:, :, columns].flatten()
    inside = (region != NO_REGION).nonzero().squeeze(1)
    return pool_points(features.index_select(0, inside), region.index_select(0, inside), regions)


def _normalised(pixel: Tensor, size: int, align_corners: bool) -> Tensor:
    """Place of a pixel in [-1, 1] as `grid_sample` counts it: from the middle of the first pixel to
    that of the last where corners are aligned, else from edge to edge."""
    if align_corners:
        return 2 * pixel / max(size - 1, 1) - 1
    return (2 * pixel + 1) / size - 1


def region_loss(
    points: RegionMeans, pixels: RegionMeans, temperature: float = TEMPERATURE
) -> Tensor:
    """`info_nce` of the regions that have points, against those of their pixels."""
    rows = points.present.nonzero().squeeze(1)
    return info_nce(
        points.means.index_select(0, rows), pixels.means.index_select(0, rows), temperature
    )


def consistency_loss(
    anchors: RegionMeans, others: RegionMeans, temperature: float = TEMPERATURE
) -> Tensor:
    """`info_nce` between the regions that two clouds share: a sweep and a denser one (SuperFlow's
    dense-to-sparse, in its code), or two times of a scene (its temporal part)."""
    rows = (anchors.present & others.present).nonzero().squeeze(1)
    return info_nce(
        anchors.means.index_select(0, rows), others.means.index_select(0, rows), temperature
    )


def cosine_consistency(anchors: RegionMeans, others: RegionMeans) -> Tensor:
    """One minus the mean cosine of the regions that two clouds share: SuperFlow's dense-to-sparse
    as its paper has it; zero where they share none."""
    rows = (anchors.present & others.present).nonzero().squeeze(1)
    one = unit(anchors.means.index_select(0, rows))
    other = unit(others.means.index_select(0, rows))
    if not len(rows):
        return one.sum() + other.sum()  # zero, with a gradient
    return 1 - (one * other).sum(1).mean()


def global_ids(maps: Tensor, regions: int, sample: Tensor, shared: bool) -> Tensor:
    """Regions numbered over a whole batch, (M, H, W) int64.

    Args:
        maps: (M, H, W) int64 in 0..regions-1 or `NO_REGION`, which stays.
        regions: ids an image may have.
        sample: (M,) int64, the sample of every image, for `shared`.
        shared: whether ids are classes, which all images of a sample share; else each image has
            its own.
    """
    owner = sample if shared else torch.arange(len(maps), device=maps.device)
    return torch.where(maps == NO_REGION, maps, maps + regions * owner[:, None, None])
