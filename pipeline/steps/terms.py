"""Loss terms of the rivals: contrast of points with pixels and regions, within a frame and between
passes of the student."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...student.choices import LossTerm
from ...student.losses.info_nce import info_nce
from ...student.losses.pairs import unit
from ...student.losses.prototypes import Prototypes
from ...student.losses.regions import (
    RegionMeans,
    consistency_loss,
    cosine_consistency,
    pool_pixels,
    pool_points,
    region_loss,
)
from ...student.losses.temporal import temporal_loss
from ...student.sampling.pair_sampling import (
    density_and_class_weights,
    uniform_pairs,
    weighted_pairs,
)
from .pass_features import PassFeatures

RADIAL_CELL = 0.1
"""Metres of a cell by which distances are counted for the density of pairs (OLIVINE)."""
PIXEL_HEADS: frozenset[LossTerm] = frozenset({"pairs", "regions", "class-pairs"})
"""Terms that look at pixels."""
CLASS_HEADS: frozenset[LossTerm] = frozenset({"class-pairs", "prototypes"})
"""Terms with heads of their own, for classes (OLIVINE)."""


@dataclass(frozen=True, slots=True)
class TermOptions:
    """What the terms of a run share.

    Attributes:
        channels: width of the space in which points and pixels are compared.
        temperature: of every contrast.
        pairs: pairs drawn over the whole batch.
        pixel_stride: every how many rows and columns of the maps pixels are pooled.
        align_corners: where tokens lie in the image.
        classes: number of classes of the regions; 0 for segments.
        prototype_steps: steps that only gather statistics of the prototypes.
    """

    channels: int
    temperature: float
    pairs: int
    pixel_stride: int
    align_corners: bool
    classes: int = 0
    prototype_steps: int = 10_000


class Terms(nn.Module):
    """The terms of a run with their heads: linear layers to a common space on both sides, the
    teacher's own trained too, as in SLidR (section 3.2), and left behind after pre-training.

    Args:
        weights: by term; `distance` is not one of them.
        student_channels, teacher_channels: widths of the features.
    """

    def __init__(
        self,
        weights: dict[LossTerm, float],
        options: TermOptions,
        student_channels: int,
        teacher_channels: int,
    ) -> None:
        super().__init__()
        self.weights, self.options = weights, options
        self.point_heads, self.pixel_heads = nn.ModuleDict(), nn.ModuleDict()
        for term in weights:
            if term == "temporal":
                continue
            kind = "class" if term in CLASS_HEADS else "pair"
            if kind not in self.point_heads:
                self.point_heads[kind] = nn.Linear(student_channels, options.channels)
            if term in PIXEL_HEADS and kind not in self.pixel_heads:
                self.pixel_heads[kind] = nn.Linear(teacher_channels, options.channels)
        self.prototypes = (
            Prototypes(options.classes, options.channels, options.prototype_steps)
            if "prototypes" in weights
            else None
        )

    def forward(
        self, main: PassFeatures, others: dict[str, PassFeatures], matches: Tensor | None
    ) -> dict[str, Tensor]:
        """The losses by term, each without its weight.

        Args:
            main: the pass over the frames themselves.
            others: the further passes by name.
            matches: see `PassBatch`.
        """
        losses: dict[str, Tensor] = {}
        pooled = {
            name: self._pool(part)
            for name, part in {"main": main, **others}.items()
            if {"regions", "flow", "d2s", "d2s-cosine"} & self.weights.keys()
        }
        timed = [name for name in ("previous", "next") if name in others]
        for term in self.weights:
            if term == "pairs":
                losses[term] = self._pairs(main)
            elif term == "class-pairs":
                losses[term] = self._class_pairs(main)
            elif term == "prototypes":
                losses[term] = self._prototypes(main)
            elif term == "regions":
                passes = [("main", main), *((name, others[name]) for name in timed)]
                losses[term] = _mean([self._regions(part, pooled[name]) for name, part in passes])
            elif term == "flow":
                losses[term] = _mean(
                    [
                        consistency_loss(pooled["main"], pooled[name], self.options.temperature)
                        for name in timed
                    ]
                )
            elif term == "d2s":
                losses[term] = consistency_loss(
                    pooled["main"], pooled["dense"], self.options.temperature
                )
            elif term == "d2s-cosine":
                losses[term] = cosine_consistency(pooled["main"], pooled["dense"])
            elif term == "temporal":
                losses[term] = self._temporal(main, others["next"], matches)
            else:
                raise NotImplementedError(f"no loss is computed for the term {term}")
        return losses

    def _pool(self, part: PassFeatures) -> RegionMeans:
        """Means of the points of every region."""
        pairs = part.pairs_with_region
        points = self.point_heads["pair"](part.visible)
        rows = part.prepared.slot.index_select(0, pairs)
        region = part.pair_region.index_select(0, pairs)
        return pool_points(points.index_select(0, rows), region, part.region_count)

    def _regions(self, part: PassFeatures, points: RegionMeans) -> Tensor:
        grid = self.pixel_heads["pair"](part.grid()).permute(0, 3, 1, 2)
        options = self.options
        pixels = pool_pixels(
            grid, part.region_maps, part.region_count, options.pixel_stride, options.align_corners
        )
        return region_loss(points, pixels, options.temperature)

    def _pairs(self, part: PassFeatures) -> Tensor:
        pairs = uniform_pairs(part.draw("pairs"), self.options.pairs)
        return info_nce(*self._both("pair", part, pairs), self.options.temperature)

    def _class_pairs(self, part: PassFeatures) -> Tensor:
        labelled = part.pairs_with_region
        label = part.pair_class.index_select(0, labelled)
        point = part.batch.pair_point.index_select(0, labelled)
        distance = part.batch.points.xyz.index_select(0, point)[:, :2].norm(dim=1)
        weight = density_and_class_weights(
            (distance / RADIAL_CELL).floor(), label, self.options.classes
        )
        drawn = weighted_pairs(
            part.draw("class pairs").index_select(0, labelled), weight, self.options.pairs
        )
        points, pixels = self._both("class", part, labelled.index_select(0, drawn))
        return info_nce(points, pixels, self.options.temperature, label.index_select(0, drawn))

    def _prototypes(self, part: PassFeatures) -> Tensor:
        assert self.prototypes is not None
        labelled = part.pairs_with_region
        features = unit(self.point_heads["class"](part.visible))
        rows = part.prepared.slot.index_select(0, labelled)
        return self.prototypes(
            features.index_select(0, rows), part.pair_class.index_select(0, labelled)
        )

    def _both(self, kind: str, part: PassFeatures, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features of points and pixels of some pairs in the common space."""
        points = self.point_heads[kind](part.point_features(pairs))
        pixels = self.pixel_heads[kind](part.pixel_features(pairs))
        return unit(points), unit(pixels)

    def _temporal(self, main: PassFeatures, other: PassFeatures, matches: Tensor | None) -> Tensor:
        assert matches is not None
        here, there = (
            part.features.index_select(0, part.prepared.voxels.inverse.index_select(0, points))
            for part, points in ((main, matches[:, 0]), (other, matches[:, 1]))
        )
        return temporal_loss(here, there)


def _mean(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
