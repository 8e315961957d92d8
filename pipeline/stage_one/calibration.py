"""The frames that the int8 codec is fitted to."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import accumulate, islice
from operator import add

from ...cache.codec import Statistics, calibrate
from ...cache.moments import CodeSums, dominance_warning
from ...cache.store.records.models import TeacherInfo
from ...cache.store.store import Store
from ...errors import CleverError
from ...words import quantity
from ..results.run_folder import notice

FrameGroup = tuple[int, tuple[int, ...]]
"""A shard and some of its rows: frames that go through the teacher together."""


def frames_per_batch(store: Store, batch_images: int) -> int:
    """Frames in one teacher call of `batch_images` images: at least one."""
    return max(1, batch_images // max(len(store.cameras), 1))


def batches_of(store: Store, shards: Iterable[int], frames: int) -> Iterator[FrameGroup]:
    """The used rows of `shards` in batches of `frames`; no batch crosses a shard's end."""
    for shard in shards:
        rows = iter(store.shard_rows(shard))
        while part := tuple(islice(rows, frames)):
            yield shard, part


def calibration_sample(
    store: Store, info: TeacherInfo, shards: Sequence[int], frames: int
) -> list[FrameGroup]:
    """Random batches of `shards` to fit the int8 codec on; empty when it is frozen or not int8.

    The sample is 5 % of the frames, at least 32 and at most 200, drawn with a seed from the layer's
    id.

    Args:
        frames: frames in one teacher call.
    """
    if info.codec == "fp16" or store.calibration(info) is not None:
        return []
    batches = list(batches_of(store, shards, frames))
    random.Random(info.id).shuffle(batches)
    sample_frames = min(200, max(32, sum(len(rows) for _, rows in batches) // 20))
    totals = accumulate(len(rows) for _, rows in batches)
    return [
        batch
        for batch, total in zip(batches, totals, strict=True)
        if total - len(batch[1]) < sample_frames
    ]


def freeze_calibration(
    store: Store, info: TeacherInfo, statistics: Mapping[int, Statistics | str]
) -> None:
    """Fit the int8 codec to the statistics by row, added up in row order whoever made them, and
    freeze it.

    Raises:
        CleverError: there are none, with the first reason why.
    """
    good = [part for _, part in sorted(statistics.items()) if isinstance(part, Statistics)]
    bad = {
        store.ids[row]: reason
        for row, reason in sorted(statistics.items())
        if isinstance(reason, str)
    }
    if bad and not good:
        raise CleverError(
            f"none of {quantity(len(bad), 'frame')} can be used; the first, {next(iter(bad))}: "
            f"{bad[next(iter(bad))]}"
        )
    store.set_calibration(info, calibrate(good, info.codec), list(bad))
    totals = reduce(add, good)
    sums = CodeSums(totals.count, totals.total.numpy(), totals.squares.numpy())
    if line := dominance_warning(info.id, info.fingerprint.layer, sums.moments()):
        notice(line)
