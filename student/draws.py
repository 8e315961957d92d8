"""Random numbers of one training step, keyed by scene.

What a scene draws depends on its key and the purpose alone: neither on the rest of the batch, nor
on the device, nor on how many processes share the batch. A run can therefore be taken up at any
step without saving a generator's state.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .points import PointBatch

_ODD = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_BITS = 24
"""Bits of a uniform number: as many as a float32 holds exactly."""


class Draws:
    """Streams of random numbers for the scenes of a batch and for their points.

    Make it for the batch as it was loaded. Points keep their streams while their order does,
    whatever becomes of their coordinates and scenes.

    Args:
        points: the batch, on any device.
        keys: a number below 2**63 for every scene, from seed, epoch and frame, say (see `key`).
        number: (N,) int64, of every point in its scene: of a part of a cloud the places in the
            whole, so that its points draw what they draw there; None: 0, 1, 2, ...
    """

    def __init__(
        self, points: PointBatch, keys: Sequence[int], number: Tensor | None = None
    ) -> None:
        if len(keys) != points.size:
            raise ValueError(f"{len(keys)} keys for a batch of {points.size} scenes")
        self.keys = tuple(keys)
        self.scenes = torch.tensor(self.keys, dtype=torch.int64)
        device = points.xyz.device
        if number is None:
            counts = torch.tensor(points.counts, dtype=torch.int64)
            scene_start = (counts.cumsum(0) - counts).to(device, non_blocking=True)
            number = torch.arange(len(points), device=device) - scene_start[points.scene]
        # Every point's stream: SplitMix64 from its scene's key, at the point's own number there.
        stream = self.scenes.to(device, non_blocking=True)[points.scene]
        self.points = _hash(stream + _int64(_ODD) * (1 + number))

    def for_scenes(self, purpose: str, columns: int) -> Tensor:
        """Uniform numbers (S, columns) float64 in [0, 1), on the CPU, where what follows costs no
        synchronisation."""
        return _uniform(self.scenes, purpose, columns).double()

    def for_points(self, purpose: str, columns: int, index: Tensor | None = None) -> Tensor:
        """Uniform numbers (N, columns) float32 in [0, 1) on the points' device; only those of
        `index` (Q,) where it is not None."""
        return _uniform(
            self.points if index is None else self.points.index_select(0, index), purpose, columns
        )

    def normal(self, purpose: str, columns: int) -> Tensor:
        """Standard normal numbers (N, columns) float32 on the points' device, by Box and Muller."""
        pairs = -(-columns // 2)
        radial, angular = self.for_points(purpose, 2 * pairs).chunk(2, 1)
        radius = (-2 * torch.log(1 - radial)).sqrt()
        angle = 2 * math.pi * angular
        return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :columns]

    def order(self, purpose: str) -> Tensor:
        """A random permutation (N,) int64 of the points; any part of them is permuted as it would
        be alone."""
        return torch.argsort(_hash(self.points ^ _number(purpose)), stable=True)

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for what has no scene or point of its own; it depends on all the keys."""
        return torch.Generator(device).manual_seed(key(purpose, *self.keys))


def key(*parts: str | int) -> int:
    """A number below 2**63 that depends on `parts` alone."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _number(purpose: str) -> int:
    return key("purpose", purpose)


def _uniform(streams: Tensor, purpose: str, columns: int) -> Tensor:
    column = torch.arange(columns, device=streams.device) * _int64(_ODD)
    bits = _hash(_hash(streams ^ _number(purpose))[:, None] + column)
    return (bits & (2**_BITS - 1)).to(torch.float32) * 2.0**-_BITS


def _hash(value: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the result depends on every bit of
    int64 `value`."""
    for shift, factor in _MIX:
        value = (value ^ _shift(value, shift)) * _int64(factor)
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (value >> bits) & (2 ** (64 - bits) - 1)


def _int64(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    return value - 2**64 if value >= 2**63 else value
