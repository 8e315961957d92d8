"""Both sides of a distillation less their own mean (Concerto's mean shift), so that what all points
of a frame share is not taught."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Centre:
    """Which rows of a batch of K pairs are averaged.

    Attributes:
        frame: (K,) int64, the frame of every pair.
        frames: their number.
        patch: (K,) int64, the patch of the teacher's grid in which every pair falls; None where
            every pair counts by itself.
        patches: their number over all views, empty ones among them.
    """

    frame: Tensor
    frames: int
    patch: Tensor | None = None
    patches: int = 0

    def __call__(
        self, student: Tensor, teacher: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Average over patches, if they are given, and subtract the mean of every frame.

        Means are over the pairs of a frame, or over its patches, each once; a frame's are the same
        whichever frames share its batch.

        Args:
            student, teacher: (K, C) features.
            weight: (K,) float32, of every pair, positive.

        Returns:
            Both features, (K, C) float32, equal for the pairs of a patch, and the factor (K,) by
            which weights change so that a patch counts once and a frame as much as before.
        """
        share = torch.ones_like(weight)
        if self.patch is not None:
            sizes = group_sums(torch.ones_like(weight), self.patch, self.patches)
            share = 1 / sizes.index_select(0, self.patch)
            student, teacher = (
                share[:, None] * self._patch_sums(side.float()) for side in (student, teacher)
            )
        before, after = (self._frame_sums(part) for part in (weight, weight * share))
        return self._shifted(student, share), self._shifted(teacher, share), share * before / after

    def _shifted(self, features: Tensor, share: Tensor) -> Tensor:
        """Features (K, C) less their mean by frame, weighted by `share` (K,)."""
        features = features.float()
        mean = self._frame_sums(features * share[:, None]) / self._frame_sums(share)[:, None]
        return features - mean

    def _frame_sums(self, values: Tensor) -> Tensor:
        return group_sums(values, self.frame, self.frames).index_select(0, self.frame)

    def _patch_sums(self, values: Tensor) -> Tensor:
        assert self.patch is not None
        return group_sums(values, self.patch, self.patches).index_select(0, self.patch)


def group_sums(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums (groups, ...) of values (K, ...) over the rows of every group; zero for an empty one.

    Args:
        group: (K,) int64 from 0 to `groups` - 1.
    """
    return values.new_zeros(groups, *values.shape[1:]).index_add(0, group, values)


def patch_numbers(view: Tensor, uv: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which patch each pair falls in.

    Args:
        view: (K,) int64, the view of every pair.
        uv: (K, 2) float32, normalised pixels.
        grid: patches down and across.

    Returns:
        (K,) int64, counted over all views.
    """
    height, width = grid
    column = (uv[:, 0] * width).long().clamp(0, width - 1)
    row = (uv[:, 1] * height).long().clamp(0, height - 1)
    return (view * height + row) * width + column
