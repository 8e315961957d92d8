"""Objects of KITTI for tests."""

from collections.abc import Sequence

import numpy as np

from clever.pipeline.datasets.readers.kitti_objects import KittiObjects

NO_OBJECTS = KittiObjects(
    (), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 3)),
    np.zeros((0, 3)), np.zeros(0), np.zeros(0),
)  # fmt: skip


def objects(
    names: str,
    places: Sequence[float],
    *,
    scores: Sequence[float] | None = None,
    heights: float | Sequence[float] = 50,
    occluded: float | Sequence[float] = 0,
    truncated: float | Sequence[float] = 0,
) -> KittiObjects:
    """Objects 4 m long, 2 m wide and high at x = place, z = 20 m, which look along x; in the image
    100 pixels wide at left = 50 place: two that are d metres apart overlap by
    (4 - d) / (4 + d) in space and (2 - d) / (2 + d) in the image."""
    count = len(places)
    left = 50 * np.array(places, float)
    top = np.full(count, 7.0)
    rows = np.stack([left, top, left + 100, top + heights], 1).astype(float)
    bottoms = np.stack([np.array(places, float), np.ones(count), np.full(count, 20.0)], 1)
    return KittiObjects(
        tuple(names.split()),
        np.broadcast_to(truncated, count).astype(float),
        np.broadcast_to(occluded, count).astype(float),
        np.zeros(count),
        rows,
        np.tile([4.0, 2.0, 2.0], (count, 1)),
        bottoms,
        np.zeros(count),
        None if scores is None else np.array(scores, float),
    )


def random_objects(rng: np.random.Generator, count: int, scored: bool) -> KittiObjects:
    """A crowded frame: objects of all classes about six places, so that many overlap."""
    names = ["Car", "Van", "Pedestrian", "Person_sitting", "Cyclist"]
    names += [] if scored else ["DontCare"]
    place = rng.integers(0, 6, count)
    usual = np.where(place % 2, "Pedestrian", "Car")
    low = np.stack([30.0 * place, np.zeros(count)], 1) + rng.uniform(0, 9, (count, 2))
    high = low + np.stack([np.full(count, 60), np.array([24, 39, 50])[place % 3]], 1)
    shift = np.stack([3.0 * place, np.ones(count), np.full(count, 20.0)], 1)
    return KittiObjects(
        tuple(np.where(rng.random(count) < 0.8, usual, rng.choice(names, count)).tolist()),
        rng.choice([0, 0, 0, 0.2, 0.4, 0.6], count),
        rng.choice([0.0, 0, 0, 0, 1, 2, 3], count),
        np.zeros(count),
        np.concatenate([low, high + rng.uniform(0, 9, (count, 2))], 1),
        rng.uniform([3.5, 1.8, 1.8], [4, 2, 2], (count, 3)),
        shift + rng.uniform(0, [1.8, 0.2, 0.2], (count, 3)),
        rng.uniform(-0.05, 0.05, count),
        np.round(rng.uniform(0, 1, count), 2) if scored else None,
    )
