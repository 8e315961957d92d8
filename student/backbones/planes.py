"""Planes onto which a network projects voxels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Plane:
    """A grid of square cells onto which voxels are projected along one axis.

    Attributes:
        axes: the two axes that stay: 0, 1, 2 for x, y, z.
        lowest: of both axes, metres.
        shape: cells along both.
    """

    axes: tuple[int, int]
    lowest: tuple[float, float]
    shape: tuple[int, int]

    def cells(self, xyz: Tensor, edge: float) -> Tensor:
        """(V,) int64 cells of (V, 3) places in metres, for cells of `edge` metres; a place beyond
        the grid belongs to the nearest cell of its border."""
        numbers = []
        for axis, lowest, count in zip(self.axes, self.lowest, self.shape, strict=True):
            # In float64, as a place near a face must not change sides.
            number = ((xyz[:, axis].double() - lowest) / edge).floor()
            numbers.append(number.clamp(0, count - 1).long())
        return numbers[0] * self.shape[1] + numbers[1]
