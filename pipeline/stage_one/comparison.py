"""Stored frames beside what the dataset gives for them now."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...cache.store.layout import (
    PAIR_POINT,
    PAIR_UV,
    POINTS,
    SHARD_ROWS,
    UV_LEVELS,
    pair_cameras,
    quantise_uv,
)
from ...cache.store.records.commits import committed_shards
from ...cache.store.records.models import FrameRecord
from ...cache.store.rows import ShardRows
from ...cache.store.store import Store
from ...errors import CleverError
from ...words import quantity
from ..datasets import LidarDataset
from .frames import FrameReader

POSE_TOLERANCE = 1e-9
"""Poses are composed in float64; the last bits depend on the machine."""
FRAMES = 8
"""Frames that are looked at before a store is gone on with, each of another scene where there are
as many."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a stored frame differs from the dataset's.

    Attributes:
        points: whether the points do.
        pairs: the cameras whose pairs do, each with the median way in pixels between the places of
            the points that both see; NaN where there is no such point.
        facts: whether timestamp, pose or image sizes do.
    """

    points: bool
    pairs: dict[str, float]
    facts: bool

    def __str__(self) -> str:
        """What differs, in words; empty where nothing does."""
        parts = ["other points"] if self.points else []
        if self.pairs and not self.points:
            places = [
                f"{camera} {'sees others' if np.isnan(way) else f'{way:.2g} px'}"
                for camera, way in self.pairs.items()
            ]
            parts.append(f"another calibration, its points fall elsewhere ({', '.join(places)})")
        if self.facts:
            parts.append("another timestamp, pose or image size")
        return " and ".join(parts)


def compare(reader: FrameReader, record: FrameRecord) -> Comparison:
    """Derive a stored frame from the dataset again.

    Raises:
        FrameError: the frame cannot be read now.
        CleverError: the stored one cannot be.
    """
    store, layer = reader.store, reader.store.points
    frame, pairs = reader.read(record.row)
    stored = ShardRows(store.path, layer, store.commit(layer.id, record.row // SHARD_ROWS))
    points, point, uv = (
        stored.entries(array, record.row, count)
        for array, count in (
            (POINTS, record.points),
            (PAIR_POINT, record.pairs),
            (PAIR_UV, record.pairs),
        )
    )
    size, offsets = frame.image_size, pairs.offsets.tolist()
    codes = quantise_uv(pairs.uv, size[pair_cameras(offsets)])
    ways: dict[str, float] = {}
    for m, camera in enumerate(store.cameras):
        then, now = (slice(*ends[m : m + 2]) for ends in (record.offsets, offsets))
        way = _way(point[then], uv[then], pairs.point[now], codes[now], size[m])
        if way is not None:
            ways[camera] = way
    pose = np.abs(frame.global_from_lidar.ravel() - record.pose).max()
    facts = (
        record.timestamp == frame.timestamp
        and np.array_equal(record.image_size, size)
        and pose < POSE_TOLERANCE
    )
    return Comparison(not np.array_equal(points, frame.points), ways, not facts)


def refuse_changed(store: Store, dataset: LidarDataset, ids: Sequence[str]) -> None:
    """Look whether a store still agrees with its dataset, before it is called complete or gone on
    with: a corrected calibration would leave it with pairs of the old one.

    Args:
        ids: of the frames asked for; `FRAMES` of those that are stored are derived again. One that
            cannot be read, there or here, is left to those who need it.

    Raises:
        CleverError: it does not; what differs, and in which frame first.
    """
    reader = FrameReader(store, dataset)
    seen, differing = 0, []
    for record in _sample(store, ids):
        try:
            difference = str(compare(reader, record))
        except CleverError:
            continue
        seen += 1
        differing += [f"{record.id} has {difference}"] if difference else []
    if differing:
        raise CleverError(
            f"{store.path} was made from other data than {dataset.name} gives now, by "
            f"{len(differing)} of {quantity(seen, 'frame')} looked at: {differing[0]}; choose "
            "another `cache`, "
            "or restore the data"
        )


def _way(
    then: NDArray[np.uint32],
    codes_then: NDArray[np.uint16],
    now: NDArray[np.uint32],
    codes_now: NDArray[np.uint16],
    size: NDArray[np.int64],
) -> float | None:
    """How far points have moved in an image, see `Comparison.pairs`; None where all are the same.

    Args:
        then, now: (K,) points of the pairs, ascending.
        codes_then, codes_now: (K, 2) their places, see `quantise_uv`.
        size: (2,) width and height of the image.
    """
    _, one, other = np.intersect1d(then, now, assume_unique=True, return_indices=True)
    steps = codes_then[one].astype(int) - codes_now[other]
    if np.array_equal(then, now) and (np.abs(steps) <= 1).all():
        return None
    return float(np.median(np.hypot(*(steps * size / UV_LEVELS).T))) if len(one) else np.nan


def _sample(store: Store, ids: Sequence[str]) -> list[FrameRecord]:
    """Records of at most `FRAMES` stored frames, spread evenly over the scenes, or over all frames
    where there are fewer scenes."""
    chosen_ids = set(ids)
    committed = set(committed_shards(store.path, store.points.id))
    rows = [
        row
        for row, frame in enumerate(store.ids)
        if frame in chosen_ids and row // SHARD_ROWS in committed
    ]
    firsts = list({store.scenes[row]: row for row in reversed(rows)}.values())[::-1]
    rows = firsts if len(firsts) >= FRAMES else rows
    places = np.unique(np.linspace(0, len(rows) - 1, FRAMES).round().astype(int)) if rows else []
    records = []
    for row in (rows[place] for place in places):
        shard = store.commit(store.points.id, row // SHARD_ROWS).frames
        records += [record for record in shard if record.row == row and not record.reason]
    return records
