"""Support points around places in space, for all scenes of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..choices import NeighbourRule

_DISTANCES = 2**24
"""Distances worked out at once on a device: 64 MiB each for four tensors of them."""


class Neighbours(NamedTuple):
    """Slots for the supports of every query, in the order of the rule that chose them.

    Attributes:
        support: (Q, K) int64; in an empty slot any.
        filled: (Q, K) bool, False for an empty slot.
    """

    support: Tensor
    filled: Tensor


@torch.no_grad()
def neighbours_within(
    queries: Tensor,
    counts: Sequence[int],
    supports: Tensor,
    scene: Tensor,
    most: Sequence[int],
    radius: float,
    slots: int,
    rule: NeighbourRule = "nearest",
) -> Neighbours:
    """Supports, at most `slots`, closer than `radius` to a query and of its scene: the nearest, or
    those that come first among `supports`. Exact.

    On the CPU by scipy's k-d tree. On another device by all distances within a scene, some queries
    at a time: more work, but nothing is read back from the device.

    Args:
        queries: (Q, 3) float32, metres, those of scene 0 first, then of scene 1, ...
        counts: queries of every scene.
        supports: (V, 3) float32, metres, in any order.
        scene: (V,) int64, the scene of every support.
        most: an upper bound of the supports of every scene, its points, say.
        radius: metres.
        slots: K.
        rule: `nearest`, by distance; `first`, by number, as torch_cluster's search on a GPU, which
            ALSO uses, stops at the first that it meets.
    """
    parts = queries.split(list(counts))
    if queries.device.type == "cpu":
        slots_of_scenes = [
            _by_tree(part, supports, scene == number, radius, slots, rule)
            for number, part in enumerate(parts)
        ]
    else:
        slots_of_scenes = _by_distances(parts, supports, scene, most, radius, slots, rule)
    support, inside = zip(*slots_of_scenes, strict=True)
    return Neighbours(torch.cat(support), torch.cat(inside))


def _by_tree(
    queries: Tensor,
    supports: Tensor,
    own: Tensor,
    radius: float,
    slots: int,
    rule: NeighbourRule,
) -> tuple[Tensor, Tensor]:
    from scipy.spatial import KDTree  # heavy, and only this form of the task needs it

    own = own.nonzero().squeeze(1)
    if not len(own):
        return _nothing(queries, slots)
    tree = KDTree(supports[own].numpy())
    if rule == "first":
        # The ball is closed, and `radius` is outside.
        balls = tree.query_ball_point(queries.numpy(), np.nextafter(radius, 0), return_sorted=True)
        slot, filled = np.zeros((2, len(queries), slots), np.int64)
        for row, ball in enumerate(balls):
            count = min(slots, len(ball))
            slot[row, :count], filled[row, :count] = ball[:count], 1
        return own[torch.from_numpy(slot)], torch.from_numpy(filled).bool()
    # One more than `slots`: for a single neighbour the tree would leave out the second axis.
    distance, slot = tree.query(queries.numpy(), slots + 1, distance_upper_bound=radius)
    support = own[torch.as_tensor(slot)[:, :slots].clamp(max=len(own) - 1)]
    return support, torch.as_tensor(distance)[:, :slots] < radius


def _by_distances(
    queries: Sequence[Tensor],
    supports: Tensor,
    scene: Tensor,
    most: Sequence[int],
    radius: float,
    slots: int,
    rule: NeighbourRule,
) -> list[tuple[Tensor, Tensor]]:
    order = torch.argsort(scene, stable=True)
    # How many supports a scene has is known to the device alone, so its places are masked, not
    # sliced.
    bound = torch.searchsorted(scene[order], torch.arange(len(queries) + 1, device=scene.device))
    chunks = []
    for number, part in enumerate(queries):
        if not len(part):
            chunks.append(_nothing(part, slots))
            continue
        place = bound[number] + torch.arange(min(most[number], len(supports)), device=scene.device)
        own = order[place.clamp(max=len(order) - 1)]
        none = place >= bound[number + 1]
        for chunk in part.split(max(1, _DISTANCES // len(own))):
            squared = _squared_distances(chunk, supports[own]).masked_fill(none, torch.inf)
            if rule == "first":  # numbers instead of distances, `len(own)` for what is outside
                number_of = torch.arange(len(own), device=own.device)
                keys, limit = torch.where(squared < radius**2, number_of, len(own)), len(own)
            else:
                keys, limit = squared, radius**2
            smallest, slot = keys.topk(min(slots, len(own)), largest=False)
            empty = (0, slots - smallest.shape[1])
            chunks.append((F.pad(own[slot], empty), F.pad(smallest < limit, empty)))
    return chunks


def _nothing(queries: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    support = torch.zeros(len(queries), slots, dtype=torch.int64, device=queries.device)
    return support, support.bool()


def _squared_distances(queries: Tensor, supports: Tensor) -> Tensor:
    """(Q, V) from differences: by a matrix product metres would be lost to rounding far from the
    sensor."""
    total = queries.new_zeros(len(queries), len(supports))
    for axis in range(3):
        difference = queries[:, None, axis] - supports[None, :, axis]
        total.addcmul_(difference, difference)
    return total


@torch.no_grad()
def nearest_voxels(places: Tensor, scene: Tensor, scenes: int, slots: int) -> Tensor:
    """(V, K) int64: the `slots` nearest other voxels of each, of its own scene, from near to far;
    where a scene has fewer, the voxel itself fills the rest. Exact.

    On the CPU by scipy's k-d tree. On another device by all distances within a scene; the number of
    voxels of each scene is read back from it once.

    Args:
        places: (V, 3) float32, metres.
        scene: (V,) int64, ascending.
        scenes: their number.
        slots: K.
    """
    counts = torch.bincount(scene, minlength=scenes).tolist()
    search = _tree_others if places.device.type == "cpu" else _distance_others
    parts, start = [], 0
    for part in places.split(counts):
        parts.append(start + search(part, slots))
        start += len(part)
    return torch.cat(parts)


def _tree_others(places: Tensor, slots: int) -> Tensor:
    from scipy.spatial import KDTree  # heavy, and only networks of this kind need it

    rows = np.arange(len(places))[:, None]
    if len(places) < 2:
        return torch.from_numpy(np.broadcast_to(rows, (len(places), slots)).copy())
    places_array = places.numpy()
    nearest = KDTree(places_array).query(places_array, slots + 1)[1]
    # A voxel is its own nearest, unless another lies at the same place: it goes first, and out.
    itself_first = np.argsort(nearest != rows, axis=1, kind="stable")
    others = np.take_along_axis(nearest, itself_first, 1)[:, 1:].astype(np.int64)
    # The tree says `len(places)` where a scene has no further voxel.
    return torch.from_numpy(np.where(others == len(places), rows, others))


def _distance_others(places: Tensor, slots: int) -> Tensor:
    rows = torch.arange(len(places), device=places.device)
    chunks = []
    for part in rows.split(max(1, _DISTANCES // max(1, len(places)))):
        squared = _squared_distances(places.index_select(0, part), places)
        squared.scatter_(1, part[:, None], -1)  # a voxel itself goes first, and out
        nearest = squared.topk(min(slots + 1, len(places)), largest=False).indices[:, 1:]
        lacking = part[:, None].expand(-1, slots - nearest.shape[1])
        chunks.append(torch.cat([nearest, lacking], 1))
    return torch.cat(chunks) if chunks else rows.new_zeros(0, slots)
