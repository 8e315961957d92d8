"""Space-filling curves: voxels in a line whose neighbours in line are neighbours in space
(PointTransformer V3)."""

import torch
from torch import Tensor

DEPTH = 16
"""Bits of a coordinate: what `voxelize` allows."""
ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
"""The curves; `-trans` exchanges x and y."""


def encode(coords: Tensor, order: str) -> Tensor:
    """Place (V,) int64 along a curve of `ORDERS` of voxels at `coords` (V, 4) integer: scene, x, y,
    z.

    Coordinates lie in [0, 2**DEPTH), scenes below 2**15. Scenes follow each other, and the place of
    a voxel depends on nothing but its own coordinates. Codes shifted right by 3 order the voxels of
    twice the size.
    """
    scene, x, y, z = coords.long().unbind(1)
    axes = [y, x, z] if order.endswith("-trans") else [x, y, z]
    if order.startswith("hilbert"):
        axes = _hilbert_axes(axes)
    first, second, third = map(_spread, axes)
    return scene << 3 * DEPTH | first << 2 | second << 1 | third


def _spread(value: Tensor) -> Tensor:
    """Bits of a value below 2**21 moved to every third place."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        value = (value | value << shift) & mask
    return value


def _hilbert_axes(axes: list[Tensor]) -> list[Tensor]:
    """The coordinates whose interleaved bits are the Hilbert code (Skilling 2004, "Programming the
    Hilbert curve")."""
    first, second, third = axes
    for bit in range(DEPTH - 1, 0, -1):
        low = (1 << bit) - 1
        # Undo the turn of this octant: mirror the first axis, or exchange it with another.
        first = torch.where(first >> bit & 1 == 1, first ^ low, first)
        first, second = _turn(first, second, bit)
        first, third = _turn(first, third, bit)
    second = second ^ first
    third = third ^ second
    gray = torch.zeros_like(third)
    for bit in range(DEPTH - 1, 0, -1):
        gray = torch.where(third >> bit & 1 == 1, gray ^ ((1 << bit) - 1), gray)
    return [first ^ gray, second ^ gray, third ^ gray]


def _turn(first: Tensor, other: Tensor, bit: int) -> tuple[Tensor, Tensor]:
    """Where `other` has the bit, mirror the lower bits of `first`; elsewhere exchange them between
    the two."""
    low = (1 << bit) - 1
    has = other >> bit & 1 == 1
    exchange = torch.where(has, 0, (first ^ other) & low)
    return torch.where(has, first ^ low, first ^ exchange), other ^ exchange
