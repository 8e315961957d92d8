"""Space-filling curves: voxels in a line whose neighbours in line are neighbours in space
(PointTransformer V3)."""

import torch
from torch import Tensor

DEPTH = 16
"""Bits of a coordinate: what `voxelize` allows."""
ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
"""The curves; `-trans` exchanges x and y."""


def bits_needed(shape: tuple[int, int, int]) -> int:
    """Bits of a coordinate for a grid of `shape` voxels, as Pointcept counts them: those of the
    largest number of voxels along an axis, which is one more than of the largest coordinate where
    that number is a power of two; at most `DEPTH`."""
    return min(DEPTH, max(shape).bit_length())


def encode(coords: Tensor, order: str, bits: int = DEPTH) -> Tensor:
    """Place (V,) int64 along a curve of `ORDERS` of voxels at `coords` (V, 4) integer: scene, x, y,
    z.

    Coordinates lie in [0, 2**bits), scenes below 2**15. Scenes follow each other, and the place of
    a voxel depends on nothing but its own coordinates and, along a Hilbert curve, `bits`: each
    further bit exchanges the axes in turn. Codes shifted right by 3 order the voxels of twice the
    size.
    """
    scene, x, y, z = coords.long().unbind(1)
    axes = [y, x, z] if order.endswith("-trans") else [x, y, z]
    if order.startswith("hilbert"):
        axes = _hilbert_axes(axes, bits)
    # Bit i of the three axes becomes bits 3 i + 2, 3 i + 1 and 3 i of the code. The scene stands
    # above all of them, however many are used, so that shifts of the code leave scenes apart.
    first, second, third = map(_spread, axes)
    return scene << 3 * DEPTH | first << 2 | second << 1 | third


def _spread(value: Tensor) -> Tensor:
    """Bits of a value below 2**21 moved to every third place."""
    # Each step moves the upper half of every run of bits up by twice its length: runs of 32 (at
    # most 21 are used) become runs of 16, 8, 4, 2 and 1, every run with twice its length of zeros
    # above it.
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        value = (value | value << shift) & mask
    return value


def _hilbert_axes(axes: list[Tensor], bits: int) -> list[Tensor]:
    """The coordinates whose interleaved bits are the Hilbert code (Skilling 2004, "Programming the
    Hilbert curve")."""
    first, second, third = axes
    # From the whole cube to its octants, and so on down: the curve inside an octant is the curve of
    # the cube, turned. `bit` of the three axes says which octant a voxel lies in; what is done to
    # the lower bits brings the octant's curve back to the position of the cube's.
    for bit in range(bits - 1, 0, -1):
        low = (1 << bit) - 1
        # An axis that has the bit mirrors the first axis; one that has not changes places with it.
        # For the first axis itself the exchange is nothing.
        first = torch.where(first >> bit & 1 == 1, first ^ low, first)
        first, second = _turn(first, second, bit)
        first, third = _turn(first, third, bit)
    # The bits of the three axes at one level are now the Gray code of the octant's number: in it
    # neighbours differ by one bit. A Gray code is undone by adding up (without carry) all bits
    # above each: here across the axes of a level ...
    second = second ^ first
    third = third ^ second
    # ... and here down the levels, whose last axis holds the sum of its own: the bits of `gray`
    # below a set one are turned over.
    gray = torch.zeros_like(third)
    for bit in range(bits - 1, 0, -1):
        gray = torch.where(third >> bit & 1 == 1, gray ^ ((1 << bit) - 1), gray)
    return [first ^ gray, second ^ gray, third ^ gray]


def _turn(first: Tensor, other: Tensor, bit: int) -> tuple[Tensor, Tensor]:
    """Where `other` has the bit, mirror the lower bits of `first`; elsewhere exchange them between
    the two."""
    low = (1 << bit) - 1
    has = other >> bit & 1 == 1
    exchange = torch.where(has, 0, (first ^ other) & low)
    return torch.where(has, first ^ low, first ^ exchange), other ^ exchange
